// epitaxy info
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/cli.h"
#include "epitaxy/nn/model.h"
#include "train/memory_size.h"
#if EPITAXY_HAS_CUDA
#include "gpu/describe.h"
#endif
#if EPITAXY_HAS_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif

namespace epitaxy::cli {

namespace {

using Json = nlohmann::ordered_json;

Json devices() {
  Json list = Json::array();
  list.push_back({{"name", "cpu"}, {"threads", std::thread::hardware_concurrency()}, {"free_bytes", cpu_backend().free_memory()}});
  for (int i = 0; i < cuda_devices(); ++i) {
    const Device device{DeviceKind::cuda, i};
    list.push_back({{"name", name(device)}, {"free_bytes", backend_of(device).free_memory()}});
#if EPITAXY_HAS_CUDA
    const CudaCard card = describe_cuda_card(i);
    list.back().update({{"card", card.name},
                        {"compute", text(card.major, '.', card.minor)},
                        {"multiprocessors", card.multiprocessors},
                        {"total_bytes", card.total_bytes}});
#endif
  }
  return list;
}

std::string onednn() {
#if EPITAXY_HAS_ONEDNN
  const auto* version = dnnl_version();
  return text(version->major, '.', version->minor, '.', version->patch);
#else
  return "";
#endif
}

Json build() {
  Json json;
  json["compiler"] = __VERSION__;
  if (const auto version = onednn(); !version.empty())
    json["onednn"] = version;
  else
    json["onednn"] = false;
#if defined(_OPENMP)
  json["openmp"] = true;
#else
  json["openmp"] = false;
#endif
  json["cuda"] = static_cast<bool>(EPITAXY_HAS_CUDA);
#if EPITAXY_HAS_CUDA
  for (const auto& [library, version] : cuda_versions())
    if (version.empty())
      json[library] = false;
    else
      json[library] = version;
#endif
  json["emulator"] = static_cast<bool>(EPITAXY_HAS_EMULATOR);
  json["png"] = static_cast<bool>(EPITAXY_HAS_PNG);
  json["jpeg"] = static_cast<bool>(EPITAXY_HAS_JPEG);
  json["tiff"] = static_cast<bool>(EPITAXY_HAS_TIFF);
  json["gzip"] = static_cast<bool>(EPITAXY_HAS_ZLIB);
  return json;
}

void run(bool json) {
  const Json all{{"version", EPITAXY_VERSION}, {"devices", devices()}, {"build", build()}};
  if (json) {
    std::cout << json_line(all) << std::endl;
    return;
  }
  std::cout << "epitaxy " EPITAXY_VERSION "\ndevices\n";
  for (const auto& device : all["devices"]) {
    std::cout << "  " << device["name"].get<std::string>();
    if (device.contains("card"))
      std::cout << ": " << device["card"].get<std::string>() << ", compute " << device["compute"].get<std::string>() << ", "
                << device["multiprocessors"] << " multiprocessors, " << memory_text(device["total_bytes"].get<double>());
    if (device.contains("threads")) std::cout << ", " << device["threads"] << " threads";
    std::cout << ", " << memory_text(device["free_bytes"].get<double>()) << " free\n";
  }
  if (cuda_devices() == 0) std::cout << "  no CUDA device" << (EPITAXY_HAS_CUDA ? " found\n" : ": this build has no CUDA\n");
  std::cout << "build\n";
  for (const auto& [key, value] : all["build"].items())
    std::cout << "  " << key << ": " << (value.is_boolean() ? (value.get<bool>() ? "yes" : "no") : value.get<std::string>()) << '\n';
  std::cout << "  models: " << model_list() << std::endl;
}

}  // namespace

void add_info(CLI::App& app) {
  const auto json = std::make_shared<bool>(false);
  CLI::App* info = app.add_subcommand("info", "Devices, versions and build options");
  info->add_flag("--json", *json, "one JSON object");
  info->footer("Examples:\n  epitaxy info\n  epitaxy info --json");
  info->callback([json] { run(*json); });
}

}  // namespace epitaxy::cli
