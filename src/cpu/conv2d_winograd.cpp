// Winograd F(2x2, 3x3) on nhwc memory. With d a 4x4 patch of the input, g a filter, y a 2x2 patch of the output, per pair of channels:
//   forward          y = A' [ sum_c (G g G') . (B' d B) ] A
//   filter gradient  g = G' [ sum_tiles (A y A') . (B' d B) ] G
// and the input gradient is a forward pass over dy with the filter turned by 180 degrees. The sums are 16 matrix products, one for each
// of the 4x4 places, over a block of tiles whose transforms stay in the second-level cache.
#include "cpu/conv2d_winograd.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <atomic>

#include "cpu/parallel.h"
#include "epitaxy/error.h"

namespace epitaxy {

#if defined(__AVX512F__)

namespace {

using Vector = __m512;
constexpr std::int64_t kLanes = 16, kPlaces = 16;
constexpr std::int64_t kTiles = 48;  // tiles in a block: a multiple of kRows
constexpr std::int64_t kRows = 12;   // rows of a product held in registers: 12 x 2 vectors

/// Channels side by side in a panel of transformed filters: 32, or 16 where 32 does not divide them.
std::int64_t panel_of(std::int64_t channels) { return channels % 32 == 0 ? 32 : 16; }

/// c [kRows rows, panel] (+)= a b with a's element (row, k) at a[row * row_step + k * k_step], b [depth, panel].
template <int rows, int vectors, bool add>
void product(const float* a, std::int64_t row_step, std::int64_t k_step, const float* b, float* c, std::int64_t depth) {
  Vector sum[rows][vectors];
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < vectors; ++j) sum[i][j] = add ? _mm512_loadu_ps(c + (i * vectors + j) * kLanes) : _mm512_setzero_ps();
  for (std::int64_t k = 0; k < depth; ++k) {
    Vector right[vectors];
    for (int j = 0; j < vectors; ++j) right[j] = _mm512_loadu_ps(b + (k * vectors + j) * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const Vector left = _mm512_set1_ps(a[i * row_step + k * k_step]);
#pragma GCC unroll 2
      for (int j = 0; j < vectors; ++j) sum[i][j] = _mm512_fmadd_ps(left, right[j], sum[i][j]);
    }
  }
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < vectors; ++j) _mm512_storeu_ps(c + (i * vectors + j) * kLanes, sum[i][j]);
}

/// One output tile of 2x2 pixels.
struct Tile {
  std::int64_t image, row, column;  // of its first output pixel
};

/// The grid of tiles over an image plane [n, height, width].
struct Tiles {
  std::int64_t images, height, width;
  std::int64_t rows() const { return (height + 1) / 2; }
  std::int64_t columns() const { return (width + 1) / 2; }
  std::int64_t count() const { return images * rows() * columns(); }
  Tile at(std::int64_t index) const { return {index / (rows() * columns()), index / columns() % rows() * 2, index % columns() * 2}; }
};

/// Where the 16 pixels of a tile's input patch lie; outside the image: on zeros, or wrapped.
struct Source {
  const float* data;
  const float* zeros;  // [channels]
  std::int64_t height, width, channels, top, left;
  std::array<bool, 2> periodic;

  static std::int64_t index(std::int64_t i, std::int64_t size, bool wrap) {
    if (i >= 0 && i < size) return i;
    if (!wrap) return -1;
    return (i % size + size) % size;
  }
  void patch(const Tile& tile, const float* (&pixels)[kPlaces]) const {
    std::int64_t columns[4];
    for (int s = 0; s < 4; ++s) columns[s] = index(tile.column - left + s, width, periodic[1]);
    for (int r = 0; r < 4; ++r) {
      const std::int64_t row = index(tile.row - top + r, height, periodic[0]);
      for (int s = 0; s < 4; ++s)
        pixels[4 * r + s] = row < 0 || columns[s] < 0 ? zeros : data + ((tile.image * height + row) * width + columns[s]) * channels;
    }
  }
};

/// v [16 places, kTiles, channels] at tile t = B' d B.
void transform_patch(const float* const (&pixels)[kPlaces], std::int64_t channels, float* v) {
  const std::int64_t step = kTiles * channels;
  for (std::int64_t c = 0; c < channels; c += kLanes) {
    Vector m[4][4];
    for (int s = 0; s < 4; ++s) {  // B' on the columns
      const Vector d0 = _mm512_loadu_ps(pixels[s] + c), d1 = _mm512_loadu_ps(pixels[4 + s] + c);
      const Vector d2 = _mm512_loadu_ps(pixels[8 + s] + c), d3 = _mm512_loadu_ps(pixels[12 + s] + c);
      m[0][s] = d0 - d2, m[1][s] = d1 + d2, m[2][s] = d2 - d1, m[3][s] = d1 - d3;
    }
    for (int r = 0; r < 4; ++r) {
      float* to = v + 4 * r * step + c;
      _mm512_storeu_ps(to, m[r][0] - m[r][2]);
      _mm512_storeu_ps(to + step, m[r][1] + m[r][2]);
      _mm512_storeu_ps(to + 2 * step, m[r][2] - m[r][1]);
      _mm512_storeu_ps(to + 3 * step, m[r][1] - m[r][3]);
    }
  }
}

/// The 2x2 output pixels of a tile; null beyond the image's edge.
template <class T>
struct Outputs {
  T* pixel[4];
  Outputs(T* data, const Tiles& tiles, const Tile& tile, std::int64_t channels) {
    for (int i = 0; i < 4; ++i) {
      const std::int64_t row = tile.row + i / 2, column = tile.column + i % 2;
      pixel[i] = row < tiles.height && column < tiles.width ? data + ((tile.image * tiles.height + row) * tiles.width + column) * channels
                                                            : nullptr;
    }
  }
};

/// y = A' m A + bias, with ReLU; m [16 places, panels, kTiles, panel] at one tile. Answers whether all is finite.
bool transform_products(const float* m, std::int64_t channels, std::int64_t panel, const float* bias, bool relu,
                        const Outputs<float>& out) {
  const std::int64_t step = kTiles * channels;
  Vector odd = _mm512_setzero_ps();  // 0 * y: NaN where y is not finite
  for (std::int64_t k = 0; k < channels; k += kLanes) {
    const float* from = m + k / panel * kTiles * panel + k % panel;
    Vector half[2][4];
    for (int s = 0; s < 4; ++s) {
      const Vector m0 = _mm512_loadu_ps(from + s * step), m1 = _mm512_loadu_ps(from + (4 + s) * step);
      const Vector m2 = _mm512_loadu_ps(from + (8 + s) * step), m3 = _mm512_loadu_ps(from + (12 + s) * step);
      half[0][s] = m0 + m1 + m2, half[1][s] = m1 - m2 - m3;
    }
    const Vector shift = bias ? _mm512_loadu_ps(bias + k) : _mm512_setzero_ps();
    for (int i = 0; i < 4; ++i) {
      if (!out.pixel[i]) continue;
      const Vector* h = half[i / 2];
      Vector y = (i % 2 == 0 ? h[0] + h[1] + h[2] : h[1] - h[2] - h[3]) + shift;
      odd = _mm512_fmadd_ps(y, _mm512_setzero_ps(), odd);
      if (relu) y = _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_LE_OQ), _mm512_setzero_ps());
      _mm512_storeu_ps(out.pixel[i] + k, y);
    }
  }
  return _mm512_cmp_ps_mask(odd, odd, _CMP_UNORD_Q) == 0;
}

/// m [16 places, panels, kTiles, panel] at one tile = A dy A'.
void transform_gradient(const Outputs<const float>& dy, std::int64_t channels, std::int64_t panel, float* m) {
  const std::int64_t step = kTiles * channels;
  for (std::int64_t k = 0; k < channels; k += kLanes) {
    Vector y[4], half[4][2];
    for (int i = 0; i < 4; ++i) y[i] = dy.pixel[i] ? _mm512_loadu_ps(dy.pixel[i] + k) : _mm512_setzero_ps();
    for (int s = 0; s < 2; ++s) half[0][s] = y[s], half[1][s] = y[s] + y[2 + s], half[2][s] = y[s] - y[2 + s], half[3][s] = -y[2 + s];
    float* to = m + k / panel * kTiles * panel + k % panel;
    for (int r = 0; r < 4; ++r) {
      _mm512_storeu_ps(to + 4 * r * step, half[r][0]);
      _mm512_storeu_ps(to + (4 * r + 1) * step, half[r][0] + half[r][1]);
      _mm512_storeu_ps(to + (4 * r + 2) * step, half[r][0] - half[r][1]);
      _mm512_storeu_ps(to + (4 * r + 3) * step, -half[r][1]);
    }
  }
}

/// u [16 places] of 16 filters that lie side by side: G g G'.
void transform_filter(const Vector (&g)[3][3], Vector (&u)[kPlaces]) {
  const Vector half = _mm512_set1_ps(0.5f);
  Vector m[4][3];
  for (int s = 0; s < 3; ++s) {
    const Vector ends = g[0][s] + g[2][s];
    m[0][s] = g[0][s], m[1][s] = half * (ends + g[1][s]), m[2][s] = half * (ends - g[1][s]), m[3][s] = g[2][s];
  }
  for (int r = 0; r < 4; ++r) {
    const Vector ends = m[r][0] + m[r][2];
    u[4 * r] = m[r][0], u[4 * r + 1] = half * (ends + m[r][1]), u[4 * r + 2] = half * (ends - m[r][1]), u[4 * r + 3] = m[r][2];
  }
}

/// filter [k,3,3,c] -> u [16 places, panels of outputs, inputs, panel]. Forward: inputs c, outputs k; transposed: inputs k, outputs c,
/// and the filter turned.
void transform_filters(const float* filter, std::int64_t k_count, std::int64_t c_count, bool transposed, float* u) {
  const std::int64_t outputs = transposed ? c_count : k_count, inputs = transposed ? k_count : c_count, panel = panel_of(outputs);
  const auto blocks = [&](std::int64_t first, std::int64_t last) {
    alignas(64) float block[kPlaces][kLanes][kLanes];  // place, filter, channel
    for (std::int64_t k0 = first * kLanes; k0 < last * kLanes; k0 += kLanes)
      for (std::int64_t c0 = 0; c0 < c_count; c0 += kLanes) {
        for (std::int64_t k = 0; k < kLanes; ++k) {
          Vector g[3][3], places[kPlaces];
          for (int r = 0; r < 3; ++r)
            for (int s = 0; s < 3; ++s) {
              const int tap = transposed ? 8 - 3 * r - s : 3 * r + s;
              g[r][s] = _mm512_loadu_ps(filter + ((k0 + k) * 9 + tap) * c_count + c0);
            }
          transform_filter(g, places);
          for (int p = 0; p < kPlaces; ++p) _mm512_store_ps(block[p][k], places[p]);
        }
        for (std::int64_t p = 0; p < kPlaces; ++p) {
          float* to = u + p * inputs * outputs;
          for (std::int64_t k = 0; k < kLanes; ++k) {
            if (transposed) {
              _mm512_storeu_ps(to + (c0 / panel * inputs + k0 + k) * panel + c0 % panel, _mm512_load_ps(block[p][k]));
            } else {
              for (std::int64_t c = 0; c < kLanes; ++c) to[(k0 / panel * inputs + c0 + c) * panel + k0 % panel + k] = block[p][k][c];
            }
          }
        }
      }
  };
  parallel_for(k_count / kLanes, blocks, std::max<std::int64_t>(1, 4096 / c_count));
}

/// Products of all places for one block of tiles: m [16, panels, kTiles, panel] = v [16, kTiles, inputs] u [16, panels, inputs, panel].
void multiply_block(const float* v, const float* u, float* m, std::int64_t tiles, std::int64_t inputs, std::int64_t outputs) {
  const std::int64_t panel = panel_of(outputs);
  for (std::int64_t p = 0; p < kPlaces; ++p)
    for (std::int64_t k = 0; k < outputs; k += panel) {
      const float* right = u + (p * outputs + k) * inputs;
      for (std::int64_t t = 0; t < tiles; t += kRows) {  // rows beyond the last tile hold an older block's numbers and are not read
        const float* left = v + (p * kTiles + t) * inputs;
        float* out = m + (p * outputs + k) * kTiles + t * panel;
        panel == 32 ? product<kRows, 2, false>(left, inputs, 1, right, out, inputs)
                    : product<kRows, 1, false>(left, inputs, 1, right, out, inputs);
      }
    }
}

/// sum [16, panels, inputs, panel] += v' m over the tiles of one block.
void accumulate_block(const float* v, const float* m, float* sum, std::int64_t tiles, std::int64_t inputs, std::int64_t outputs) {
  const std::int64_t panel = panel_of(outputs);
  for (std::int64_t p = 0; p < kPlaces; ++p)
    for (std::int64_t k = 0; k < outputs; k += panel) {
      const float* right = m + (p * outputs + k) * kTiles;
      for (std::int64_t c = 0; c < inputs; c += 8) {
        const float* left = v + p * kTiles * inputs + c;
        float* out = sum + (p * outputs + k) * inputs + c * panel;
        panel == 32 ? product<8, 2, true>(left, 1, inputs, right, out, tiles) : product<8, 1, true>(left, 1, inputs, right, out, tiles);
      }
    }
}

}  // namespace

bool WinogradConv2d::suits(Conv2dPass pass, const Conv2dProblem& d) {
  const auto ones = std::array<std::int64_t, 2>{1, 1};
  if (d.dtype != DType::fp32 || d.r != 3 || d.s != 3 || d.stride != ones || d.dilation != ones || d.groups != 1) return false;
  if (d.c % kLanes || d.k % kLanes) return false;
  const bool to_input = pass == Conv2dPass::input_gradient;
  if (to_input && (d.padding_mode[0] == PaddingMode::periodic || d.padding_mode[1] == PaddingMode::periodic)) return false;
  if (to_input && *std::max_element(d.padding.begin(), d.padding.end()) > 2) return false;
  const Tiles tiles = to_input ? Tiles{d.n, d.h, d.w} : Tiles{d.n, d.p, d.q};
  // Odd edges waste up to three quarters of a tile; the filter's transform has to pay.
  return tiles.count() >= 256 && 4 * tiles.count() * 3 <= tiles.images * tiles.height * tiles.width * 4;
}

WinogradConv2d::WinogradConv2d(Conv2dPass pass, const Conv2dProblem& problem, int threads)
    : pass_(pass), problem_(problem), threads_(threads) {}

std::size_t WinogradConv2d::thread_floats() const {
  const std::int64_t c = problem_.c, k = problem_.k;
  std::int64_t floats = kPlaces * kTiles * (c + k);
  if (pass_ == Conv2dPass::filter_gradient) floats += kPlaces * c * k;
  return static_cast<std::size_t>(floats);
}

std::size_t WinogradConv2d::workspace_bytes() const {
  const std::int64_t c = problem_.c, k = problem_.k;
  const std::int64_t shared = std::max(c, k) + (pass_ == Conv2dPass::filter_gradient ? 0 : kPlaces * c * k);
  return sizeof(float) * (static_cast<std::size_t>(shared) + thread_floats() * static_cast<std::size_t>(threads_));
}

bool WinogradConv2d::run(const Conv2dArgs& args, float* workspace) const {
  std::fill(workspace, workspace + std::max(problem_.c, problem_.k), 0.0f);
  return pass_ == Conv2dPass::filter_gradient ? run_filter_gradient(args, workspace) : run_convolution(args, workspace);
}

namespace {

Source input_patches(const Conv2dProblem& d, const float* x, const float* zeros) {
  return {x,   zeros,        d.h,          d.w,
          d.c, d.padding[0], d.padding[2], {d.padding_mode[0] == PaddingMode::periodic, d.padding_mode[1] == PaddingMode::periodic}};
}

}  // namespace

bool WinogradConv2d::run_convolution(const Conv2dArgs& args, float* workspace) const {
  const Conv2dProblem& d = problem_;
  const bool forward = pass_ == Conv2dPass::forward;
  const std::int64_t inputs = forward ? d.c : d.k, outputs = forward ? d.k : d.c, panel = panel_of(outputs);
  const Tiles tiles = forward ? Tiles{d.n, d.p, d.q} : Tiles{d.n, d.h, d.w};
  const Source source =
      forward ? input_patches(d, static_cast<const float*>(args.x), workspace)
              : Source{static_cast<const float*>(args.dy), workspace, d.p, d.q, d.k, 2 - d.padding[0], 2 - d.padding[2], {false, false}};
  float* u = workspace + std::max(d.c, d.k);
  float* scratch = u + kPlaces * d.c * d.k;
  transform_filters(static_cast<const float*>(args.filter), d.k, d.c, !forward, u);

  std::atomic<bool> finite = true;
  parallel_parts(threads_, [&](int part) {
    float* v = scratch + thread_floats() * static_cast<std::size_t>(part);
    float* m = v + kPlaces * kTiles * inputs;
    std::fill(v, m, 0.0f);  // the rows that a first, short block does not write are multiplied too
    const std::int64_t blocks = (tiles.count() + kTiles - 1) / kTiles;
    bool good = true;
    for (std::int64_t block = blocks * part / threads_; block < blocks * (part + 1) / threads_; ++block) {
      const std::int64_t first = block * kTiles, count = std::min(kTiles, tiles.count() - first);
      for (std::int64_t t = 0; t < count; ++t) {
        const float* pixels[kPlaces];
        source.patch(tiles.at(first + t), pixels);
        transform_patch(pixels, inputs, v + t * inputs);
      }
      multiply_block(v, u, m, count, inputs, outputs);
      for (std::int64_t t = 0; t < count; ++t) {
        const Outputs<float> out(static_cast<float*>(args.result), tiles, tiles.at(first + t), outputs);
        good &= transform_products(m + t * panel, outputs, panel, d.bias ? args.bias : nullptr, d.activation == Activation::relu, out);
      }
    }
    if (!good) finite = false;
  });
  return finite;
}

bool WinogradConv2d::run_filter_gradient(const Conv2dArgs& args, float* workspace) const {
  const Conv2dProblem& d = problem_;
  const std::int64_t panel = panel_of(d.k), size = kPlaces * d.c * d.k;
  const Tiles tiles{d.n, d.p, d.q};
  const Source source = input_patches(d, static_cast<const float*>(args.x), workspace);
  float* scratch = workspace + std::max(d.c, d.k);
  const std::int64_t blocks = (tiles.count() + kTiles - 1) / kTiles;
  parallel_parts(threads_, [&](int part) {
    float* sum = scratch + thread_floats() * static_cast<std::size_t>(part);
    float* v = sum + size;
    float* m = v + kPlaces * kTiles * d.c;
    std::fill(sum, sum + size, 0.0f);
    for (std::int64_t block = blocks * part / threads_; block < blocks * (part + 1) / threads_; ++block) {
      const std::int64_t first = block * kTiles, count = std::min(kTiles, tiles.count() - first);
      for (std::int64_t t = 0; t < count; ++t) {
        const float* pixels[kPlaces];
        const Tile tile = tiles.at(first + t);
        source.patch(tile, pixels);
        transform_patch(pixels, d.c, v + t * d.c);
        transform_gradient(Outputs<const float>(static_cast<const float*>(args.dy), tiles, tile, d.k), d.k, panel, m + t * panel);
      }
      accumulate_block(v, m, sum, count, d.c, d.k);
    }
  });

  std::atomic<bool> finite = true;
  float* dw = static_cast<float*>(args.result);
  const auto filters = [&](std::int64_t first, std::int64_t last) {  // 16 filters at a time: dw = G' sum G
    Vector odd = _mm512_setzero_ps();
    for (std::int64_t k = first * kLanes; k < last * kLanes; k += kLanes)
      for (std::int64_t c = 0; c < d.c; ++c) {
        Vector u[4][4], m[3][4];
        for (std::int64_t p = 0; p < kPlaces; ++p) {
          const float* from = scratch + (p * d.k + k / panel * panel) * d.c + c * panel + k % panel;
          u[p / 4][p % 4] = _mm512_loadu_ps(from);
          for (int part = 1; part < threads_; ++part)
            u[p / 4][p % 4] += _mm512_loadu_ps(from + thread_floats() * static_cast<std::size_t>(part));
        }
        const Vector half = _mm512_set1_ps(0.5f);
        for (int s = 0; s < 4; ++s) {
          const Vector even = half * (u[1][s] + u[2][s]);
          m[0][s] = u[0][s] + even, m[1][s] = half * (u[1][s] - u[2][s]), m[2][s] = even + u[3][s];
        }
        for (int r = 0; r < 3; ++r) {
          const Vector even = half * (m[r][1] + m[r][2]);
          const Vector g[3] = {m[r][0] + even, half * (m[r][1] - m[r][2]), even + m[r][3]};
          for (int s = 0; s < 3; ++s) {
            odd = _mm512_fmadd_ps(g[s], _mm512_setzero_ps(), odd);
            alignas(64) float values[kLanes];
            _mm512_store_ps(values, g[s]);
            for (std::int64_t i = 0; i < kLanes; ++i) dw[((k + i) * 9 + 3 * r + s) * d.c + c] = values[i];
          }
        }
      }
    if (_mm512_cmp_ps_mask(odd, odd, _CMP_UNORD_Q)) finite = false;
  };
  parallel_for(d.k / kLanes, filters, std::max<std::int64_t>(1, 4096 / d.c));
  return finite;
}

#else

bool WinogradConv2d::suits(Conv2dPass, const Conv2dProblem&) { return false; }
WinogradConv2d::WinogradConv2d(Conv2dPass pass, const Conv2dProblem& problem, int threads)
    : pass_(pass), problem_(problem), threads_(threads) {}
std::size_t WinogradConv2d::thread_floats() const { return 0; }
std::size_t WinogradConv2d::workspace_bytes() const { return 0; }
bool WinogradConv2d::run_convolution(const Conv2dArgs&, float*) const { fail("conv2d: Winograd needs AVX-512"); }
bool WinogradConv2d::run_filter_gradient(const Conv2dArgs&, float*) const { fail("conv2d: Winograd needs AVX-512"); }
bool WinogradConv2d::run(const Conv2dArgs& args, float* workspace) const { return run_convolution(args, workspace); }

#endif

}  // namespace epitaxy
