// Convolution on wgmma and TMA: every tile and pass against the reference, exactly where the sums are integers; epilogues; more tiles than
// multiprocessors; what the path takes and which plan it gets.
#include "kernels/conv2d_wgmma.h"

#if EPITAXY_HAS_EMULATOR
#include "emulator/backend.h"
#endif
#include "ops/conv2d.h"
#include "tests/cases/conv2d.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

const Context kReference{&cpu_backend(), {}, true};
constexpr std::array<Conv2dTile, 5> kTiles{Conv2dTile::m128n64, Conv2dTile::m128n128, Conv2dTile::m256n64, Conv2dTile::m256n128,
                                           Conv2dTile::m128n256};
constexpr std::array<Conv2dPass, 3> kPasses{Conv2dPass::forward, Conv2dPass::input_gradient, Conv2dPass::filter_gradient};

/// Where the path exists: emulated, and a GPU of compute capability 9.0.
std::vector<Device> wgmma_devices() {
  std::vector<Device> result;
  for (const Device device : devices()) {
    if (device.kind == DeviceKind::cpu) continue;
    std::string why = why_absent(device);
    if (why.empty() && backend_of(device).stream().profile->compute != 90) why = "not of compute capability 9.0";
    if (why.empty())
      result.push_back(device);
    else
      skip_device(device, why);
  }
  return result;
}

Conv2dOptions two_inputs(Conv2dOptions options, std::int64_t second) {
  options.second_channels = second;
  return options;
}

std::vector<Conv2dCase> wgmma_cases() {
  Conv2dOptions uneven;
  uneven.stride = {1, 2}, uneven.dilation = {2, 1}, uneven.padding = {0, 3, 2, 1};
  Conv2dOptions rows;  // as many pixels of y as of x, padding uneven
  rows.padding = {3, 5, 1, 0};
  rows.padding_mode[0] = PaddingMode::periodic;
  Conv2dOptions columns = conv_options(1);
  columns.padding_mode[1] = PaddingMode::periodic;
  return {
      {"1x1", 1, 9, 15, 64, 72, 1, 1, {}},  // 135 pixels: one tile of 128 and a part; 72 columns
      {"3x3", 2, 9, 8, 64, 64, 3, 3, conv_options(1)},
      {"two chunks", 1, 6, 5, 72, 136, 3, 3, conv_options(1)},  // the second of 8 channels
      {"few channels", 1, 5, 4, 32, 40, 3, 3, conv_options(1)},
      {"3x3 stride 2", 2, 9, 8, 64, 64, 3, 3, conv_options(1, 2)},
      {"1x1 stride 2", 2, 7, 6, 64, 40, 1, 1, conv_options(0, 2)},  // pixels of dx that no tap reaches
      {"dilation 3", 1, 9, 9, 40, 64, 3, 3, conv_options(3, 1, 3)},
      {"stride 2, dilation 2", 1, 9, 7, 40, 64, 3, 3, conv_options(2, 2, 2)},
      {"uneven", 2, 7, 8, 64, 40, 3, 2, uneven},
      {"padding beyond the image", 1, 2, 3, 32, 32, 5, 3, conv_options(4)},
      {"5x5 of small images", 9, 3, 3, 32, 64, 5, 5, conv_options(2)},  // a tile of 14 images
      {"periodic", 2, 6, 7, 64, 40, 3, 3, conv_options(1, 1, 1, PaddingMode::periodic)},
      {"rows periodic, more than one period", 1, 3, 7, 40, 64, 9, 2, rows},
      {"two inputs, columns periodic", 1, 5, 6, 40 + 32, 64, 3, 3, two_inputs(columns, 32)},
      {"two inputs", 1, 6, 6, 40 + 72, 64, 3, 3, two_inputs(conv_options(1), 72)},
  };
}

/// A pass of a case with its inputs; arithmetic is that of the dtype, fp32 meaning tf32.
struct Trial {
  Conv2dPass pass;
  Conv2dOptions options;
  std::array<std::int64_t, 2> size;
  std::vector<Tensor> inputs;
  Conv2dProblem problem() const {
    std::vector<TensorSpec> specs;
    for (const Tensor& input : inputs) specs.push_back(input.spec());
    return conv2d_problem(pass, options, size, specs);
  }
};

Trial trial(const Conv2dCase& one, Conv2dPass pass, DType dtype, Fill fill) {
  Conv2dOptions options = one.options;
  options.tf32 = dtype == DType::fp32;
  const std::int64_t second = options.second_channels;
  std::vector<Tensor> images{make({dtype, {one.n, one.h, one.w, one.c - second}}, fill, 1)};
  if (second > 0) images.push_back(make({dtype, {one.n, one.h, one.w, second}}, fill, 5));
  const Tensor filter = make({dtype, {one.k, one.r, one.s, one.c}}, fill, 2);
  std::vector<Tensor> forward = images;
  forward.push_back(filter);
  if (pass == Conv2dPass::forward) {
    forward.push_back(make({DType::fp32, {one.k}}, fill, 3));
    return {pass, options, {1, 1}, forward};
  }
  std::vector<TensorSpec> specs;
  for (const Tensor& input : forward) specs.push_back(input.spec());
  const Tensor dy = make(conv2d(options)->outputs(specs)[0], fill, 4);
  if (pass == Conv2dPass::input_gradient) return {pass, options, {one.h, one.w}, {dy, filter}};
  images.push_back(dy);
  return {pass, options, {one.r, one.s}, images};
}

Conv2dPlan plan_of(Conv2dTile tile, int splits = 1) { return {Conv2dPath::wgmma, tile, true, splits}; }

void expect_exact(const Trial& t, const Conv2dPlan& plan, const std::vector<Tensor>& want) {
  const OperationPtr operation = conv2d_with_plan(t.pass, t.options, t.size, plan);
  for (const Device device : wgmma_devices()) {
    SCOPED_TRACE(text(operation->name(), " ", name(t.inputs[0].dtype()), " on ", name(device), ", tile ", static_cast<int>(plan.tile),
                      ", splits ", plan.splits));
    const auto got = run_on(device, *operation, t.inputs);
    for (std::size_t o = 0; o < want.size(); ++o) EXPECT_TRUE(close(got[o], want[o], 0));
  }
}

std::vector<Tensor> reference(const Trial& t) { return run(*conv2d_with_plan(t.pass, t.options, t.size, {}), t.inputs, kReference); }

/// Sums of small integers are exact in every order: the bits are the reference's.
TEST(Conv2dWgmma, IntegersAreExact) {
  std::size_t next = 0;  // tiles in turn, so that each meets many cases
  for (const Conv2dCase& one : wgmma_cases())
    for (const Conv2dPass pass : kPasses)
      for (const DType dtype : {DType::bf16, DType::fp16}) {
        SCOPED_TRACE(one.name);
        const Trial t = trial(one, pass, dtype, Fill::integers(-2, 2));
        ASSERT_TRUE(conv2d_wgmma_supports(pass, t.problem()));
        const int splits = pass == Conv2dPass::filter_gradient ? 1 + static_cast<int>(next % 2) : 1;
        expect_exact(t, plan_of(kTiles[next++ % kTiles.size()], splits), reference(t));
      }
}

/// Periods where the input gradient goes to another path: strides, and sizes that differ.
TEST(Conv2dWgmma, PeriodicWithStride) {
  Conv2dOptions options = conv_options(2, 2, 1, PaddingMode::periodic);
  options.padding = {4, 1, 2, 0};
  const Conv2dCase one{"", 2, 3, 5, 40, 64, 3, 3, options};
  EXPECT_FALSE(conv2d_wgmma_supports(Conv2dPass::input_gradient, trial(one, Conv2dPass::input_gradient, DType::bf16, {}).problem()));
  for (const Conv2dPass pass : {Conv2dPass::forward, Conv2dPass::filter_gradient}) {
    const Trial t = trial(one, pass, DType::bf16, Fill::integers(-2, 2));
    expect_exact(t, plan_of(Conv2dTile::m128n64, pass == Conv2dPass::forward ? 1 : 2), reference(t));
  }
}

/// One load for a row of taps: filters of several widths, both directions of the taps, epilogue and second images.
TEST(Conv2dWgmma, Strips) {
  std::size_t next = 0;
  int trials = 0;
  for (const Conv2dCase& one : wgmma_cases())
    for (const Conv2dPass pass : {Conv2dPass::forward, Conv2dPass::input_gradient})
      for (const DType dtype : {DType::bf16, DType::fp16, DType::fp32}) {
        const Trial t = trial(one, pass, dtype, Fill::integers(-2, 2));
        const Conv2dPlan plan = plan_of(++next % 2 ? Conv2dTile::m256n64_strips : Conv2dTile::m256n128_strips);
        if (!conv2d_wgmma_is_supported(pass, t.problem(), plan)) continue;
        SCOPED_TRACE(one.name);
        expect_exact(t, plan, reference(t));
        ++trials;
      }
  EXPECT_GE(trials, 40);
  Trial t = trial({"", 2, 9, 14, 40, 136, 2, 5, conv_options(2)}, Conv2dPass::forward, DType::bf16, Fill::normal(0.25));
  t.options.residual = t.options.statistics = true;
  t.options.activation = Activation::relu;
  t.inputs.push_back(make({DType::bf16, {2, 12, 14, 136}}, Fill::normal(0.5), 6));
  const OperationPtr operation = conv2d_with_plan(t.pass, t.options, t.size, plan_of(Conv2dTile::m256n128_strips));
  for (const Device device : wgmma_devices()) EXPECT_TRUE(meets_tolerance(*operation, t.inputs, run_on(device, *operation, t.inputs)));
}

TEST(Conv2dWgmma, EveryTile) {
  const std::vector<Conv2dCase> cases{{"3x3", 3, 11, 9, 40, 264, 2, 2, conv_options(1)}};  // 360 pixels, 264 columns: edges of every tile
  for (const Conv2dCase& one : cases)
    for (const Conv2dPass pass : kPasses) {
      const Trial t = trial(one, pass, DType::bf16, Fill::integers(-2, 2));
      const auto want = reference(t);
      for (const Conv2dTile tile : kTiles) expect_exact(t, plan_of(tile), want);
      if (pass == Conv2dPass::filter_gradient)  // the last of 7 parts of 64 pixels is empty
        expect_exact(t, plan_of(Conv2dTile::m128n256, 7), want);
    }
}

TEST(Conv2dWgmma, WithinTolerance) {
  for (const char* name : {"two chunks", "uneven"})
    for (const Conv2dCase& one : wgmma_cases())
      if (one.name == name)
        for (const Conv2dPass pass : kPasses)
          for (const DType dtype : {DType::bf16, DType::fp16}) {
            const Trial t = trial(one, pass, dtype, Fill::normal(0.25));
            const Conv2dProblem d = t.problem();
            const OperationPtr operation = conv2d_with_plan(pass, t.options, t.size, conv2d_wgmma_plan(pass, d, kProfile90));
            for (const Device device : wgmma_devices()) {
              SCOPED_TRACE(text(one.name, " ", operation->name(), " ", epitaxy::name(dtype), " on ", epitaxy::name(device)));
              EXPECT_TRUE(meets_tolerance(*operation, t.inputs, run_on(device, *operation, t.inputs)));
            }
          }
}

/// Bias, residual, ReLU and statistics together and apart; K with and without whole 16-byte units.
TEST(Conv2dWgmma, Epilogue) {
  for (const std::int64_t k : {64, 77, 136})
    for (const Conv2dTile tile : {Conv2dTile::m128n64, Conv2dTile::m256n128, Conv2dTile::m128n256})
      for (const int parts : {1, 2, 4, 15}) {  // bit 0: residual, 1: ReLU, 2: statistics, 3: bias
        if (parts != 15 && (tile != Conv2dTile::m128n64 || k == 136)) continue;
        const Conv2dCase one{"", 3, 11, 9, 32, k, 1, 1, {}};  // 297 pixels
        Trial t = trial(one, Conv2dPass::forward, parts % 2 ? DType::fp16 : DType::bf16, Fill::normal(0.25));
        t.options.residual = parts & 1;
        t.options.activation = parts & 2 ? Activation::relu : Activation::none;
        t.options.statistics = parts & 4;
        if (!(parts & 8)) t.inputs.pop_back();
        if (parts & 1) t.inputs.push_back(make({t.inputs[0].dtype(), {3, 11, 9, k}}, Fill::normal(0.5), 6));
        const OperationPtr operation = conv2d_with_plan(t.pass, t.options, t.size, plan_of(tile));
        for (const Device device : wgmma_devices()) {
          SCOPED_TRACE(text("K ", k, " tile ", static_cast<int>(tile), " parts ", parts, " on ", name(device)));
          EXPECT_TRUE(meets_tolerance(*operation, t.inputs, run_on(device, *operation, t.inputs)));
        }
      }
}

TEST(Conv2dWgmma, Tf32) {
  for (const char* name : {"3x3 stride 2", "two chunks", "rows periodic, more than one period", "two inputs"})
    for (const Conv2dCase& one : wgmma_cases())
      for (const Conv2dPass pass : {Conv2dPass::forward, Conv2dPass::input_gradient}) {
        if (one.name != name) continue;
        SCOPED_TRACE(name);
        const Trial exact = trial(one, pass, DType::fp32, Fill::integers(-3, 3));
        expect_exact(exact, conv2d_wgmma_plan(pass, exact.problem(), kProfile90), reference(exact));
        // Factors of one sign: rounded towards zero they would be too small together.
        const Trial t = trial(one, pass, DType::fp32, Fill::uniform(1, 2));
        const OperationPtr operation = conv2d_with_plan(pass, t.options, t.size, plan_of(Conv2dTile::m128n128));
        for (const Device device : wgmma_devices())
          EXPECT_TRUE(meets_tolerance(*operation, t.inputs, run_on(device, *operation, t.inputs)));
      }
}

/// NaN and infinity reach the pixels and channels that they should and no other: what fills tiles up must not spread them.
TEST(Conv2dWgmma, InfinityAndNaN) {
  const Conv2dCase one{"", 1, 5, 5, 40, 40, 3, 3, conv_options(1)};
  const Trial t = trial(one, Conv2dPass::forward, DType::bf16, Fill::integers(1, 3));
  t.inputs[0].as<BFloat16>()[7 * 40 + 39] = round<BFloat16>(std::numeric_limits<float>::quiet_NaN());
  t.inputs[0].as<BFloat16>()[20 * 40] = round<BFloat16>(std::numeric_limits<float>::infinity());
  t.inputs[1].as<BFloat16>()[39 * 360 + 4 * 40 + 39] = round<BFloat16>(-std::numeric_limits<float>::infinity());  // the middle tap
  const OperationPtr operation = conv2d_with_plan(t.pass, t.options, t.size, plan_of(Conv2dTile::m128n64));
  for (const Device device : wgmma_devices())
    EXPECT_TRUE(meets_tolerance(*operation, t.inputs, run_on(device, *operation, t.inputs), false, true));
}

#if EPITAXY_HAS_EMULATOR
/// Blocks that walk over several tiles: the ring of stages goes on from one to the next.
TEST(Conv2dWgmma, MoreTilesThanBlocks) {
  struct SmallDevice {
    SmallDevice() { set_emulated_profile(profile); }
    ~SmallDevice() { set_emulated_profile(kProfile90); }
    DeviceProfile profile = [] {
      DeviceProfile one = kProfile90;
      one.multiprocessors = 2;
      return one;
    }();
  } device;
  Conv2dOptions options = conv_options(1);
  options.stride = {2, 1};
  const Conv2dCase one{"", 2, 13, 23, 96, 136, 2, 3, options};
  for (const Conv2dPass pass : kPasses) {
    Trial t = trial(one, pass, DType::fp16, Fill::integers(-2, 2));
    const auto want = reference(t);
    for (const Conv2dTile tile : {Conv2dTile::m128n64, Conv2dTile::m256n64, Conv2dTile::m256n64_strips}) {
      if (!conv2d_wgmma_is_supported(pass, t.problem(), plan_of(tile))) continue;
      const OperationPtr operation = conv2d_with_plan(pass, t.options, t.size, plan_of(tile, pass == Conv2dPass::filter_gradient ? 2 : 1));
      EXPECT_TRUE(close(run_on({DeviceKind::emulated, 0}, *operation, t.inputs)[0], want[0], 0)) << operation->name();
    }
  }
  Trial t = trial({"", 3, 12, 11, 32, 72, 1, 1, {}}, Conv2dPass::forward, DType::bf16, Fill::normal(0.25));
  t.options.statistics = true;
  const OperationPtr operation = conv2d_with_plan(t.pass, t.options, t.size, plan_of(Conv2dTile::m128n64));
  EXPECT_TRUE(meets_tolerance(*operation, t.inputs, run_on({DeviceKind::emulated, 0}, *operation, t.inputs)));
}
#endif

/// What is refused goes to the other paths.
TEST(Conv2dWgmma, Supports) {
  const auto problem = [](const Conv2dCase& one, DType dtype = DType::bf16, bool tf32 = false) {
    Conv2dOptions options = one.options;
    options.tf32 = tf32;
    return conv2d_problem(Conv2dPass::forward, options, {1, 1}, std::vector<TensorSpec>{{dtype, one.x()}, {dtype, one.filter()}});
  };
  const auto counts = [&](const Conv2dProblem& d) {
    int passes = 0;
    for (const Conv2dPass pass : kPasses) passes += conv2d_wgmma_supports(pass, d) << static_cast<int>(pass);
    return passes;  // bit 0: forward, 1: input gradient, 2: filter gradient
  };
  EXPECT_EQ(counts(problem({"", 1, 8, 8, 64, 64, 3, 3, conv_options(1)})), 7);
  EXPECT_EQ(counts(problem({"", 1, 8, 8, 64, 65, 3, 3, conv_options(1)})), 1);  // K in whole units in the gradients only
  EXPECT_EQ(counts(problem({"", 1, 8, 8, 60, 64, 3, 3, conv_options(1)})), 0);  // C not in whole units
  EXPECT_EQ(counts(problem({"", 1, 8, 8, 24, 64, 3, 3, conv_options(1)})), 0);  // few channels
  EXPECT_EQ(counts(problem({"", 1, 8, 8, 64, 64, 3, 3, conv_options(1)}, DType::fp32)), 0);
  EXPECT_EQ(counts(problem({"", 1, 8, 8, 64, 64, 3, 3, conv_options(1)}, DType::fp32, true)), 3);
  EXPECT_EQ(counts(problem({"", 1, 8, 8, 64, 64, 3, 3, conv_options(1, 1, 1, PaddingMode::zeros, 2)})), 0);
  EXPECT_EQ(counts(problem({"", 1, 300, 300, 64, 64, 3, 3, conv_options(20, 1, 70)})), 7);
  EXPECT_EQ(counts(problem({"", 1, 300, 300, 64, 64, 3, 3, conv_options(10, 1, 70)})), 0);  // a corner of -130, past TMA's -128
  EXPECT_EQ(counts(problem({"", 1, 30, 30, 64, 64, 3, 3, conv_options(1, 3)})), 5);         // nine residues
}

TEST(Conv2dWgmma, Plans) {
  for (const std::int64_t batch : {1, 64, 256})
    for (const Conv2dCase& one : conv2d_layers(batch))
      for (const Conv2dPass pass : kPasses) {
        const Conv2dProblem d = conv2d_problem(Conv2dPass::forward, one.options, {1, 1},
                                               std::vector<TensorSpec>{{DType::bf16, one.x()}, {DType::bf16, one.filter()}});
        if (!conv2d_wgmma_supports(pass, d)) continue;
        SCOPED_TRACE(one.name);
        const Conv2dPlan plan = conv2d_wgmma_plan(pass, d, kProfile90);
        EXPECT_TRUE(conv2d_wgmma_is_supported(pass, d, plan));
        EXPECT_EQ(plan, conv2d_wgmma_plan(pass, d, kProfile90));
        if (one.name == "1x1 14 1024->256" && batch == 256 && pass == Conv2dPass::forward) {
          EXPECT_EQ(plan.tile, Conv2dTile::m128n256);
        }
        if (one.name == "3x3 56 64->64" && batch > 1 && pass != Conv2dPass::filter_gradient) {
          EXPECT_EQ(plan.tile, Conv2dTile::m256n64_strips);
        }
        if (one.name == "3x3 56 64->64" && pass == Conv2dPass::filter_gradient && batch == 256) {
          EXPECT_GT(plan.splits, 16);
        }
      }
}

}  // namespace
}  // namespace epitaxy::test
