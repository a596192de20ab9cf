// Which kernel a convolution runs on a GPU.
#include <algorithm>

#include "epitaxy/error.h"
#include "kernels/conv2d_first.h"
#include "kernels/conv2d_wgmma.h"

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

/// One of the tiles: its blocks' warps and shared memory, the blocks that registers allow on a multiprocessor, and how close its products
/// come to the tensor cores' rate (larger tiles load less for each).
struct TileKind {
  Conv2dTile name;
  std::int64_t rows, columns, shared, blocks;
  double warps, efficiency;
};
constexpr std::array<TileKind, 3> kTileKinds{{{Conv2dTile::m128n128, 128, 128, 64 << 10, 2, 8, 1.0},
                                              {Conv2dTile::m128n64, 128, 64, 48 << 10, 3, 4, 0.85},
                                              {Conv2dTile::m64n64, 64, 64, 32 << 10, 4, 4, 0.65}}};

/// Time of a grid in units of one product a multiprocessor: full waves, then what is left. Below eight warps a multiprocessor waits.
double grid_time(const TileKind& t, const Product& g, const DeviceProfile& profile) {
  const auto shared = static_cast<std::int64_t>(profile.shared_per_block_optin);
  const std::int64_t resident = std::clamp<std::int64_t>(shared / t.shared, 1, t.blocks), all = tiles(g, t.name);
  const auto filling = 8 / t.warps;  // blocks that keep a multiprocessor busy
  const auto busy = [&](std::int64_t blocks) {
    const double count = static_cast<double>(blocks), enough = filling;
    return count >= enough ? count : (count + enough) / 2;
  };
  const std::int64_t wave = resident * profile.multiprocessors, waves = all / wave, left = divide_up(all % wave, profile.multiprocessors);
  const double blocks = static_cast<double>(waves) * busy(resident) + (left ? busy(left) : 0);
  return blocks * static_cast<double>(t.rows * t.columns) / t.efficiency;
}

/// Forward and input gradient: the tile whose grid is done first. Filter gradient, whose splits fill the GPU: the largest that its
/// matrix fills.
Conv2dTile choose_tile(const Conv2dPlan& plan, const Product& g, bool filter_gradient, const DeviceProfile& profile) {
  if (!plan.vector) return Conv2dTile::m64n64;
  const bool mma = plan.path == Conv2dPath::mma;
  if (filter_gradient) return g.rows <= 64 ? Conv2dTile::m64n64 : mma && g.columns > 64 ? Conv2dTile::m128n128 : Conv2dTile::m128n64;
  const TileKind* best = nullptr;
  for (const TileKind& t : kTileKinds)
    if ((mma || t.name != Conv2dTile::m128n128) && (!best || grid_time(t, g, profile) < grid_time(*best, g, profile))) best = &t;
  return best->name;
}

bool is_depthwise(const Conv2dProblem& d) { return d.groups > 1 && d.groups == d.c && d.groups == d.k; }

/// Channels that a depthwise thread holds, and whether the kernels take the filter: its taps lie in shared memory.
std::int64_t depthwise_vector(const Conv2dProblem& d) { return static_cast<std::int64_t>(16 / size_of(d.dtype)); }
bool supports_depthwise(const Conv2dProblem& d) { return is_depthwise(d) && d.r * d.s <= 81; }

/// Blocks of the filter gradient without splits.
std::int64_t gradient_blocks(const Conv2dProblem& d, const Conv2dPlan& plan) {
  if (plan.path == Conv2dPath::first)
    return divide_up(d.k, 64) * divide_up(conv2d_first_length(d), conv2d_first_depth(d, Conv2dPass::filter_gradient));
  if (plan.path == Conv2dPath::depthwise) return divide_up(plan.vector ? d.c / depthwise_vector(d) : d.c, 32);
  return tiles(product(Conv2dPass::filter_gradient, d), plan.tile);
}

/// Few tiles, long sums: the pixels are split until every multiprocessor has two blocks, four where they are small.
int choose_splits(const Conv2dProblem& d, const Conv2dPlan& plan, const DeviceProfile& profile) {
  constexpr std::int64_t kLeastPixels = 512, kMostElements = std::int64_t{1} << 26;
  const bool small = plan.path == Conv2dPath::first || plan.path == Conv2dPath::depthwise;
  const std::int64_t wanted = divide_up((small ? 4 : 2) * profile.multiprocessors, gradient_blocks(d, plan));
  const std::int64_t by_length = d.output_pixels() / kLeastPixels, by_memory = kMostElements / (d.k * d.r * d.s * d.group_inputs());
  return static_cast<int>(std::max<std::int64_t>(1, std::min({wanted, by_length, by_memory})));
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
  if (profile.compute == 90 && conv2d_wgmma_supports(pass, d)) return conv2d_wgmma_plan(pass, d, profile);
  const bool filter_gradient = pass == Conv2dPass::filter_gradient;
  Conv2dPlan plan;
  if (supports_depthwise(d)) {
    plan.path = Conv2dPath::depthwise;
    plan.vector = d.c % depthwise_vector(d) == 0;
  } else if (!can_vectorise(pass, d) && conv2d_first_supports(pass, d)) {
    plan.path = Conv2dPath::first;
  } else {
    plan.path = d.dtype == DType::fp32 && !d.tf32 ? Conv2dPath::simt : Conv2dPath::mma;
    plan.vector = can_vectorise(pass, d) && (plan.path == Conv2dPath::mma || d.dtype == DType::fp32);
    const Product g = product(pass, d);
    plan.tile = choose_tile(plan, g, filter_gradient, profile);
    require(tiles(g, plan.tile) < std::int64_t{1} << 31, "conv2d: ", d.groups, " groups over ", d.output_pixels(),
            " pixels are more blocks than a GPU call takes: use a smaller batch");
  }
  if (filter_gradient) plan.splits = choose_splits(d, plan, profile);
  return plan;
}

bool is_supported(Conv2dPass pass, const Conv2dProblem& d, const Conv2dPlan& plan) {
  if (plan.splits < 1 || (plan.splits > 1 && pass != Conv2dPass::filter_gradient)) return false;
  switch (plan.path) {
    case Conv2dPath::first: return conv2d_first_supports(pass, d) && plan.tile == Conv2dTile::m64n64 && !plan.vector;
    case Conv2dPath::depthwise:
      return supports_depthwise(d) && plan.tile == Conv2dTile::m64n64 && (!plan.vector || d.c % depthwise_vector(d) == 0);
    case Conv2dPath::wgmma: return conv2d_wgmma_is_supported(pass, d, plan);
    case Conv2dPath::simt:
    case Conv2dPath::mma: break;
  }
  if (plan.tile > Conv2dTile::m64n64 || (!plan.vector && plan.tile != Conv2dTile::m64n64)) return false;
  if (plan.vector && !can_vectorise(pass, d)) return false;
  if (plan.path == Conv2dPath::mma) return d.dtype != DType::fp32 || d.tf32;
  return !d.tf32 && (!plan.vector || d.dtype == DType::fp32) && plan.tile != Conv2dTile::m128n128;
}

std::vector<Conv2dPlan> candidates(Conv2dPass pass, const Conv2dProblem& d, const DeviceProfile& profile) {
  std::vector<Conv2dPlan> result{choose(pass, d, profile)};
  const auto offer = [&](const Conv2dPlan& plan) {
    if (is_supported(pass, d, plan) && std::find(result.begin(), result.end(), plan) == result.end()) result.push_back(plan);
  };
  if (profile.compute == 90)
    for (const Conv2dPlan& plan : conv2d_wgmma_candidates(pass, d, profile)) offer(plan);
  for (const auto path : {Conv2dPath::mma, Conv2dPath::simt, Conv2dPath::first, Conv2dPath::depthwise})
    for (const auto tile : {Conv2dTile::m128n128, Conv2dTile::m128n64, Conv2dTile::m64n64})
      for (const bool vector : {true, false}) {
        Conv2dPlan plan{path, tile, vector, 1};
        if (!is_supported(pass, d, plan)) continue;
        if (!vector && can_vectorise(pass, d) && !is_depthwise(d)) continue;  // always slower
        if (is_depthwise(d) && (path != Conv2dPath::depthwise || vector != (d.c % depthwise_vector(d) == 0))) continue;
        if (pass != Conv2dPass::filter_gradient) {
          offer(plan);
          continue;
        }
        const int usual = choose_splits(d, plan, profile);
        for (const int splits : {usual, usual / 2, usual * 2}) {
          plan.splits = splits;
          if (splits >= 1 && splits <= d.output_pixels()) offer(plan);
        }
      }
  return result;
}

std::size_t conv2d_workspace_bytes(Conv2dPass pass, const Conv2dProblem& d, const Conv2dPlan& plan) {
  if (plan.path == Conv2dPath::wgmma) return conv2d_wgmma_workspace_bytes(pass, d, plan);
  if (pass != Conv2dPass::filter_gradient || plan.splits == 1) return 0;
  return sizeof(float) * static_cast<std::size_t>(plan.splits * d.k * d.r * d.s * d.group_inputs());
}

}  // namespace epitaxy
