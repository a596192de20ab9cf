// Opens data by name: which files there are, what they hold, and which items are training, validation and test.
//
// DataOptions::data is one of
//   a folder of IDX files      train-images-idx3-ubyte[.gz] with train-labels-idx1-ubyte[.gz]; test-* or t10k-*; validation-* or val-*; any
//   <part>-* a folder of image folders  train/<class>/*, test/<class>/* and perhaps validation/ or val/; PNG, JPEG, BMP, TIFF a folder of
//   classes        <class>/*, split here into training and test a table                    file.csv, split here; or a folder with
//   train.csv, test.csv and perhaps validation.csv or val.csv the simulator              lattice:count=4000,size=64,...   (lattice.h),
//   split here
// Class names are sorted as text (IDX: by number). A part on disk is used as it is; otherwise parts are split as split.h says.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "epitaxy/data/dataset.h"

namespace epitaxy {

struct DataOptions {
  std::string data{};                   // see above
  std::vector<std::string> target{};    // tables: the target columns (required)
  std::vector<std::string> features{};  // tables: the input columns; empty: numeric columns but targets, group, unnamed and row-number ones
  std::string group{};                  // tables: rows with one value of this column stay on one side of every split
  std::optional<Task> task{};           // tables: default by the target (text: classification). Images: default classification;
                                        // regression takes the label (a class name that is a number, else its index) as the value
  double validation_fraction = 0.1;     // of training, where no validation part exists on disk; 0 for none
  double test_fraction = 0.2;           // where the source has no test part: plain class folders, single tables, lattice:
  std::uint64_t seed = 1;               // of the splits
  bool unshuffled_tail = false;         // validation is the last fraction of training in file order (Keras's validation_split)
};

struct Parts {
  Dataset train, validation;       // validation may be empty (size 0)
  std::vector<std::string> notes;  // what the user should know: columns used, possible leakage, how it was split
};

/// Training and validation. Never opens a test file; of sources without a test part, test items are set aside first and not read.
Parts open_training(const DataOptions& options);

/// One part: "train", "validation", "test", another part that lies on disk (real-images..., real/), or, of a source that is split
/// here, "all". The same options give the same items as open_training. Notes are appended to `notes` where given.
Dataset open_part(const DataOptions& options, std::string_view part, std::vector<std::string>* notes = nullptr);

/// Inputs alone, for prediction: image files, image folders (read in name order), one IDX image file, or one table of which the columns
/// `features` are read. All images must agree in size, channels and depth.
Dataset open_unlabelled(std::span<const std::string> paths, const std::vector<std::string>& features);

}  // namespace epitaxy
