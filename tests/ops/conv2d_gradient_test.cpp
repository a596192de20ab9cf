// The input gradient's epilogue: hand-computed values, every part on every device and kernel against the reference, refusals.
#include "tests/cases/conv2d_gradient.h"

#include "epitaxy/ops/batch_norm.h"
#include "kernels/conv2d.h"
#include "ops/conv2d.h"

namespace epitaxy::test {
namespace {

const Context kReference{&cpu_backend(), {}, true};
constexpr auto kPass = Conv2dPass::input_gradient;

std::string name_of(const Conv2dGradientEpilogue& e) {
  return text(e.add ? "add " : "", "mask ", static_cast<int>(e.mask), e.reductions ? " reductions" : "");
}

/// A 1x1 convolution whose filter is 2: dx = mask * (2 dy + other).
TEST(Conv2dGradient, HandValues) {
  const Shape image{1, 1, 4, 1};
  const Tensor dy = values(DType::fp32, image, {1, 2, 3, 4}), filter = values(DType::fp32, {1, 1, 1, 1}, {2}),
               other = values(DType::fp32, image, {10, -20, 30, 5}), v = values(DType::fp32, image, {3, 5, 2, 6});
  const auto channel = [](double value) { return values(DType::fp32, {1}, {value}); };
  const auto gradient = [](const Conv2dGradientEpilogue& epilogue) { return conv2d_input_gradient({}, 1, 4, epilogue); };
  EXPECT_TRUE(close(run(*gradient({.add = true}), {dy, filter, other}, kReference)[0], values(DType::fp32, image, {12, -16, 36, 13}), 0));
  const Tensor y = values(DType::fp32, image, {0, 1, -1, std::numeric_limits<double>::quiet_NaN()});
  EXPECT_TRUE(
      close(run(*gradient({.mask = ReluMask::output}), {dy, filter, y}, kReference)[0], values(DType::fp32, image, {0, 4, 0, 0}), 0));
  const Tensor bits = values(DType::uint8, image, {1, 254, 255, 0});
  EXPECT_TRUE(
      close(run(*gradient({.mask = ReluMask::bits}), {dy, filter, bits}, kReference)[0], values(DType::fp32, image, {2, 0, 6, 0}), 0));
  // (v - 4) * 2 * 3 + 1 > 0 where v is 5 and 6.
  const auto both = run(*gradient({.add = true, .mask = ReluMask::recomputed, .reductions = true}),
                        {dy, filter, other, v, channel(4), channel(2), channel(3), channel(1)}, kReference);
  EXPECT_TRUE(close(both[0], values(DType::fp32, image, {0, -16, 0, 13}), 0));
  EXPECT_TRUE(close(both[1], values(DType::fp32, {1, 2, 1}, {-16 * 1 * 2 + 13 * 2 * 2, -16 + 13}), 0));
  EXPECT_TRUE(close(run(*batch_norm_reduce_tiles(), {values(DType::fp32, {2, 2, 1}, {1, 2, 3, 4})}, kReference)[0], channel(4), 0));
  EXPECT_TRUE(close(run(*batch_norm_reduce_tiles(), {values(DType::fp32, {2, 2, 1}, {1, 2, 3, 4})}, kReference)[1], channel(6), 0));
}

/// The parts together are the operations that they stand for.
TEST(Conv2dGradient, IsWhatTheOperationsAre) {
  const Conv2dCase one{"", 2, 9, 8, 8, 16, 3, 3, conv_options(1)};
  const Conv2dGradientEpilogue epilogue{.mask = ReluMask::recomputed, .reductions = true};
  const auto inputs = gradient_inputs(one, DType::fp32, epilogue, Fill::normal());
  const auto fused = run(*conv2d_input_gradient(one.options, one.h, one.w, epilogue), inputs, kReference);
  const auto sums = run(*batch_norm_reduce_tiles(), {fused[1]}, kReference);
  const Tensor dx = run(*conv2d_input_gradient(one.options, one.h, one.w), {inputs[0], inputs[1]}, kReference)[0];
  const auto want =
      run(*batch_norm_reduce({Activation::relu, false}), {inputs[2], dx, inputs[3], inputs[4], inputs[5], inputs[6]}, kReference);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(close(sums[i], want[i], 1e-4, 1e-5));
  const auto masked =
      run(*batch_norm_input_gradient(true), {inputs[2], fused[0], inputs[3], inputs[4], inputs[5], want[0], want[1]}, kReference);
  const auto plain = run(*batch_norm_input_gradient(true, Activation::relu),
                         {inputs[2], dx, inputs[3], inputs[4], inputs[5], want[0], want[1], inputs[6]}, kReference);
  EXPECT_TRUE(same(masked[0], plain[0]));
}

std::vector<Conv2dCase> gradient_cases() {
  const Conv2dOptions uneven{.stride = {2, 3}, .dilation = {2, 1}, .padding = {0, 3, 2, 1}};
  constexpr auto kPeriodic = PaddingMode::periodic, kZeros = PaddingMode::zeros;
  return {
      {"3x3", 2, 9, 8, 16, 24, 3, 3, conv_options(1)},
      {"tiles", 1, 12, 12, 136, 72, 1, 1, {}},  // 144 pixels: edges of every tile
      {"odd channels", 1, 12, 11, 7, 9, 3, 3, conv_options(1)},
      {"uneven strides", 2, 9, 8, 8, 8, 3, 2, uneven},
      {"odd groups, periodic, stride 2", 1, 6, 6, 6, 9, 3, 3, conv_options(1, 2, 1, kPeriodic, 3)},
      {"2 groups", 2, 9, 9, 48, 16, 3, 3, conv_options(1, 1, 1, kZeros, 2)},
      {"depthwise", 2, 9, 9, 16, 16, 3, 3, conv_options(1, 1, 1, kZeros, 16)},
      {"depthwise, odd, stride 2", 1, 9, 10, 5, 5, 3, 3, conv_options(1, 2, 1, kZeros, 5)},
  };
}

TEST(Conv2dGradient, Devices) {
  std::size_t next = 0;
  const auto epilogues = gradient_epilogues();
  for (const Conv2dCase& one : gradient_cases())
    for (const DType dtype : {DType::fp32, DType::bf16, DType::fp16})
      for (int turn = 0; turn < 3; ++turn) {  // in turn, so that each meets many cases
        const Conv2dGradientEpilogue& epilogue = epilogues[next++ % epilogues.size()];
        SCOPED_TRACE(text(one.name, " ", name(dtype), " ", name_of(epilogue)));
        Conv2dOptions options = one.options;
        options.tf32 = turn == 2;
        check_devices(*conv2d_input_gradient(options, one.h, one.w, epilogue), gradient_inputs(one, dtype, epilogue, Fill::normal(0.25)));
      }
}

Conv2dProblem problem_of(const Conv2dOptions& options, const Conv2dCase& one, const Conv2dGradientEpilogue& epilogue,
                         const std::vector<Tensor>& inputs) {
  std::vector<TensorSpec> specs;
  for (const Tensor& input : inputs) specs.push_back(input.spec());
  return conv2d_problem(kPass, options, {one.h, one.w}, specs, epilogue);
}

/// Integers are exact in every order: the bits are the reference's, sums included.
void expect_exact(const Conv2dCase& one, DType dtype, const Conv2dGradientEpilogue& epilogue, std::span<const Conv2dPlan> plans,
                  int& tried) {
  const auto inputs = gradient_inputs(one, dtype, epilogue, Fill::integers(-2, 2));
  for (const bool tf32 : {false, true}) {
    if (tf32 && dtype != DType::fp32) continue;
    Conv2dOptions options = one.options;
    options.tf32 = tf32;
    const Conv2dProblem problem = problem_of(options, one, epilogue, inputs);
    std::vector<Tensor> want;
    for (const Conv2dPlan& plan : plans) {
      if (!is_supported(kPass, problem, plan)) continue;
      const OperationPtr operation = conv2d_with_plan(kPass, options, {one.h, one.w}, plan, epilogue);
      if (want.empty()) want = run(*operation, inputs, kReference);
      for (const Device device : devices()) {
        if (device.kind == DeviceKind::cpu) continue;
        std::string why = why_absent(device);
        if (why.empty() && plan.path == Conv2dPath::wgmma && backend_of(device).stream().profile->compute != 90)
          why = "not of compute capability 9.0";
        if (!why.empty()) {
          skip_device(device, why);
          continue;
        }
        SCOPED_TRACE(
            text(one.name, " ", name(dtype), tf32 ? " tf32 " : " ", name_of(epilogue), " ", operation->variant(), " on ", name(device)));
        const auto got = run_on(device, *operation, inputs);
        for (std::size_t o = 0; o < want.size(); ++o) EXPECT_TRUE(close(got[o], want[o], 0)) << "output " << o;
        ++tried;
      }
    }
  }
}

TEST(Conv2dGradient, EveryPlan) {
  std::vector<Conv2dPlan> plans;
  for (const auto path : {Conv2dPath::simt, Conv2dPath::mma, Conv2dPath::depthwise})
    for (const auto tile : {Conv2dTile::m128n128, Conv2dTile::m128n64, Conv2dTile::m64n64})
      for (const bool vector : {false, true}) plans.push_back({path, tile, vector, 1});
  int tried = 0;
  std::size_t next = 0;
  const auto epilogues = gradient_epilogues();
  for (const Conv2dCase& one : gradient_cases())
    for (const DType dtype : {DType::fp32, DType::bf16, DType::fp16})
      for (int turn = 0; turn < 2; ++turn) expect_exact(one, dtype, epilogues[next++ % epilogues.size()], plans, tried);
  if (!devices().empty() && tried > 0) {
    EXPECT_GT(tried, 60);
  }
}

TEST(Conv2dGradient, Wgmma) {
  constexpr auto kPeriodic = PaddingMode::periodic;
  const std::vector<Conv2dCase> cases{
      {"edges of every tile", 3, 11, 12, 264, 32, 2, 2, conv_options(1)},  // 396 pixels, 264 columns
      {"3x3", 2, 9, 8, 72, 64, 3, 3, conv_options(1)},
      {"3x3 stride 2", 2, 9, 8, 64, 64, 3, 3, conv_options(1, 2)},
      {"1x1 stride 2", 2, 13, 12, 64, 40, 1, 1, conv_options(0, 2)},
      {"periodic", 2, 6, 7, 64, 40, 3, 3, conv_options(1, 1, 1, kPeriodic)},
  };
  const std::vector<Conv2dTile> tiles{Conv2dTile::m128n64,  Conv2dTile::m128n128,       Conv2dTile::m256n64,        Conv2dTile::m256n128,
                                      Conv2dTile::m128n256, Conv2dTile::m256n64_strips, Conv2dTile::m256n128_strips};
  const auto epilogues = gradient_epilogues();
  int tried = 0;
  std::size_t next = 0;
  for (const Conv2dCase& one : cases)
    for (std::size_t t = 0; t < tiles.size(); ++t)
      for (const DType dtype : {DType::bf16, DType::fp16, DType::fp32}) {
        const Conv2dPlan plan{Conv2dPath::wgmma, tiles[t], true, 1};
        if (&one != &cases[0] && (t + static_cast<std::size_t>(dtype)) % 2) continue;  // one in two
        expect_exact(one, dtype, epilogues[next++ % epilogues.size()], {&plan, 1}, tried);
      }
  if (tried > 0) {
    EXPECT_GT(tried, 40);
  }
}

/// Rounding: values that are not integers, and tiles that follow each other in a block.
TEST(Conv2dGradient, WgmmaWithinTolerance) {
  const Conv2dCase one{"", 2, 14, 13, 64, 64, 3, 3, conv_options(1)};
  for (const Conv2dTile tile : {Conv2dTile::m128n64, Conv2dTile::m256n64, Conv2dTile::m256n64_strips})
    for (const DType dtype : {DType::bf16, DType::fp32}) {
      const Conv2dGradientEpilogue epilogue{.add = true, .mask = ReluMask::recomputed, .reductions = true};
      Conv2dOptions options = one.options;
      options.tf32 = true;
      const OperationPtr operation = conv2d_with_plan(kPass, options, {one.h, one.w}, {Conv2dPath::wgmma, tile, true, 1}, epilogue);
      const auto inputs = gradient_inputs(one, dtype, epilogue, Fill::normal(0.25));
      for (const Device device : devices()) {
        if (device.kind == DeviceKind::cpu || !why_absent(device).empty() || backend_of(device).stream().profile->compute != 90) continue;
        SCOPED_TRACE(text(name(dtype), " tile ", static_cast<int>(tile), " on ", name(device)));
        EXPECT_TRUE(meets_tolerance(*operation, inputs, run_on(device, *operation, inputs)));
      }
    }
}

/// As many tiles as are merged in two steps.
TEST(BatchNorm, ReducesTiles) {
  for (const std::int64_t tiles : {1, 33, 1025})
    check_devices(*batch_norm_reduce_tiles(), {make({DType::fp32, {tiles, 2, 5}}, Fill::normal(), 1)});
}

TEST(Conv2dGradient, RefusesBadArguments) {
  const TensorSpec image{DType::fp32, {1, 4, 4, 3}}, filter{DType::fp32, {3, 1, 1, 3}}, channels{DType::fp32, {3}};
  const auto refusal = [](const Conv2dGradientEpilogue& epilogue, std::vector<TensorSpec> inputs, Conv2dOptions options = {}) {
    try {
      conv2d_input_gradient(options, 4, 4, epilogue)->outputs(inputs);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::usage);
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const auto has = [](const std::string& message, std::string_view part) { EXPECT_NE(message.find(part), std::string::npos) << message; };
  EXPECT_EQ(refusal({.add = true}, {image, filter, image}), "accepted");
  has(refusal({.add = true}, {image, filter}), "takes 3");
  has(refusal({.add = true}, {image, filter, {DType::bf16, {1, 4, 4, 3}}}),
      "the other gradient is bf16 [1, 4, 4, 3], expected fp32 [1, 4, 4, 3]");
  has(refusal({.mask = ReluMask::bits}, {image, filter, {DType::uint8, {1, 4, 4, 3}}}), "expected uint8 [1, 4, 4, 1]");
  has(refusal({.reductions = true}, {image, filter, image, channels, {DType::fp32, {4}}}), "inverse_std is fp32 [4], expected fp32 [3]");
  has(refusal({.mask = ReluMask::recomputed}, {image, filter, channels, channels}), "a recomputed mask takes reductions");
  has(refusal({.add = true}, {image, filter, image}, {.second_channels = 1}), "one image");
}

}  // namespace
}  // namespace epitaxy::test
