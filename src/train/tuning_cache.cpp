#include "train/tuning_cache.h"

#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "train/atomic_file.h"
#if EPITAXY_HAS_CUDA
#include "gpu/describe.h"
#endif

namespace epitaxy {

namespace {

namespace fs = std::filesystem;

fs::path cache_folder() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value ? value : "";
  };
  if (const auto folder = variable("EPITAXY_CACHE"); !folder.empty()) return folder;
  if (const auto folder = variable("XDG_CACHE_HOME"); !folder.empty()) return fs::path(folder) / "epitaxy";
  const auto home = variable("HOME");
  return home.empty() ? fs::path() : fs::path(home) / ".cache" / "epitaxy";
}

/// The card and the versions that a time depends on, as a file name.
std::string card_of(Device device) {
  std::string card = name(device);
#if EPITAXY_HAS_CUDA
  if (device.kind == DeviceKind::cuda) {
    card = describe_cuda_card(device.index).name;
    for (const auto& [library, version] : cuda_versions()) card += "-" + library + version;
  }
#endif
  for (char& c : card)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-') c = '_';
  return card;
}

}  // namespace

std::string tuning_cache_path(Device device) {
  const fs::path folder = cache_folder();
  return folder.empty() ? "" : (folder / ("tuning-" + card_of(device) + "-" + EPITAXY_VERSION + ".json")).string();
}

Tuning read_tuning_cache(Device device) {
  const std::string path = tuning_cache_path(device);
  std::error_code error;
  if (path.empty() || !fs::is_regular_file(path, error)) return {};
  try {
    return Tuning::from_json(read_text(path));
  } catch (const Error&) {
    return {};
  }
}

std::string write_tuning_cache(Device device, const Tuning& tuning) {
  const std::string path = tuning_cache_path(device);
  if (path.empty()) return "there is neither $EPITAXY_CACHE nor $HOME";
  if (tuning.size() == 0) return "";
  Tuning all = tuning;
  all.merge(read_tuning_cache(device));  // of another run meanwhile
  std::error_code ignored;
  fs::create_directories(fs::path(path).parent_path(), ignored);
  try {
    AtomicFile file(path);
    file.write(all.to_json());
    file.commit();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace epitaxy
