// How training is shown: a bar that is redrawn on a terminal, one line per epoch elsewhere.
#pragma once

#include "epitaxy/train/train.h"

namespace epitaxy::cli {

class Progress {
 public:
  /// `bars`: stdout is a terminal.
  explicit Progress(bool bars) : bars_(bars) {}
  void begin(const TrainConfig& config, const ModelCard& card, std::int64_t training_items, std::int64_t validation_items);
  void step(const StepReport& report);
  void epoch(const EpochRecord& record);

 private:
  void clear();

  bool bars_;
  bool drawn_ = false;
  int epochs_ = 0;
  std::string metric_ = "accuracy";
};

}  // namespace epitaxy::cli
