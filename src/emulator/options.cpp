// Reads the emulator's settings from the environment.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>

#include "emulator/emulator.h"
#include "epitaxy/error.h"

namespace epitaxy {

namespace {

std::uint64_t parse_seed(const std::string& digits, std::string_view setting) {
  if (digits.empty() || digits.size() > 19 || digits.find_first_not_of("0123456789") != std::string::npos)
    reject("EPITAXY_EMULATOR_ORDER=", setting, ": the seed after random: must be a number");
  return std::stoull(digits);
}

EmulatorOptions from_environment() {
  EmulatorOptions options;
  if (const char* value = std::getenv("EPITAXY_EMULATOR_ORDER"); value && *value) {
    const std::string order = value;
    if (order == "reverse") {
      options.order = EmulatorOrder::reverse;
    } else if (order.starts_with("random")) {
      options.order = EmulatorOrder::random;
      options.async = AsyncMode::random;
      if (order == "random") {
        options.seed = std::random_device{}();
        std::fprintf(stderr, "emulator: %s\n", describe(options).c_str());
      } else if (order.starts_with("random:")) {
        options.seed = parse_seed(order.substr(7), order);
      } else {
        reject("EPITAXY_EMULATOR_ORDER=", order, ": one of forward, reverse, random, random:SEED");
      }
    } else if (order != "forward") {
      reject("EPITAXY_EMULATOR_ORDER=", order, ": one of forward, reverse, random, random:SEED");
    }
  }
  if (const char* value = std::getenv("EPITAXY_EMULATOR_ASYNC"); value && *value) {
    const std::string_view mode = value;
    if (mode == "eager") options.async = AsyncMode::eager;
    else if (mode == "lazy") options.async = AsyncMode::lazy;
    else if (mode == "random") options.async = AsyncMode::random;
    else reject("EPITAXY_EMULATOR_ASYNC=", mode, ": one of eager, lazy, random");
  }
  return options;
}

}  // namespace

EmulatorOptions& emulator_options() {
  static EmulatorOptions options = from_environment();
  return options;
}

std::string describe(const EmulatorOptions& options) {
  std::string words = "order ";
  switch (options.order) {
    case EmulatorOrder::forward: words += "forward"; break;
    case EmulatorOrder::reverse: words += "reverse"; break;
    case EmulatorOrder::random: words += "random:" + std::to_string(options.seed); break;
  }
  switch (options.async) {
    case AsyncMode::eager: return words + ", async eager";
    case AsyncMode::lazy: return words + ", async lazy";
    case AsyncMode::random: return words + ", async random" + (options.order == EmulatorOrder::random ? "" : ":" + std::to_string(options.seed));
  }
  return words;
}

}  // namespace epitaxy
