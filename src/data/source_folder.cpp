// Image folders: <part>/<class>/*, or <class>/* that is split here.
#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>

#include "epitaxy/data/image.h"
#include "file.h"
#include "source_kinds.h"

namespace epitaxy {

namespace fs = std::filesystem;

bool is_image_name(const std::string& path) {
  std::string ending = fs::path(path).extension().string();
  for (char& c : ending) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg" || ending == ".bmp" || ending == ".tif" || ending == ".tiff";
}

namespace {

/// Names of the subfolders, sorted; hidden ones are skipped.
std::vector<std::string> subfolders(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() && !name.starts_with('.')) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string describe(const Tensor& pixels) {
  return text(pixels.dim(1), " x ", pixels.dim(0), " pixels, ", pixels.dim(2), pixels.dim(2) == 1 ? " channel, " : " channels, ",
              name(pixels.dtype()));
}

class FolderSource final : public Source {
 public:
  FolderSource(const DataOptions& options, bool split_here) : options_(options), split_here_(split_here) { reject_columns(options); }

  bool has(std::string_view part) const override { return split_here_ ? part == "all" : !find(part).empty(); }

  Catalogue open(std::string_view part, std::vector<std::string>&) const override {
    const std::string folder = split_here_ ? options_.data : find(part);
    const std::vector<std::string> classes = subfolders(folder);
    for (const auto& one : classes)
      if (utf8_length(one) != one.size()) reject("'", folder, "/", one, "': the name of a class folder must be UTF-8; rename it");
    if (classes.empty()) reject("'", folder, "' holds no class folders (", folder, "/<class>/*)");
    Catalogue catalogue;
    std::vector<std::string> paths;
    for (std::size_t label = 0; label < classes.size(); ++label) {
      const auto inside = list_images((fs::path(folder) / classes[label]).string());
      if (inside.empty())
        reject("'", (fs::path(folder) / classes[label]).string(),
               "' holds no images (PNG, JPEG, BMP, TIFF); add some or remove the folder");
      paths.insert(paths.end(), inside.begin(), inside.end());
      catalogue.strata.insert(catalogue.strata.end(), inside.size(), static_cast<std::int32_t>(label));
    }
    const Task task = options_.task.value_or(Task::classification);
    catalogue.read = [=, strata = catalogue.strata](std::span<const std::int64_t> items, std::vector<std::string>& notes) {
      Dataset data;
      std::vector<std::int32_t> labels;
      for (const std::int64_t item : items) {
        data.names.push_back(paths[static_cast<std::size_t>(item)]);
        labels.push_back(strata[static_cast<std::size_t>(item)]);
      }
      data.inputs = read_images(data.names, notes);
      set_labels(data, labels, classes, task);
      data.source = folder;
      return data;
    };
    return catalogue;
  }

 private:
  std::string find(std::string_view part) const {
    for (const auto& name : aliases(part))
      if (fs::is_directory(fs::path(options_.data) / name)) return (fs::path(options_.data) / name).string();
    return {};
  }

  DataOptions options_;
  bool split_here_;
};

}  // namespace

std::vector<std::string> list_images(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && is_image_name(entry.path().string()) && !entry.path().filename().string().starts_with('.'))
      paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

Tensor read_images(std::span<const std::string> paths, std::vector<std::string>& notes) {
  require(!paths.empty(), "no images given");
  Tensor images;
  std::int64_t with_pages = 0;
  TensorSpec first;
  std::string described;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const Image image = read_image(paths[i]);
    if (i == 0) {
      first = image.pixels.spec();
      described = describe(image.pixels);
      images = allocate_host({first.dtype, first.shape.prepend(static_cast<std::int64_t>(paths.size()))}, "the images of this part");
    } else if (image.pixels.spec() != first) {
      reject("images differ: '", paths[0], "' has ", described, ", but '", paths[i], "' has ", describe(image.pixels),
             "; bring all to one size and depth");
    }
    std::memcpy(static_cast<std::byte*>(images.data()) + i * first.bytes(), image.pixels.data(), first.bytes());
    with_pages += image.pages > 1;
  }
  if (with_pages > 0) notes.push_back(text(with_pages, " files hold several pages, of which the first is used"));
  return images;
}

std::unique_ptr<Source> find_image_folders(const DataOptions& options) {
  const auto folders = subfolders(options.data);
  const auto holds = [&](const char* part) { return std::find(folders.begin(), folders.end(), part) != folders.end(); };
  if (holds("train") || holds("test")) return std::make_unique<FolderSource>(options, false);
  for (const auto& one : folders)
    for (const auto& entry : fs::directory_iterator(fs::path(options.data) / one))
      if (entry.is_regular_file() && is_image_name(entry.path().string())) return std::make_unique<FolderSource>(options, true);
  return nullptr;
}

}  // namespace epitaxy
