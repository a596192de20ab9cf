// Which kernel a convolution runs on a GPU.
#include <algorithm>

#include "epitaxy/error.h"
#include "kernels/conv2d.h"

namespace epitaxy {

namespace {

/// Rows, columns and batch of the matrix product that a pass is.
struct Product {
  std::int64_t rows, columns, batch;
};

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

Product product(Conv2dPass pass, const Conv2dProblem& d) {
  switch (pass) {
    case Conv2dPass::forward: return {d.output_pixels(), d.group_outputs(), d.groups};
    case Conv2dPass::input_gradient:  // one product for each residue of (row, column) by the stride
      return {d.n * divide_up(d.h, d.stride[0]) * divide_up(d.w, d.stride[1]), d.group_inputs(), d.groups * d.stride[0] * d.stride[1]};
    case Conv2dPass::filter_gradient: return {d.group_outputs(), d.r * d.s * d.group_inputs(), d.groups};
  }
  return {};
}

std::int64_t tiles(const Product& g, Conv2dTile tile) {
  const std::int64_t rows = tile == Conv2dTile::m64n64 ? 64 : 128, columns = tile == Conv2dTile::m128n128 ? 128 : 64;
  return divide_up(g.rows, rows) * divide_up(g.columns, columns) * g.batch;
}

/// Whether every 16-byte load lies within one tap's channels of one image.
bool can_vectorise(Conv2dPass pass, const Conv2dProblem& d) {
  const auto width = static_cast<std::int64_t>(16 / size_of(d.dtype));
  const bool inputs = d.group_inputs() % width == 0 && d.second % width == 0, outputs = d.group_outputs() % width == 0;
  return pass == Conv2dPass::forward ? inputs : inputs && outputs;
}

/// The largest tile whose grid still fills the multiprocessors.
Conv2dTile choose_tile(const Conv2dPlan& plan, const Product& g, bool filter_gradient, const DeviceProfile& profile) {
  if (!plan.vector) return Conv2dTile::m64n64;
  const bool fills_128 = filter_gradient || tiles(g, Conv2dTile::m128n128) >= profile.multiprocessors;
  const bool fills_64 = filter_gradient || tiles(g, Conv2dTile::m128n64) >= profile.multiprocessors;
  if (plan.path == Conv2dPath::mma && g.rows > 64 && g.columns > 64 && fills_128) return Conv2dTile::m128n128;
  if (g.rows > 64 && fills_64) return Conv2dTile::m128n64;
  return Conv2dTile::m64n64;
}

/// The kernels index pixels, lines of the filter and blocks with 32 bits (elements with 64), and keep one entry for each tap and period.
void check_limits(const Conv2dProblem& d) {
  constexpr std::int64_t kMost = (std::int64_t{1} << 31) - (1 << 20), kMostTaps = 2048;  // less what rounding up to tiles adds
  require(d.n * d.h * d.w < kMost && d.output_pixels() < kMost, "conv2d: ", d.n, " images of ", d.h, "x", d.w,
          " are more pixels than a GPU call takes (2^31): use a smaller batch");
  require(d.k * d.r * d.s < kMost && d.r * d.s * d.group_inputs() < kMost, "conv2d: a filter of ", d.k, "x", d.r, "x", d.s, "x",
          d.group_inputs(), " is more than a GPU call takes");
  const std::array<std::int64_t, 2> sizes{d.h, d.w}, taps{d.r, d.s};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const bool periodic = d.padding_mode[axis] == PaddingMode::periodic;
    const std::int64_t periods =
        periodic ? divide_up(d.padding[2 * axis], sizes[axis]) + divide_up(d.padding[2 * axis + 1], sizes[axis]) : 0;
    require(taps[axis] * (1 + periods) <= kMostTaps, "conv2d: ", taps[axis], " taps over ", 1 + periods,
            " periods of the image are more than the ", kMostTaps, " that a GPU call takes: use less padding");
  }
}

}  // namespace

Conv2dPlan choose(Conv2dPass pass, const Conv2dProblem& d, const DeviceProfile& profile) {
  check_limits(d);
  Conv2dPlan plan;
  plan.path = d.dtype == DType::fp32 && !d.tf32 ? Conv2dPath::simt : Conv2dPath::mma;
  plan.vector = can_vectorise(pass, d) && (plan.path == Conv2dPath::mma || d.dtype == DType::fp32);
  const Product g = product(pass, d);
  const bool filter_gradient = pass == Conv2dPass::filter_gradient;
  plan.tile = choose_tile(plan, g, filter_gradient, profile);
  if (filter_gradient) {  // few tiles, long sums: split the pixels until every multiprocessor has two blocks
    constexpr std::int64_t kLeastPixels = 512, kMostElements = std::int64_t{1} << 26;
    const std::int64_t wanted = divide_up(2 * profile.multiprocessors, tiles(g, plan.tile));
    const std::int64_t by_length = d.output_pixels() / kLeastPixels, by_memory = kMostElements / (g.rows * g.columns * g.batch);
    plan.splits = static_cast<int>(std::max<std::int64_t>(1, std::min({wanted, by_length, by_memory})));
  }
  require(tiles(g, plan.tile) * plan.splits < std::int64_t{1} << 31, "conv2d: ", d.groups, " groups over ", d.output_pixels(),
          " pixels are more blocks than a GPU call takes: use a smaller batch");
  return plan;
}

bool is_supported(Conv2dPass pass, const Conv2dProblem& d, const Conv2dPlan& plan) {
  if (plan.splits < 1 || (plan.splits > 1 && pass != Conv2dPass::filter_gradient)) return false;
  if (plan.path != Conv2dPath::simt && plan.path != Conv2dPath::mma) return false;
  if (plan.tile > Conv2dTile::m64n64 || (!plan.vector && plan.tile != Conv2dTile::m64n64)) return false;
  if (plan.vector && !can_vectorise(pass, d)) return false;
  if (plan.path == Conv2dPath::mma) return d.dtype != DType::fp32 || d.tf32;
  return !d.tf32 && (!plan.vector || d.dtype == DType::fp32) && plan.tile != Conv2dTile::m128n128;
}

std::size_t conv2d_workspace_bytes(Conv2dPass pass, const Conv2dProblem& d, const Conv2dPlan& plan) {
  if (pass != Conv2dPass::filter_gradient || plan.splits == 1) return 0;
  return sizeof(float) * static_cast<std::size_t>(plan.splits * d.k * d.r * d.s * d.group_inputs());
}

}  // namespace epitaxy
