// The one comparator, seeded fills and device runs that every operation's test uses.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "epitaxy/ops/operation.h"
#include "epitaxy/philox.h"

namespace epitaxy::test {

/// The devices to test: cpu (fast path), emulated (where built), cuda:0 (where built and present).
std::vector<Device> devices();
/// Says why a device cannot be tested here ("no device: ..."), or "" where it can.
std::string why_absent(Device device);
/// Counts a case that cuda could not run; the program's last line tells how many. A failure with EPITAXY_REQUIRE_GPU=1.
void skip_device(Device device, const std::string& why);

/// Contents for a tensor. Every fill is seeded; 16-bit types get values that they hold exactly as rounded.
struct Fill {
  enum class Kind { normal, uniform, small_integers, constant } kind = Kind::normal;
  double low = -1, high = 1;  // uniform's range, small_integers' range inclusive; normal: mean = (low+high)/2, sigma = (high-low)/2
  static Fill normal(double mean = 0, double sigma = 1) { return {Kind::normal, mean - sigma, mean + sigma}; }
  static Fill uniform(double low, double high) { return {Kind::uniform, low, high}; }
  static Fill integers(int low, int high) { return {Kind::small_integers, static_cast<double>(low), static_cast<double>(high)}; }
  static Fill constant(double value) { return {Kind::constant, value, value}; }
};
/// A CPU tensor of that spec; any dtype (integers are rounded and clamped).
Tensor make(TensorSpec spec, Fill fill, std::uint64_t seed);
/// A CPU tensor with the given values, converted to dtype.
Tensor values(DType dtype, Shape shape, std::span<const double> numbers);
Tensor values(DType dtype, Shape shape, std::initializer_list<double> numbers);
/// Any tensor on any device as doubles.
std::vector<double> numbers(const Tensor& tensor);

/// Accepts |got - want| <= absolute + relative * |want| everywhere (so NaN never passes); the message names the first bad element.
::testing::AssertionResult close(const Tensor& got, const Tensor& want, double absolute, double relative = 0);
/// Bitwise equality.
::testing::AssertionResult same(const Tensor& got, const Tensor& want);
/// `got` against the reference by the operation's own tolerance, for every output. Refuses references that are all zero (vacuous)
/// unless `allow_zero`, and references with a NaN unless `allow_nan`: then a NaN is met by a NaN alone.
::testing::AssertionResult meets_tolerance(const Operation& operation, const std::vector<Tensor>& cpu_inputs,
                                           const std::vector<Tensor>& got, bool allow_zero = false, bool allow_nan = false);

/// Runs on a device with CPU inputs: copies there, with guard bytes around every output and the workspace, which start as NaN;
/// runs twice, and once in place where the operation allows it, and demands the same bits; answers CPU copies.
std::vector<Tensor> run_on(Device device, const Operation& operation, const std::vector<Tensor>& cpu_inputs, bool reference = false);

/// The whole check of one case: on every device, result against reference within tolerance. SCOPED_TRACE the case yourself.
void check_devices(const Operation& operation, const std::vector<Tensor>& cpu_inputs, bool allow_zero = false, bool allow_nan = false);

/// Central finite differences on the reference: for output `output` of `operation`, weights it by a seeded random tensor, and compares
/// d(sum)/d(input i) with what the operation's gradient rule gives (through `differentiate`, run by the reference). fp32 inputs.
void check_gradient(OperationPtr operation, const std::vector<Tensor>& cpu_inputs, std::vector<int> wanted, int output = 0,
                    double step = 1e-2, double tolerance = 2e-3);

}  // namespace epitaxy::test
