// The kinds of source: each lists what it knows of its items before reading them, so that parts can be split without opening their files.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "epitaxy/data/source.h"

namespace epitaxy {

struct Catalogue {
  std::vector<std::int32_t> strata;  // per item: what a split keeps in proportion (the label, or a tenth of the target values)
  std::vector<std::string> groups;   // per item, or empty
  std::function<Dataset(std::span<const std::int64_t> items, std::vector<std::string>& notes)> read;
};

class Source {
 public:
  virtual ~Source() = default;
  /// Whether this part lies on disk; a source that is split here has only "all".
  virtual bool has(std::string_view part) const = 0;
  virtual Catalogue open(std::string_view part, std::vector<std::string>& notes) const = 0;
};

/// nullptr where the folder holds nothing of the kind.
std::unique_ptr<Source> find_idx(const DataOptions& options);
std::unique_ptr<Source> find_image_folders(const DataOptions& options);
std::unique_ptr<Source> find_tables(const DataOptions& options);  // a folder with <part>.csv, or a file
std::unique_ptr<Source> find_arrays(const DataOptions& options);  // a folder with x.npy or x_<part>.npy, or an .npz file
std::unique_ptr<Source> open_lattice(const DataOptions& options);
std::unique_ptr<Source> open_powder(const DataOptions& options);

/// The names a part may have on disk: {"validation", "val"}, {"test", "t10k"}, else the name itself.
std::vector<std::string> aliases(std::string_view part);

/// Rejects --target, --sequence and the like, which are for tables.
void reject_columns(const DataOptions& options);

/// Gives labels their task: class names as they are, or values (names that are all numbers, else the labels) for a regression.
void set_labels(Dataset& data, const std::vector<std::int32_t>& labels, const std::vector<std::string>& class_names, Task task);

/// Whether the one table that options name has the column; true of what is no single table.
bool has_column(const DataOptions& options, const std::string& name);

/// The items of a table that options say: see open_unlabelled.
Dataset read_table(const std::string& path, const DataOptions& options, std::int64_t every);

/// Whether the name ends like arrays (.npy .npz).
bool is_array_name(const std::string& path);
/// The sequences of an array file: itself, or its x and perhaps lengths.
Dataset read_arrays(const std::string& path);

/// Whether the name ends like an image that read_image knows (.png .jpg .jpeg .bmp .tif .tiff).
bool is_image_name(const std::string& path);
/// [N, H, W, C] of files that must agree in size, channels and depth. A note says where later pages of a TIFF are left out.
Tensor read_images(std::span<const std::string> paths, std::vector<std::string>& notes);
/// The image files in a folder and below, sorted.
std::vector<std::string> list_images(const std::string& folder);
/// [N, H, W, C] of an IDX file of images.
Tensor read_idx_images(const std::string& path);

}  // namespace epitaxy
