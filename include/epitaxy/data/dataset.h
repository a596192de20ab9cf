// One part of a data set (train, validation or test) held in host memory.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "epitaxy/tensor.h"

namespace epitaxy {

enum class Task : std::uint8_t { classification, regression };

struct Dataset {
  Tensor inputs;   // images [N, H, W, C] uint8, uint16 or fp32; tables [N, F] fp32; sequences [N, T, F] fp32; on cpu
  Tensor lengths;  // sequences: int32 [N], 1..T, of items shorter than T; empty: all T long. Steps beyond hold 0
  Tensor targets;  // int32 [N] in 0..classes-1, or fp32 [N, T]; empty (false) where nothing is known
  Task task = Task::classification;
  std::vector<std::string> class_names;    // classification: in the order of the labels
  std::vector<std::string> target_names;   // one per column of a regression's targets
  std::vector<std::string> feature_names;  // tables: one per column of inputs; sequences: per channel (of a wide table: per step)
  std::vector<std::string> names;          // per item, for messages: a file name or "line 7"; may be empty
  std::vector<std::string> groups;         // per item: the specimen or unit it comes from; may be empty
  std::string source;                      // what was opened, for messages

  std::int64_t size() const { return inputs ? inputs.dim(0) : 0; }
};

/// The given items, in the given order (a copy). Rejects an index out of range.
Dataset subset(const Dataset& data, std::span<const std::int64_t> items);

/// The items of both, in order. Rejects items, targets or class names of another kind: see match_classes.
Dataset concatenate(const Dataset& first, const Dataset& second);

/// Renumbers labels so that they mean `class_names` (those a network was trained with). Rejects a class the network does not know.
/// A regression is left alone.
void match_classes(Dataset& data, const std::vector<std::string>& class_names);

/// Items per class, in the order of class_names.
std::vector<std::int64_t> class_counts(const Dataset& data);

struct ImageRange {
  double low = 0, high = 0;
};

/// The values below which `low_percent` and `high_percent` of all input values lie; 0 and 100 give minimum and maximum. Integers are
/// exact; fp32 between the extremes is exact to 1/65536 of the range (a histogram).
ImageRange image_range(const Dataset& data, double low_percent = 0, double high_percent = 100);

}  // namespace epitaxy
