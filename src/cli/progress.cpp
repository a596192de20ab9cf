#include "cli/progress.h"

#include <cmath>
#include <iostream>

#include "cli/cli.h"

namespace epitaxy::cli {

namespace {

std::string duration(double seconds) {
  const auto whole = static_cast<long long>(std::llround(std::fmax(0.0, seconds)));
  const std::string s = std::to_string(whole % 60), m = std::to_string(whole / 60 % 60);
  if (whole >= 3600) return std::to_string(whole / 3600) + "h" + (m.size() < 2 ? "0" : "") + m;
  return whole >= 60 ? m + "m" + (s.size() < 2 ? "0" : "") + s + "s" : s + "s";
}

}  // namespace

void Progress::begin(const TrainConfig& config, const ModelCard& card, std::int64_t training_items, std::int64_t validation_items) {
  epochs_ = *config.epochs;
  metric_ = card.task == Task::classification ? "accuracy" : "mae";
  std::cout << card.model.name() << ": " << card.model.parameter_count() << " parameters, input " << card.model.input_shape() << ' '
            << name(card.input_dtype) << ", " << card.model.output_shape().count()
            << (card.task == Task::classification ? " classes" : " outputs") << '\n'
            << "training on " << training_items << " items, validating on " << validation_items << "; " << epochs_ << " epochs, batch "
            << *config.batch << ", " << name(*config.optimizer) << " at " << short_number(*config.learning_rate, 3) << " ("
            << name(*config.schedule) << "), " << config.device << ' ' << name(config.precision) << ", seed " << config.seed << std::endl;
}

void Progress::clear() {
  if (drawn_) std::cout << "\r\033[K";
  drawn_ = false;
}

void Progress::step(const StepReport& r) {
  if (!bars_) return;
  constexpr int kWidth = 24;
  const int full = static_cast<int>(kWidth * r.step / std::max<std::int64_t>(1, r.steps));
  std::string bar(static_cast<std::size_t>(full), '#');
  bar.resize(kWidth, '.');
  std::cout << "\r\033[Kepoch " << r.epoch << '/' << epochs_ << " [" << bar << "] loss " << short_number(r.loss) << "  " << metric_ << ' '
            << short_number(r.metric) << "  " << short_number(r.items_per_second, 3) << " items/s  " << duration(r.seconds_left) << " left"
            << std::flush;
  drawn_ = true;
}

void Progress::epoch(const EpochRecord& r) {
  clear();
  std::cout << "epoch " << r.epoch << '/' << epochs_ << "  loss " << short_number(r.loss) << "  " << metric_ << ' '
            << short_number(r.metric);
  if (r.validation)
    std::cout << "  validation loss " << short_number(r.validation->loss) << "  " << metric_ << ' ' << short_number(r.validation->metric());
  std::cout << "  " << short_number(r.items_per_second, 3) << " items/s" << (r.best ? "  *" : "") << std::endl;
}

}  // namespace epitaxy::cli
