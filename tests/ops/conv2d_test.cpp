// Convolution: hand-computed values, finite differences, every device and kernel against the reference, exact integers, refusals.
#include "tests/cases/conv2d.h"

#if EPITAXY_HAS_EMULATOR
#include "emulator/backend.h"
#endif
#include "kernels/conv2d_wgmma.h"
#include "ops/conv2d.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

const Context kReference{&cpu_backend(), {}, true};

struct Arithmetic {
  DType dtype;
  bool tf32;
};
constexpr std::array<Arithmetic, 4> kArithmetic{{{DType::fp32, false}, {DType::fp32, true}, {DType::bf16, false}, {DType::fp16, false}}};
std::string name_of(const Arithmetic& a) { return a.tf32 ? "tf32" : std::string(name(a.dtype)); }

/// A pass of a case with its inputs.
struct Trial {
  Conv2dPass pass;
  std::array<std::int64_t, 2> size;
  OperationPtr operation;
  std::vector<Tensor> inputs;
};

std::vector<Trial> trials(const Conv2dCase& one, const Arithmetic& arithmetic, Fill fill) {
  Conv2dOptions options = one.options;
  options.tf32 = arithmetic.tf32;
  std::vector<Tensor> images{make({arithmetic.dtype, one.x()}, fill, 1)};
  if (options.second_channels) images.push_back(make({arithmetic.dtype, one.x2()}, fill, 5));
  const Tensor filter = make({arithmetic.dtype, one.filter()}, fill, 2);
  Conv2dOptions plain = options;
  plain.residual = plain.statistics = false;
  std::vector<TensorSpec> specs;
  for (const Tensor& image : images) specs.push_back(image.spec());
  specs.push_back(filter.spec());
  const TensorSpec y = conv2d(plain)->outputs(specs)[0];
  const Tensor dy = make(y, fill, 4);
  std::vector<Tensor> forward = images, to_filter = images;
  forward.insert(forward.end(), {filter, make({DType::fp32, {one.k}}, fill, 3)});
  if (options.residual) forward.push_back(make(y, fill, 6));
  to_filter.push_back(dy);
  return {{Conv2dPass::forward, {1, 1}, conv2d(options), forward},
          {Conv2dPass::input_gradient, {one.h, one.w}, conv2d_input_gradient(options, one.h, one.w), {dy, filter}},
          {Conv2dPass::filter_gradient, {one.r, one.s}, conv2d_filter_gradient(options, one.r, one.s), to_filter}};
}

/// Exact sums: the same bits in every output but the statistics, whose fp32 sums may round.
void expect_exact(const std::vector<Tensor>& got, const std::vector<Tensor>& want, const Operation& operation, bool statistics) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const bool rounds = statistics && i == 1 && operation.name() == "conv2d";
    EXPECT_TRUE(close(got[i], want[i], rounds ? 1e-5 : 0, rounds ? 1e-5 : 0)) << "output " << i;
  }
}

std::vector<Conv2dCase> all_cases() {
  std::vector<Conv2dCase> cases = conv2d_cases();
  for (const auto& more : {conv2d_fused_cases(), conv2d_special_cases()}) cases.insert(cases.end(), more.begin(), more.end());
  return cases;
}

TEST(Conv2d, HandValues) {
  const Tensor x = values(DType::fp32, {1, 3, 3, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  const Tensor filter = values(DType::fp32, {1, 2, 2, 1}, {1, 2, 3, 4}), ones = values(DType::fp32, {1, 2, 2, 1}, {1, 1, 1, 1});
  EXPECT_TRUE(close(run(*conv2d({}), {x, filter}, kReference)[0], values(DType::fp32, {1, 2, 2, 1}, {37, 47, 67, 77}), 0));
  EXPECT_TRUE(close(run(*conv2d_input_gradient({}, 3, 3), {ones, filter}, kReference)[0],
                    values(DType::fp32, {1, 3, 3, 1}, {1, 3, 2, 4, 10, 6, 3, 7, 4}), 0));
  EXPECT_TRUE(
      close(run(*conv2d_filter_gradient({}, 2, 2), {x, ones}, kReference)[0], values(DType::fp32, {1, 2, 2, 1}, {12, 16, 24, 28}), 0));
  Conv2dOptions epilogue;
  epilogue.activation = Activation::relu;
  EXPECT_TRUE(close(run(*conv2d(epilogue), {x, filter, values(DType::fp32, {1}, {-60})}, kReference)[0],
                    values(DType::fp32, {1, 2, 2, 1}, {0, 0, 7, 17}), 0));
}

TEST(Conv2d, HandValuesOfOptions) {
  const Tensor row = values(DType::fp32, {1, 1, 3, 1}, {1, 2, 3}), filter = values(DType::fp32, {1, 1, 2, 1}, {1, 10});
  Conv2dOptions left;  // ... 3 1 2 3 | 1 2 3
  left.padding = {0, 0, 4, 0};
  EXPECT_TRUE(close(run(*conv2d(left), {row, filter}, kReference)[0], values(DType::fp32, {1, 1, 6, 1}, {0, 0, 0, 10, 21, 32}), 0));
  left.padding_mode = {PaddingMode::zeros, PaddingMode::periodic};
  EXPECT_TRUE(close(run(*conv2d(left), {row, filter}, kReference)[0], values(DType::fp32, {1, 1, 6, 1}, {13, 21, 32, 13, 21, 32}), 0));
  EXPECT_TRUE(close(run(*conv2d_input_gradient(left, 1, 3), {values(DType::fp32, {1, 1, 6, 1}, {1, 2, 3, 4, 5, 6}), filter}, kReference)[0],
                    values(DType::fp32, {1, 1, 3, 1}, {1 * 10 + 2 + 4 * 10 + 5, 2 * 10 + 3 + 5 * 10 + 6, 1 + 3 * 10 + 4 + 6 * 10}), 0));
  Conv2dOptions spread;
  spread.stride = {1, 2}, spread.dilation = {1, 2};
  const Tensor wide = values(DType::fp32, {1, 1, 5, 1}, {1, 2, 3, 4, 5});
  EXPECT_TRUE(close(run(*conv2d(spread), {wide, filter}, kReference)[0], values(DType::fp32, {1, 1, 2, 1}, {31, 53}), 0));
  Conv2dOptions groups;
  groups.groups = 2;
  EXPECT_TRUE(
      close(run(*conv2d(groups), {values(DType::fp32, {1, 1, 1, 4}, {1, 2, 3, 4}), values(DType::fp32, {2, 1, 1, 2}, {1, 10, 100, 1000})},
                kReference)[0],
            values(DType::fp32, {1, 1, 1, 2}, {21, 4300}), 0));
}

TEST(Conv2d, HandValuesOfTheEpilogue) {
  Conv2dOptions options;
  options.activation = Activation::relu;
  options.residual = options.statistics = true;
  const Tensor x = values(DType::fp32, {1, 1, 4, 1}, {1, 2, 3, 4}), filter = values(DType::fp32, {2, 1, 1, 1}, {1, -1});
  const Tensor bias = values(DType::fp32, {2}, {0.5, 2.5});
  const Tensor residual = values(DType::fp32, {1, 1, 4, 2}, {0, 0, 1, 1, -9, 0, 0, 2});
  const auto got = run(*conv2d(options), {x, filter, bias, residual}, kReference);
  EXPECT_TRUE(close(got[0], values(DType::fp32, {1, 1, 4, 2}, {1.5, 1.5, 3.5, 1.5, 0, 0, 4.5, 0.5}), 0));
  // means 2.375, 0.875; squared deviations about them
  EXPECT_TRUE(close(got[1], values(DType::fp32, {1, 2, 2}, {2.375, 0.875, 12.1875, 1.6875}), 0));
  options.activation = Activation::none;
  options.statistics = false;
  EXPECT_TRUE(close(run(*conv2d(options), {x, filter, residual}, kReference)[0],
                    values(DType::fp32, {1, 1, 4, 2}, {1, -1, 3, -1, -6, -3, 4, -2}), 0));
}

TEST(Conv2d, StatisticsAreOf128Pixels) {
  Conv2dOptions options;
  options.statistics = true;
  const Tensor x = make({DType::bf16, {2, 13, 5, 1}}, Fill::normal(3, 1), 1), filter = values(DType::bf16, {1, 1, 1, 1}, {1});
  const auto got = run(*conv2d(options), {x, filter}, kReference);
  const auto y = numbers(got[0]), partials = numbers(got[1]);
  ASSERT_EQ(got[1].shape(), (Shape{2, 2, 1}));  // 130 pixels: 128 and 2
  const double mean = (y[128] + y[129]) / 2, deviation = (y[128] - y[129]) / 2;
  EXPECT_NEAR(partials[2], mean, 1e-6);
  EXPECT_NEAR(partials[3], 2 * deviation * deviation, 1e-6);
}

TEST(Conv2d, TwoInputsAreOneConcatenation) {
  const Tensor x = make({DType::fp32, {2, 5, 4, 3}}, Fill::integers(-3, 3), 1),
               x2 = make({DType::fp32, {2, 5, 4, 2}}, Fill::integers(-3, 3), 2);
  const Tensor filter = make({DType::fp32, {4, 3, 3, 5}}, Fill::integers(-3, 3), 3);
  Tensor both(cpu_backend(), {DType::fp32, {2, 5, 4, 5}});
  for (std::int64_t pixel = 0; pixel < 40; ++pixel)
    for (std::int64_t c = 0; c < 5; ++c)
      both.as<float>()[pixel * 5 + c] = c < 3 ? x.as<float>()[pixel * 3 + c] : x2.as<float>()[pixel * 2 + c - 3];
  const Conv2dOptions one = conv_options(1);
  Conv2dOptions two = one;
  two.second_channels = 2;
  const Tensor y = run(*conv2d(one), {both, filter}, kReference)[0];
  EXPECT_TRUE(same(run(*conv2d(two), {x, x2, filter}, kReference)[0], y));
  const auto parts = run(*conv2d_input_gradient(two, 5, 4), {y, filter}, kReference);
  const auto dx = numbers(run(*conv2d_input_gradient(one, 5, 4), {y, filter}, kReference)[0]), first = numbers(parts[0]),
             second = numbers(parts[1]);
  for (std::size_t pixel = 0; pixel < 40; ++pixel)
    for (std::size_t c = 0; c < 5; ++c) EXPECT_EQ(dx[pixel * 5 + c], c < 3 ? first[pixel * 3 + c] : second[pixel * 2 + c - 3]);
  EXPECT_TRUE(same(run(*conv2d_filter_gradient(two, 3, 3), {x, x2, y}, kReference)[0],
                   run(*conv2d_filter_gradient(one, 3, 3), {both, y}, kReference)[0]));
}

TEST(Conv2d, GradientOfTwoInputsAndResidual) {
  Conv2dOptions options = conv_options(1, 1, 1, PaddingMode::periodic);
  options.second_channels = 2;
  options.residual = options.statistics = true;
  options.activation = Activation::relu;
  const Tensor x = make({DType::fp32, {1, 4, 3, 1}}, Fill::uniform(-1, 1), 1),
               x2 = make({DType::fp32, {1, 4, 3, 2}}, Fill::uniform(-1, 1), 2);
  const Tensor filter = make({DType::fp32, {3, 3, 3, 3}}, Fill::uniform(-0.5, 0.5), 3), bias = values(DType::fp32, {3}, {60, -60, 60});
  const Tensor residual = make({DType::fp32, {1, 4, 3, 3}}, Fill::uniform(-1, 1), 4);
  check_gradient(conv2d(options), {x, x2, filter, bias, residual}, {0, 1, 2, 3, 4}, 0, 0.25);
  options.activation = Activation::none;
  check_gradient(conv2d(options), {x, x2, filter, residual}, {1, 3}, 0, 0.25);
}

TEST(Conv2d, ReferenceRoundsToTf32) {
  Conv2dOptions options;
  options.tf32 = true;  // 1 + 2^-11 is halfway and rounds away from zero
  const Tensor x = values(DType::fp32, {1, 1, 1, 1}, {1 + 0x1p-11}), one = values(DType::fp32, {1, 1, 1, 1}, {1});
  EXPECT_TRUE(close(run(*conv2d(options), {x, one}, kReference)[0], values(DType::fp32, {1, 1, 1, 1}, {1 + 0x1p-10}), 0));
}

TEST(Conv2d, Gradient) {
  for (const Conv2dCase& one : conv2d_cases()) {
    if (one.n * one.h * one.w * one.c * one.k > 10000) continue;  // differences take two runs an element
    SCOPED_TRACE(one.name);
    Conv2dOptions options = one.options;
    std::vector<double> bias;  // far from the kink of relu on either side
    for (std::int64_t k = 0; k < one.k; ++k) bias.push_back(k % 3 == 2 ? -60 : 60);
    options.activation = Activation::relu;
    const Tensor x = make({DType::fp32, one.x()}, Fill::uniform(-1, 1), 1),
                 filter = make({DType::fp32, one.filter()}, Fill::uniform(-0.5, 0.5), 2);
    check_gradient(conv2d(options), {x, filter, values(DType::fp32, {one.k}, bias)}, {0, 1, 2}, 0, 0.25);
  }
}

TEST(Conv2d, Devices) {
  for (const Conv2dCase& one : all_cases())
    for (const Arithmetic& arithmetic : kArithmetic)
      for (const Trial& trial : trials(one, arithmetic, Fill::normal(0.25))) {
        SCOPED_TRACE(text(one.name, " ", name_of(arithmetic)));
        check_devices(*trial.operation, trial.inputs);
      }
}

TEST(Conv2d, Epilogue) {
  for (const Conv2dCase& one : conv2d_cases()) {
    if (one.name != "3x3" && one.name != "odd channels 5x5" && one.name != "2 groups") continue;
    for (const Arithmetic& arithmetic : kArithmetic) {
      SCOPED_TRACE(text(one.name, " ", name_of(arithmetic)));
      std::vector<Tensor> inputs = trials(one, arithmetic, Fill::normal())[0].inputs;
      Conv2dOptions options = one.options;
      options.tf32 = arithmetic.tf32;
      options.activation = Activation::relu;
      check_devices(*conv2d(options), inputs);
      inputs.pop_back();  // without bias
      check_devices(*conv2d(options), inputs);
    }
  }
}

/// Sums of small integers are exact in every order: whatever the kernel, the bits are the reference's.
TEST(Conv2d, IntegersAreExact) {
  for (const Conv2dCase& one : all_cases())
    for (const Arithmetic& arithmetic : kArithmetic)
      for (const Trial& trial : trials(one, arithmetic, Fill::integers(-3, 3)))
        for (const Device device : devices()) {
          SCOPED_TRACE(text(one.name, " ", name_of(arithmetic), " ", trial.operation->name(), " on ", name(device)));
          if (!why_absent(device).empty()) continue;  // counted by the case above
          expect_exact(run_on(device, *trial.operation, trial.inputs), run(*trial.operation, trial.inputs, kReference), *trial.operation,
                       one.options.statistics);
        }
}

/// The emulated GPU with the least shared memory, while it lives.
struct SmallSharedMemory {
#if EPITAXY_HAS_EMULATOR
  SmallSharedMemory() { set_emulated_profile(kProfile120); }
  ~SmallSharedMemory() { set_emulated_profile(kProfile90); }
#endif
};

/// All plans, chosen or not, that have a kernel; in 99 KB of shared memory.
TEST(Conv2d, EveryPlan) {
  [[maybe_unused]] const SmallSharedMemory emulated;
  Conv2dOptions all;  // everything an epilogue can do, over two inputs
  all.residual = all.statistics = true, all.second_channels = 8, all.activation = Activation::relu;
  const std::vector<Conv2dCase> cases{
      {"tiles", 1, 12, 12, 72, 136, 1, 1, {}},  // 144 pixels: edges of every tile in every pass
      {"3x3 stride 2 periodic", 1, 7, 6, 8, 16, 3, 3, conv_options(1, 2, 1, PaddingMode::periodic)},
      {"3x3 odd channels", 2, 7, 6, 5, 7, 3, 3, conv_options(1)},
      {"long reduction", 2, 5, 5, 64, 16, 3, 3, conv_options(1)},
      {"epilogue", 1, 12, 12, 24, 136, 1, 1, all},
      {"first layer", 1, 12, 12, 1, 72, 3, 3, conv_options(1, 1, 1, PaddingMode::periodic)},
      {"depthwise", 1, 12, 12, 8, 8, 3, 3, conv_options(1, 1, 1, PaddingMode::zeros, 8)},
  };
  int plans = 0;
  for (const Conv2dCase& one : cases)
    for (const Arithmetic& arithmetic : kArithmetic)
      for (const Trial& trial : trials(one, arithmetic, Fill::integers(-3, 3))) {
        const auto want = run(*trial.operation, trial.inputs, kReference);
        for (const auto path : {Conv2dPath::simt, Conv2dPath::mma, Conv2dPath::first, Conv2dPath::depthwise})
          for (const auto tile : {Conv2dTile::m128n128, Conv2dTile::m128n64, Conv2dTile::m64n64})
            for (const bool vector : {false, true})
              for (const int splits : {1, 3}) {
                const Conv2dPlan plan{path, tile, vector, splits};
                Conv2dOptions options = one.options;
                options.tf32 = arithmetic.tf32;
                std::vector<TensorSpec> specs;
                for (const Tensor& input : trial.inputs) specs.push_back(input.spec());
                if (!is_supported(trial.pass, conv2d_problem(trial.pass, options, trial.size, specs), plan)) continue;
                ++plans;
                const OperationPtr operation = conv2d_with_plan(trial.pass, options, trial.size, plan);
                for (const Device device : devices()) {
                  if (device.kind == DeviceKind::cpu) continue;
                  SCOPED_TRACE(text(one.name, " ", name_of(arithmetic), " ", operation->name(), " on ", name(device), ": path ",
                                    static_cast<int>(path), " tile ", static_cast<int>(tile), " vector ", vector, " splits ", splits));
                  if (const std::string why = why_absent(device); !why.empty()) {
                    skip_device(device, why);
                    continue;
                  }
                  expect_exact(run_on(device, *operation, trial.inputs), want, *operation, one.options.statistics);
                }
              }
      }
  EXPECT_GT(plans, 100);
}

/// The statistics are those of what was stored, and a large mean costs them no digits.
TEST(Conv2d, StatisticsOfTheStoredOutput) {
  Conv2dOptions options;
  options.statistics = true;
  for (const DType dtype : {DType::fp32, DType::bf16})
    for (const Device device : devices()) {
      if (!why_absent(device).empty()) continue;  // counted by the cases above
      for (const auto tile : {Conv2dTile::m64n64, Conv2dTile::m128n64}) {
        SCOPED_TRACE(text(name(dtype), " on ", name(device), " tile ", static_cast<int>(tile)));
        const Tensor x = make({dtype, {1, 15, 9, 16}}, Fill::normal(), 1), filter = make({dtype, {16, 1, 1, 16}}, Fill::normal(0, 0.25), 2);
        const Tensor bias = make({DType::fp32, {16}}, Fill::constant(1000), 3);
        const Conv2dPlan plan{dtype == DType::fp32 ? Conv2dPath::simt : Conv2dPath::mma, tile, true, 1};
        const auto got = run_on(device, *conv2d_with_plan(Conv2dPass::forward, options, {1, 1}, plan), {x, filter, bias});
        const auto y = numbers(got[0]), partials = numbers(got[1]);
        for (std::size_t t = 0; t < 2; ++t)
          for (std::size_t k = 0; k < 16; ++k) {
            const std::size_t begin = 128 * t, end = t == 0 ? 128 : 135;
            double mean = 0, squares = 0;
            for (std::size_t p = begin; p < end; ++p) mean += y[p * 16 + k] / static_cast<double>(end - begin);
            for (std::size_t p = begin; p < end; ++p) squares += (y[p * 16 + k] - mean) * (y[p * 16 + k] - mean);
            EXPECT_NEAR(partials[32 * t + k], mean, 4e-4);
            EXPECT_NEAR(partials[32 * t + 16 + k], squares, 1e-4 * squares + 1e-4);
          }
      }
    }
}

TEST(Conv2d, InfinityAndNaN) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor x = values(DType::fp32, {1, 1, 4, 1}, {inf, -inf, nan, 2}), filter = values(DType::fp32, {2, 1, 1, 1}, {1, -1});
  check_devices(*conv2d({}), {x, filter}, false, true);
}

TEST(Conv2d, PlansForEveryCase) {
  for (const DeviceProfile& profile : {kProfile80, kProfile90, kProfile120})
    for (const auto& list : {all_cases(), conv2d_layers(64)})
      for (const Conv2dCase& one : list)
        for (const Arithmetic& arithmetic : kArithmetic) {
          SCOPED_TRACE(one.name);
          Conv2dOptions options = one.options;
          options.tf32 = arithmetic.tf32;
          options.residual = options.statistics = false;
          std::vector<TensorSpec> specs{{arithmetic.dtype, one.x()}, {arithmetic.dtype, one.filter()}};
          if (options.second_channels) specs.insert(specs.begin() + 1, {arithmetic.dtype, one.x2()});
          const Conv2dProblem problem = conv2d_problem(Conv2dPass::forward, options, {1, 1}, specs);
          for (const auto pass : {Conv2dPass::forward, Conv2dPass::input_gradient, Conv2dPass::filter_gradient}) {
            const Conv2dPlan plan = choose(pass, problem, profile);
            EXPECT_TRUE(is_supported(pass, problem, plan));
            const bool few = problem.c <= 3 && problem.groups == 1, depthwise = problem.groups > 1 && problem.groups == problem.c;
            const auto usual = arithmetic.dtype == DType::fp32 && !arithmetic.tf32             ? Conv2dPath::simt
                               : profile.compute == 90 && conv2d_wgmma_supports(pass, problem) ? Conv2dPath::wgmma
                                                                                               : Conv2dPath::mma;
            const bool first = few && pass == Conv2dPass::forward && !problem.second;
            if (problem.c > 4 || first) {
              EXPECT_EQ(plan.path, depthwise && problem.k == problem.c ? Conv2dPath::depthwise : first ? Conv2dPath::first : usual);
            }
            const auto offered = candidates(pass, problem, profile);
            ASSERT_FALSE(offered.empty());
            EXPECT_EQ(offered[0], plan);
            for (std::size_t i = 0; i < offered.size(); ++i) {
              EXPECT_TRUE(is_supported(pass, problem, offered[i]));
              EXPECT_EQ(std::count(offered.begin(), offered.end(), offered[i]), 1);
            }
            EXPECT_EQ(plan, choose(pass, problem, profile));
            const bool transposes = plan.path == Conv2dPath::wgmma && pass == Conv2dPass::input_gradient && problem.tf32;
            EXPECT_EQ(conv2d_workspace_bytes(pass, problem, plan) > 0, plan.splits > 1 || transposes);
          }
        }
}

TEST(Conv2d, ChoosesLargeTilesAndSplits) {
  const std::vector<TensorSpec> specs{{DType::bf16, {64, 56, 56, 64}}, {DType::bf16, {64, 3, 3, 64}}};
  const Conv2dProblem problem = conv2d_problem(Conv2dPass::forward, conv_options(1), {1, 1}, specs);
  EXPECT_EQ(choose(Conv2dPass::forward, problem, kProfile90).path, Conv2dPath::wgmma);
  DeviceProfile ampere = kProfile90;
  ampere.compute = 80;
  EXPECT_EQ(choose(Conv2dPass::forward, problem, ampere), (Conv2dPlan{Conv2dPath::mma, Conv2dTile::m128n64, true, 1}));
  const Conv2dPlan plan = choose(Conv2dPass::filter_gradient, problem, ampere);
  EXPECT_EQ(plan, (Conv2dPlan{Conv2dPath::mma, Conv2dTile::m64n64, true, 30}));  // 9 tiles x 30 blocks on 132 multiprocessors
  EXPECT_EQ(conv2d_workspace_bytes(Conv2dPass::filter_gradient, problem, plan), 30u * 64 * 576 * 4);
}

/// A 7x7 image of 512 channels: the largest tile where the batch fills the GPU, the smallest where it does not.
TEST(Conv2d, TilesFollowTheGrid) {
  const auto tile = [](std::int64_t batch, const DeviceProfile& profile) {
    const std::vector<TensorSpec> specs{{DType::bf16, {batch, 7, 7, 512}}, {DType::bf16, {512, 3, 3, 512}}};
    return choose(Conv2dPass::forward, conv2d_problem(Conv2dPass::forward, conv_options(1), {1, 1}, specs), profile).tile;
  };
  for (const DeviceProfile& profile : {kProfile80, kProfile120}) {
    EXPECT_EQ(tile(64, profile), Conv2dTile::m128n128);
    EXPECT_EQ(tile(8, profile), Conv2dTile::m64n64);
  }
}

TEST(Conv2d, ChoosesKernelsOfItsOwnForTheFirstLayer) {
  const std::vector<TensorSpec> specs{{DType::bf16, {64, 224, 224, 1}}, {DType::bf16, {64, 7, 7, 1}}};
  const Conv2dProblem problem = conv2d_problem(Conv2dPass::forward, conv_options(3, 2), {1, 1}, specs);
  EXPECT_EQ(choose(Conv2dPass::forward, problem, kProfile90), (Conv2dPlan{Conv2dPath::first, Conv2dTile::m64n64, false, 1}));
  EXPECT_EQ(choose(Conv2dPass::filter_gradient, problem, kProfile90), (Conv2dPlan{Conv2dPath::first, Conv2dTile::m64n64, false, 528}));
  EXPECT_EQ(choose(Conv2dPass::input_gradient, problem, kProfile90).path, Conv2dPath::mma);
}

std::string refusal(const Conv2dOptions& options, Shape x, Shape filter, std::vector<TensorSpec> more = {}) {
  try {
    std::vector<TensorSpec> specs{{DType::fp32, x}, {DType::fp32, filter}};
    specs.insert(specs.end(), more.begin(), more.end());
    conv2d(options)->outputs(specs);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::usage);
    return error.what();
  }
  return "accepted";
}

TEST(Conv2d, RefusesBadArguments) {
  const auto has = [](const std::string& message, std::string_view part) {
    EXPECT_NE(message.find("conv2d"), std::string::npos) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  has(refusal({}, {1, 4, 4, 2}, {3, 3, 3, 3}), "reads 3 channels, x has 2");
  has(refusal(conv_options(0, 1, 3), {1, 4, 4, 2}, {3, 3, 3, 2}), "covers 7 pixels, more than the padded image's 4");
  has(refusal(conv_options(0, 0), {1, 4, 4, 2}, {3, 3, 3, 2}), "stride must lie in");
  has(refusal(conv_options(0, 1, 0), {1, 4, 4, 2}, {3, 3, 3, 2}), "dilation must lie in");
  has(refusal(conv_options(-1), {1, 4, 4, 2}, {3, 3, 3, 2}), "padding must lie in");
  has(refusal(conv_options(0, 1, 1, PaddingMode::zeros, 2), {1, 4, 4, 2}, {3, 3, 3, 1}), "2 groups must divide");
  has(refusal({}, {4, 4, 2}, {3, 3, 3, 2}), "4 dimensions");
  has(refusal({}, {1, 4, 0, 2}, {3, 3, 3, 2}), "empty");
  has(refusal({}, {1, 4, 4, 2}, {3, 3, 3, 2}, {{DType::fp32, {2}}}), "bias is fp32 [2], expected fp32 [3]");
  Conv2dOptions sigmoid;
  sigmoid.activation = Activation::sigmoid;
  has(refusal(sigmoid, {1, 4, 4, 2}, {3, 3, 3, 2}), "relu or none, not sigmoid");
  Conv2dOptions two;
  two.second_channels = 3;
  has(refusal(two, {1, 4, 4, 2}, {1, 4, 4, 3}, {{DType::fp32, {3, 3, 3, 4}}}),
      "filter fp32 [3, 3, 3, 4] with 1 groups reads 4 channels, x has 5");
  has(refusal(two, {1, 4, 4, 2}, {1, 4, 4, 2}, {{DType::fp32, {3, 3, 3, 4}}}), "x2 is fp32 [1, 4, 4, 2], expected fp32 [1, 4, 4, 3]");
  has(refusal(two, {1, 4, 4, 2}, {3, 3, 3, 5}), "takes 3 to 4 inputs");
  two.groups = 2;
  has(refusal(two, {1, 4, 4, 2}, {1, 4, 4, 3}, {{DType::fp32, {3, 3, 3, 5}}}), "one group, not 2");
  Conv2dOptions sum;
  sum.residual = true;
  has(refusal(sum, {1, 4, 4, 2}, {3, 3, 3, 2}, {{DType::fp32, {1, 2, 2, 4}}}),
      "the residual is fp32 [1, 2, 2, 4], expected fp32 [1, 2, 2, 3]");
  EXPECT_THROW(conv2d({})->outputs(std::vector<TensorSpec>{{DType::bf16, {1, 4, 4, 2}}, {DType::fp32, {3, 3, 3, 2}}}), Error);
  EXPECT_THROW(conv2d_input_gradient({}, 5, 4)->outputs(std::vector<TensorSpec>{{DType::fp32, {1, 2, 2, 3}}, {DType::fp32, {3, 3, 3, 2}}}),
               Error);
  EXPECT_THROW(conv2d_filter_gradient({}, 2, 3)->outputs(std::vector<TensorSpec>{{DType::fp32, {1, 4, 4, 2}}, {DType::fp32, {1, 2, 2, 3}}}),
               Error);
}

TEST(Conv2d, RefusesWhatAGpuCannotIndex) {
  Conv2dProblem problem = conv2d_problem(Conv2dPass::forward, {}, {1, 1},
                                         std::vector<TensorSpec>{{DType::bf16, {1, 512, 512, 1}}, {DType::bf16, {1, 1, 1, 1}}});
  problem.n = 1 << 14;
  EXPECT_THROW(choose(Conv2dPass::forward, problem, kProfile90), Error);
}

TEST(Conv2d, CountsItsWork) {
  const std::vector<TensorSpec> specs{{DType::fp32, {2, 6, 5, 8}}, {DType::fp32, {16, 3, 3, 4}}};
  EXPECT_EQ(conv2d(conv_options(1, 1, 1, PaddingMode::zeros, 2))->cost(specs).flops, 2.0 * 2 * 6 * 5 * 16 * 9 * 4);
}

}  // namespace
}  // namespace epitaxy::test
