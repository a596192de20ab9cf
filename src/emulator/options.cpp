// Reads the emulator's settings from the environment.
#include <cstdio>
#include <cstdlib>
#include <random>

#include "emulator/emulator.h"
#include "epitaxy/error.h"

namespace epitaxy {

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::uint64_t parse_seed(const std::string& order) {
  const std::string digits = order.substr(7);
  if (digits.empty() || digits.size() > 19 || digits.find_first_not_of("0123456789") != std::string::npos)
    reject("EPITAXY_EMULATOR_ORDER=", order, ": the seed after random: must be a number");
  return std::stoull(digits);
}

}  // namespace

EmulatorOptions parse_emulator_options(const std::string& order, const std::string& async) {
  EmulatorOptions options;
  if (order == "reverse") {
    options.order = EmulatorOrder::reverse;
  } else if (order == "random" || order.starts_with("random:")) {
    options.order = EmulatorOrder::random;
    options.async = AsyncMode::random;
    options.seed = order == "random" ? std::random_device{}() : parse_seed(order);
  } else if (order != "forward" && !order.empty()) {
    reject("EPITAXY_EMULATOR_ORDER=", order, ": one of forward, reverse, random, random:SEED");
  }
  if (async == "eager")
    options.async = AsyncMode::eager;
  else if (async == "lazy")
    options.async = AsyncMode::lazy;
  else if (async == "random")
    options.async = AsyncMode::random;
  else if (!async.empty())
    reject("EPITAXY_EMULATOR_ASYNC=", async, ": one of eager, lazy, random");
  return options;
}

EmulatorOptions& emulator_options() {
  static EmulatorOptions options = [] {
    const std::string order = environment("EPITAXY_EMULATOR_ORDER");
    const EmulatorOptions read = parse_emulator_options(order, environment("EPITAXY_EMULATOR_ASYNC"));
    if (order == "random") std::fprintf(stderr, "emulator: %s\n", describe(read).c_str());  // so that the run can be repeated
    return read;
  }();
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
    case AsyncMode::random:
      return words + ", async random" + (options.order == EmulatorOrder::random ? "" : ":" + std::to_string(options.seed));
  }
  return words;
}

}  // namespace epitaxy
