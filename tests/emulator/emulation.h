// What the emulator's tests share: settings that are restored, the orders to try, the error of a launch, watched sanitizers.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "emulator/backend.h"
#include "emulator/emulator.h"
#include "emulator/sanitizers.h"
#include "epitaxy/error.h"

namespace epitaxy::emulated {

/// Options until the end of a scope.
class Setting {
 public:
  explicit Setting(EmulatorOptions options) : before_(emulator_options()) { emulator_options() = options; }
  ~Setting() { emulator_options() = before_; }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  EmulatorOptions before_;
};

inline constexpr EmulatorOptions kForward{EmulatorOrder::forward, AsyncMode::lazy, 1};
inline constexpr EmulatorOptions kReverse{EmulatorOrder::reverse, AsyncMode::lazy, 1};
inline constexpr EmulatorOptions random_order(std::uint64_t seed) { return {EmulatorOrder::random, AsyncMode::random, seed}; }

/// Runs a test's body in every order.
template <class Body>
void in_every_order(Body body) {
  for (const EmulatorOptions& options : {kForward, EmulatorOptions{EmulatorOrder::forward, AsyncMode::eager, 1}, kReverse, random_order(1),
                                         random_order(2), random_order(3)}) {
    const Setting setting(options);
    SCOPED_TRACE(describe(options));
    body();
  }
}

/// The message of the Error that `act` throws, or an empty string.
inline std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

inline Stream stream() { return emulated_backend().stream(); }

inline void expect_contains(const std::string& message, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << "no '" << part << "' in '" << message << "'";
}

}  // namespace epitaxy::emulated
