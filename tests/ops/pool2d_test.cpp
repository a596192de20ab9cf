// Pooling: hand-computed values, finite differences, every device against the reference, forward and backward.
#include "epitaxy/ops/pool2d.h"

#include <limits>

#include "kernels/pool2d.h"
#include "tests/cases/pool2d.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();
constexpr std::array<DType, 3> kTypes{DType::fp32, DType::bf16, DType::fp16};

Tensor fp32(Shape shape, std::initializer_list<double> numbers) { return values(DType::fp32, shape, numbers); }

TEST(MaxPool2d, HandValues) {
  const Tensor x = fp32({1, 3, 4, 1}, {1, 5, 2, 2, /**/ 3, 4, 2, 1, /**/ 9, 9, 9, 9});
  const auto got = run_on({}, *max_pool2d({}), {x}, true);
  EXPECT_TRUE(same(got[0], fp32({1, 1, 2, 1}, {5, 2})));
  EXPECT_TRUE(same(got[1], values(DType::uint8, {1, 1, 2, 1}, {1, 0})));  // the first of the equal 2s
  const auto dx = run_on({}, *max_pool2d_gradient({}, 3, 4), {fp32({1, 1, 2, 1}, {10, 20}), got[1]}, true)[0];
  EXPECT_TRUE(same(dx, fp32({1, 3, 4, 1}, {0, 10, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0})));
}

TEST(MaxPool2d, PaddingIsNeverChosen) {
  const Tensor x = make({DType::fp32, {1, 3, 3, 4}}, Fill::uniform(-5, -1), 1);
  for (const Device device : devices()) {
    if (!why_absent(device).empty()) continue;
    for (const double v : numbers(run_on(device, *max_pool2d({{3, 3}, {1, 1}, {2, 2, 2, 2}}), {x})[0])) EXPECT_LT(v, 0) << name(device);
  }
}

TEST(MaxPool2d, NanWinsAndInfinitiesCount) {
  for (const DType dtype : kTypes)
    for (const std::int64_t channels : {1, 8}) {
      Tensor x = make({DType::fp32, {1, 4, 4, channels}}, Fill::normal(), 1);
      const auto set = [&](int h, int w, double v) { x.as<float>()[(h * 4 + w) * channels] = static_cast<float>(v); };
      set(0, 1, kNan), set(1, 0, kInf);                          // window 0: NaN beats infinity
      set(0, 2, kNan), set(0, 3, kNan);                          // window 1: the first NaN
      for (int i = 0; i < 4; ++i) set(2 + i / 2, i % 2, -kInf);  // window 2: the first of four
      set(3, 3, kNan);                                           // window 3: a NaN in the last tap
      const auto converted = values(dtype, x.shape(), numbers(x));
      check_devices(*max_pool2d({}), {converted}, false, true);
      for (const Device device : devices()) {
        if (!why_absent(device).empty()) continue;
        const auto index = numbers(run_on(device, *max_pool2d({}), {converted})[1]);
        const auto at = [&](int window) { return index[static_cast<std::size_t>(window * channels)]; };
        EXPECT_EQ(at(0), 1) << name(device);
        EXPECT_EQ(at(1), 0) << name(device);
        EXPECT_EQ(at(2), 0) << name(device);
        EXPECT_EQ(at(3), 3) << name(device);
      }
    }
}

TEST(MaxPool2d, Devices) {
  for (const DType dtype : kTypes)
    for (const PoolCase& one : kPoolCases)
      for (const Fill fill : {Fill::normal(), Fill::integers(-1, 1)}) {  // with many equal values
        SCOPED_TRACE(text(name(dtype), " ", one.x, " ", max_pool2d(one.options)->details()));
        const Tensor x = make({dtype, one.x}, fill, 1);
        check_devices(*max_pool2d(one.options), {x}, true);
        const auto y = run_on({}, *max_pool2d(one.options), {x}, true);
        for (const Device device : devices()) {  // a choice, not a sum: the same bits
          if (!why_absent(device).empty()) continue;
          EXPECT_TRUE(same(run_on(device, *max_pool2d(one.options), {x})[0], y[0])) << name(device);
        }
        check_devices(*max_pool2d_gradient(one.options, one.x[1], one.x[2]), {make({dtype, y[0].shape()}, Fill::normal(), 2), y[1]});
      }
}

TEST(AveragePool2d, HandValues) {
  const Tensor x = fp32({1, 2, 2, 1}, {1, 2, 3, 6});
  const Pool2dOptions padded{{2, 2}, {2, 2}, {1, 0, 1, 0}};  // one window of the corner pixel; the last row and column are left over
  EXPECT_TRUE(same(run_on({}, *average_pool2d({}), {x}, true)[0], fp32({1, 1, 1, 1}, {3})));
  EXPECT_TRUE(same(run_on({}, *average_pool2d(padded), {x}, true)[0], fp32({1, 1, 1, 1}, {0.25})));
  EXPECT_TRUE(same(run_on({}, *average_pool2d(padded, true), {x}, true)[0], fp32({1, 1, 1, 1}, {1})));
  EXPECT_TRUE(same(run_on({}, *average_pool2d_gradient({}, 2, 2), {fp32({1, 1, 1, 1}, {8})}, true)[0], fp32({1, 2, 2, 1}, {2, 2, 2, 2})));
}

TEST(AveragePool2d, Devices) {
  for (const DType dtype : kTypes)
    for (const PoolCase& one : kPoolCases)
      for (const bool exclude : {false, true}) {
        SCOPED_TRACE(text(name(dtype), " ", one.x, " ", average_pool2d(one.options)->details(), exclude ? " exclude padding" : ""));
        const Tensor x = make({dtype, one.x}, Fill::normal(), 1);
        const auto operation = average_pool2d(one.options, exclude);
        check_devices(*operation, {x});
        const Tensor dy = make({dtype, operation->outputs(std::vector<TensorSpec>{x.spec()})[0].shape}, Fill::normal(), 2);
        check_devices(*average_pool2d_gradient(one.options, one.x[1], one.x[2], exclude), {dy});
      }
}

TEST(Pool2d, Gradients) {
  for (const PoolCase& one : {kPoolCases[1], kPoolCases[2], kPoolCases[4], kPoolCases[5]}) {
    Tensor x(cpu_backend(), {DType::fp32, one.x});  // distinct values far apart, so that a step changes no maximum
    std::vector<int> order(static_cast<std::size_t>(x.count()));
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
    Random(1, RandomPurpose::test).shuffle(order);
    for (std::size_t i = 0; i < order.size(); ++i) x.as<float>()[i] = 0.1f * static_cast<float>(order[i]);
    check_gradient(max_pool2d(one.options), {x}, {0});
    check_gradient(average_pool2d(one.options), {x}, {0}, 0, 0.25);
    check_gradient(average_pool2d(one.options, true), {x}, {0}, 0, 0.25);
  }
  check_gradient(global_average_pool(), {make({DType::fp32, {2, 3, 2, 3}}, Fill::normal(), 1)}, {0});
}

TEST(GlobalAveragePool, HandValues) {
  const Tensor x = fp32({1, 2, 1, 2}, {1, 10, 3, 30});
  EXPECT_TRUE(same(run_on({}, *global_average_pool(), {x}, true)[0], fp32({1, 2}, {2, 20})));
}

TEST(GlobalAveragePool, Devices) {
  for (const DType dtype : kTypes)
    for (const Shape& shape :
         {Shape{1, 1, 1, 1}, Shape{3, 4, 5, 8}, Shape{2, 7, 7, 3}, Shape{2, 1, 9, 70}, Shape{1, 3, 3, 300}, Shape{2, 20, 20, 64}}) {
      SCOPED_TRACE(text(name(dtype), " ", shape));
      check_devices(*global_average_pool(), {make({dtype, shape}, Fill::normal(0.5, 1), 1)});
      check_devices(*global_average_pool_gradient(shape[1], shape[2]), {make({dtype, {shape[0], shape[3]}}, Fill::normal(), 2)});
    }
}

#if EPITAXY_HAS_EMULATOR
/// Images split over several launches give the bits of one launch.
TEST(Pool2d, SplitLaunches) {
  const PoolCase& one = kPoolCases[2];
  const Tensor x = make({DType::bf16, {5, one.x[1], one.x[2], one.x[3]}}, Fill::normal(), 1);
  const auto forward = max_pool2d(one.options);
  const auto want = run_on({DeviceKind::emulated, 0}, *forward, {x});
  const Tensor dy = make(want[0].spec(), Fill::normal(), 2);
  const Tensor want_dx = run_on({DeviceKind::emulated, 0}, *max_pool2d_gradient(one.options, one.x[1], one.x[2]), {dy, want[1]})[0];
  const Context context = make_context({DeviceKind::emulated, 0});
  DeviceBackend& device = *context.backend;
  const Tensor on = copy_to(device, x, cpu_backend()), dy_on = copy_to(device, dy, cpu_backend());
  const Tensor y(device, want[0].spec()), index(device, want[1].spec()), dx(device, x.spec());
  const Shape& s = want[0].shape();
  Pool2dArgs args{on.data(),   y.data(), index.as<std::uint8_t>(), {5, one.x[1], one.x[2], one.x[3], s[1], s[2], 3, 3, 2, 2, 1, 1},
                  DType::bf16, false};
  args.items_per_launch = 2 * s[1] * s[2] * s[3] / 8 + 1;  // two images a launch, then one
  max_pool2d_forward<Emulated>(args, context.stream);
  EXPECT_TRUE(same(copy_to(cpu_backend(), y, device), want[0]));
  EXPECT_TRUE(same(copy_to(cpu_backend(), index, device), want[1]));
  args.from = dy_on.data(), args.to = dx.data();
  args.items_per_launch = 2 * one.x[1] * one.x[2] * one.x[3] / 8 + 1;
  max_pool2d_backward<Emulated>(args, context.stream);
  EXPECT_TRUE(same(copy_to(cpu_backend(), dx, device), want_dx));
}
#endif

TEST(Pool2d, Rejects) {
  const auto specs = [](const OperationPtr& operation, std::vector<TensorSpec> inputs) { return operation->outputs(inputs); };
  const TensorSpec x{DType::fp32, {1, 4, 4, 2}};
  EXPECT_THROW(max_pool2d({{17, 16}, {1, 1}, {0, 0, 0, 0}}), Error);
  EXPECT_NO_THROW(average_pool2d({{17, 16}, {1, 1}, {0, 0, 0, 0}}));
  EXPECT_THROW(max_pool2d({{0, 2}, {1, 1}, {0, 0, 0, 0}}), Error);
  EXPECT_THROW(max_pool2d({{2, 2}, {0, 1}, {0, 0, 0, 0}}), Error);
  EXPECT_THROW(max_pool2d({{2, 2}, {1, 1}, {2, 0, 0, 0}}), Error);
  EXPECT_THROW(max_pool2d({{2, 2}, {1, 1}, {0, 0, 0, -1}}), Error);
  EXPECT_THROW(specs(max_pool2d({{5, 5}, {1, 1}, {0, 0, 0, 0}}), {x}), Error);
  EXPECT_THROW(specs(max_pool2d({}), {{DType::uint8, {1, 4, 4, 2}}}), Error);
  EXPECT_THROW(specs(max_pool2d({}), {{DType::fp32, {4, 4, 2}}}), Error);
  EXPECT_THROW(specs(max_pool2d_gradient({}, 4, 4), {{DType::fp32, {1, 3, 2, 2}}, {DType::uint8, {1, 3, 2, 2}}}), Error);
  EXPECT_THROW(specs(max_pool2d_gradient({}, 4, 4), {{DType::fp32, {1, 2, 2, 2}}, {DType::int32, {1, 2, 2, 2}}}), Error);
  EXPECT_THROW(specs(global_average_pool(), {{DType::fp32, {2, 0, 3, 4}}}), Error);
  EXPECT_THROW(specs(global_average_pool_gradient(2, 2), {{DType::fp32, {2, 2, 2, 2}}}), Error);
}

}  // namespace
}  // namespace epitaxy::test
