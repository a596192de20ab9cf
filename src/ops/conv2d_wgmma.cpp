// Which convolutions run on wgmma and TMA, and with which tile.
#include "kernels/conv2d_wgmma.h"

#include <algorithm>
#include <limits>

namespace epitaxy {

namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Channels of one 128-byte line of shared memory, the reduction of one step.
std::int64_t depth(const Conv2dProblem& d) { return 128 / static_cast<std::int64_t>(size_of(d.dtype)); }

/// Pixels are indexed with 32 bits, tiles beyond the last included.
constexpr std::int64_t kMostPixels = (std::int64_t{1} << 31) - (1 << 20);

/// TMA's limits of a rank-4 im2col map: corners of 8 bits, offsets of 8 bits, strides up to 8.
bool within_limits(const Conv2dAxis& a) {
  if (a.pixels == 0 || a.taps == 0) return true;
  const int last = a.offset + (a.taps - 1) * a.offset_step;
  return a.lower >= -128 && a.lower <= 127 && a.upper >= -128 && a.upper <= 127 && a.stride <= 8 && std::max(a.offset, last) <= 255;
}

/// Whole 16-byte units, and at least half of the last line of shared memory in use.
bool fits(std::int64_t channels, const Conv2dProblem& d) { return channels % (depth(d) / 8) == 0 && 2 * channels >= depth(d); }

struct Tile {
  Conv2dTile name;
  std::int64_t rows, columns;
  bool shares = false;  // two blocks on a multiprocessor: the stores of one overlap the products of the other
  bool strips = false;  // one load of pixels for a row of taps
};
constexpr std::array<Tile, 7> kTiles{{{Conv2dTile::m128n64, 128, 64, true},
                                      {Conv2dTile::m128n128, 128, 128},
                                      {Conv2dTile::m256n64, 256, 64},
                                      {Conv2dTile::m128n256, 128, 256},
                                      {Conv2dTile::m256n128, 256, 128},
                                      {Conv2dTile::m256n64_strips, 256, 64, false, true},
                                      {Conv2dTile::m256n128_strips, 256, 128, false, true}}};

Conv2dAxis row_axis(Conv2dPass pass, const Conv2dProblem& d) {
  return pass == Conv2dPass::input_gradient ? conv2d_gradient_axis(d, 1, 0) : conv2d_forward_axis(d, 1);
}

/// Whether a row of taps reads neighbouring pixels, within what a strip brings. `d` is unrolled.
bool has_strips(Conv2dPass pass, const Conv2dProblem& d) {
  if (pass == Conv2dPass::filter_gradient || d.s < 2 || d.stride[1] != 1 || (pass == Conv2dPass::input_gradient && d.stride[0] != 1))
    return false;
  const Conv2dAxis axis = row_axis(pass, d), wide = conv2d_strip_axis(axis);
  return (d.s - 1) * d.dilation[1] <= kConv2dStripPixels && d.n * std::max(d.p, d.h) * wide.pixels < kMostPixels && wide.upper <= 127 &&
         wide.upper >= -128;
}

/// Cycles of one step of the reduction (128 bytes deep): 2048 products a cycle, of which narrow tiles reach fewer because shared memory
/// gives 128 bytes a cycle; 32 bytes a cycle from L2 (what GEMMs without clusters get).
double step_cycles(const Tile& t, std::int64_t taps) {
  const auto loads =
      static_cast<double>((t.strips ? (t.rows + kConv2dStripPixels) : t.rows * taps) + t.columns * taps) / static_cast<double>(taps);
  const double reached = t.columns == 64 ? 0.65 : t.columns == 128 ? 0.8 : 0.85;
  return std::max(static_cast<double>(t.rows * t.columns) / 32 / reached, loads * 128 / 32);
}

/// Cycles of one tile: its steps, and its stores at 16 bytes a cycle.
double tile_cycles(const Tile& t, double steps, double store_bytes, std::int64_t taps = 1) {
  const double work = steps * step_cycles(t, taps), store = store_bytes / 16;
  return (t.shares ? std::max(work, store) + 0.3 * std::min(work, store) : work + store) + 600;
}

/// Of equal cost the first found is kept, so the order of the candidates matters.
struct Best {
  Conv2dPlan plan{};
  double cycles = std::numeric_limits<double>::infinity();
  void offer(Conv2dTile tile, int splits, double cost) {
    if (cost >= cycles) return;
    plan.path = Conv2dPath::wgmma, plan.tile = tile, plan.vector = true, plan.splits = splits;
    cycles = cost;
  }
};

/// Splits of the sum over pixels such that the tiles fill whole waves of the multiprocessors.
void offer_splits(Best& best, const Tile& t, const Conv2dProblem& d, const DeviceProfile& profile) {
  constexpr std::int64_t kLeastPixels = 256, kMostElements = std::int64_t{1} << 26;
  const std::int64_t chunks = d.r * d.s * (divide_up(d.first(), 64) + divide_up(d.second, 64)), elements = d.k * d.r * d.s * d.c;
  const std::int64_t tiles = divide_up(chunks, t.rows / 64) * divide_up(d.k, t.columns);
  const std::int64_t most = std::max<std::int64_t>(1, std::min(d.output_pixels() / kLeastPixels, kMostElements / elements));
  for (std::int64_t waves = 0; waves <= 4; ++waves) {
    const std::int64_t splits = std::clamp<std::int64_t>(waves * profile.multiprocessors / tiles, 1, most);
    const double steps = static_cast<double>(divide_up(divide_up(d.output_pixels(), splits), 64));
    const double sum = splits == 1 ? 0 : 1500 + static_cast<double>((splits + 1) * elements * 4) / (16.0 * profile.multiprocessors);
    best.offer(t.name, static_cast<int>(splits),
               static_cast<double>(divide_up(tiles * splits, profile.multiprocessors)) *
                       tile_cycles(t, steps, static_cast<double>(t.rows * t.columns * 4)) +
                   sum);
  }
}

void offer_tile(Best& best, const Tile& t, Conv2dPass pass, const Conv2dProblem& problem, const DeviceProfile& profile) {
  const Conv2dProblem d = conv2d_unrolled(pass, problem);
  if (t.strips && !has_strips(pass, d)) return;
  if (pass == Conv2dPass::filter_gradient) return offer_splits(best, t, d, profile);
  const bool forward = pass == Conv2dPass::forward;
  const std::int64_t columns = divide_up(forward ? d.k : d.c, t.columns), phases = forward ? 1 : d.stride[0] * d.stride[1];
  const std::int64_t width = t.strips ? conv2d_strip_axis(row_axis(pass, d)).pixels : forward ? d.q : d.w;
  const std::int64_t rows = phases * divide_up(divide_up(d.n * (forward ? d.p : d.h) * width, phases), t.rows);
  const std::int64_t chunks = forward ? divide_up(d.first(), depth(d)) + divide_up(d.second, depth(d)) : divide_up(d.k, depth(d));
  const double steps = static_cast<double>(d.r * d.s * chunks) / static_cast<double>(phases);
  const auto element = static_cast<double>(size_of(d.dtype));
  const bool reads_normalised = !forward && d.statistics;
  const double bytes =
      static_cast<double>(t.rows * t.columns) * element * (1 + d.residual + (d.mask == ReluMask::output) + reads_normalised);
  double cycles = static_cast<double>(divide_up(rows * columns, profile.multiprocessors)) * tile_cycles(t, steps, bytes, d.s);
  if (t.strips && d.statistics) {  // by another pass over y, or dx and what was normalised
    const auto read = static_cast<double>(forward ? d.output_pixels() * d.k : 2 * d.image_pixels() * d.c);
    cycles += 3000 + read * element / (16.0 * profile.multiprocessors);
  }
  best.offer(t.name, 1, cycles);
}

}  // namespace

bool conv2d_wgmma_supports(Conv2dPass pass, const Conv2dProblem& problem) {
  const bool forward = pass == Conv2dPass::forward, gradient = pass == Conv2dPass::input_gradient;
  const Conv2dProblem d = conv2d_unrolled(pass, problem);
  if (d.groups != 1 || (d.dtype == DType::fp32 && (!d.tf32 || pass == Conv2dPass::filter_gradient))) return false;
  if (!fits(d.first(), d) || (d.second > 0 && !fits(d.second, d))) return false;
  if (forward ? 2 * d.k < 64 : !fits(d.k, d)) return false;
  if (d.n * d.h * d.w >= kMostPixels || d.output_pixels() >= kMostPixels) return false;
  if (divide_up(std::max(d.n * d.h * d.w, d.output_pixels()), 128) * divide_up(std::max(d.c, d.k), 64) >= kMostPixels)
    return false;  // tiles
  if (!gradient) return within_limits(conv2d_forward_axis(d, 0)) && within_limits(conv2d_forward_axis(d, 1));
  if (d.stride[0] * d.stride[1] > kConv2dMostPhases) return false;
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const bool unrolled = d.padding_mode[axis] != problem.padding_mode[axis];
    if (unrolled && (d.stride[axis] != 1 || (axis == 0 ? problem.p != problem.h : problem.q != problem.w))) return false;
    for (std::int64_t residue = 0; residue < d.stride[axis]; ++residue)
      if (!within_limits(conv2d_gradient_axis(d, axis, residue))) return false;
  }
  return true;
}

Conv2dPlan conv2d_wgmma_plan(Conv2dPass pass, const Conv2dProblem& d, const DeviceProfile& profile) {
  Best best;
  for (const Tile& t : kTiles) offer_tile(best, t, pass, d, profile);
  return best.plan;
}

std::vector<Conv2dPlan> conv2d_wgmma_candidates(Conv2dPass pass, const Conv2dProblem& d, const DeviceProfile& profile) {
  std::vector<Conv2dPlan> result;
  if (!conv2d_wgmma_supports(pass, d)) return result;
  for (const Tile& t : kTiles) {
    Best best;
    offer_tile(best, t, pass, d, profile);
    if (best.cycles < std::numeric_limits<double>::infinity()) result.push_back(best.plan);
  }
  return result;
}

bool conv2d_wgmma_is_supported(Conv2dPass pass, const Conv2dProblem& d, const Conv2dPlan& plan) {
  if (plan.path != Conv2dPath::wgmma || !plan.vector || plan.splits < 1 || !conv2d_wgmma_supports(pass, d)) return false;
  if (plan.splits > 1 && pass != Conv2dPass::filter_gradient) return false;
  const auto fits_tile = [&](const Tile& t) { return t.name == plan.tile && (!t.strips || has_strips(pass, conv2d_unrolled(pass, d))); };
  return std::any_of(kTiles.begin(), kTiles.end(), fits_tile);
}

}  // namespace epitaxy
