// Opens data by name: which files there are, what they hold, and which items are training, validation and test.
//
// DataOptions::data is one of
//   a folder of IDX files       train-images-idx3-ubyte[.gz] with train-labels-idx1-ubyte[.gz]; test-* or t10k-*; validation-* or val-*;
//                               any <part>-*
//   a folder of image folders   train/<class>/*, test/<class>/* and perhaps validation/ or val/; PNG, JPEG, BMP, TIFF
//   a folder of classes         <class>/*, split here into training and test
//   a table                     file.csv (.tsv, .txt, each also .gz), split here or by a column of it; or a folder with train.csv, test.csv
//                               and perhaps validation.csv or val.csv (also train_*.csv...: one table a part)
//   arrays                      file.npz with x and y (split here) or x_train, y_train, x_test, y_test...; or a folder of such .npy files
//   a simulator                 lattice:count=4000,size=64,... (lattice.h) or powder:count=4000,... (powder.h), split here
// Class names are sorted as text (IDX: by number). A part on disk is used as it is; otherwise parts are split as split.h says.
//
// Sequences [N, T, F] come from
//   a long table   `sequence` names the column that says which sequence (unit, run, engine) a row belongs to; rows are its steps, in file
//                  order or by `time`. Without a window each sequence is one item; with one, every window of `window` rows at `stride`
//                  is, the last one ending at the sequence's last row. The target is that of the item's last row. Sequences stay on one
//                  side of every split.
//   a wide table   `wide`: each row is a sequence of one channel, its feature columns the steps
//   arrays         x [N, T, F], or [N, T] of one channel; y [N] or [N, K]; perhaps lengths [N]. Integer y are classes.
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
  std::string extra_training{};         // more of the kind, never validated or tested on; of parts on disk, train
  std::vector<std::string> target{};    // tables: the target columns (required, but for remaining_life)
  std::vector<std::string> features{};  // tables: the input columns; empty: numeric columns but those with another role, unnamed ones and
                                        // row numbers
  std::string group{};                  // tables: rows with one value of this column stay on one side of every split
  std::vector<std::string> columns{};   // tables without a header: the names of their columns
  std::string split_column{};           // tables: this column says which part a row belongs to: train, validation (val), test
  std::optional<Task> task{};           // tables: default by the target (text: classification). Images: default classification;
                                        // regression takes the label (a class name that is a number, else its index) as the value
  double validation_fraction = 0.1;     // of training, where no validation part exists on disk; 0 for none
  double test_fraction = 0.2;           // where the source has no test part: plain class folders, single tables, lattice:
  std::uint64_t seed = 1;               // of the splits
  bool unshuffled_tail = false;         // validation is the last fraction of training in file order (Keras's validation_split)

  std::string sequence{}, time{};  // long tables: columns of the sequence's name and of the time its rows are ordered by
  bool wide = false;               // each row of a table is a sequence
  std::int64_t window = 0;         // long tables: steps of an item; 0: whole sequences
  std::int64_t stride = 1;         // steps from one window to the next
  bool pad = false;                // sequences shorter than the window, and rows of a wide table that end early, are padded
  bool remaining_life = false;     // the target is the time (without `time`: the steps) from the item's end to the sequence's end
  double target_cap = 0;           // targets of a regression above this count as this; 0: none
  std::string test_targets{};      // a table of one value for each sequence of the test part: its target (remaining life) at the last row;
                                   // beside `data`. Each sequence of that part is then one item, its last window
  std::int64_t steps = 0;          // whole sequences are padded to this many steps; 0: to the longest (evaluation: what training had)
};

struct Parts {
  Dataset train, validation;       // validation may be empty (size 0)
  std::vector<std::string> notes;  // what the user should know: columns used, possible leakage, how it was split
};

/// Whether `data` names a simulator, and nothing on disk.
bool is_simulated(std::string_view data);

/// Training and validation. Never opens a test file; of sources without a test part, test items are set aside first and not read.
Parts open_training(const DataOptions& options);

/// One part: "train", "validation", "test", another part that lies on disk (real-images..., real/), or, of a source that is split
/// here, "all". The same options give the same items as open_training. Notes are appended to `notes` where given.
Dataset open_part(const DataOptions& options, std::string_view part, std::vector<std::string>* notes = nullptr);

/// Inputs alone, for prediction: image files, image folders (read in name order), one IDX image file, one array file (.npy, or x of an
/// .npz), or one table of which the columns `options.features` are read, as sequences where the options say so: of each the last window,
/// or with `every` > 0 all windows at that stride. All images must agree in size, channels and depth.
Dataset open_unlabelled(std::span<const std::string> paths, const DataOptions& options, std::int64_t every = 0);

}  // namespace epitaxy
