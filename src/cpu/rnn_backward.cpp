// The fast recurrent path, backward. Time is walked in chunks: in a chunk each group of sequences goes back on its own thread and leaves
// the gradients of its pre-activations, its inputs and its states as rows; then all threads together add the outer products of those rows
// to the weight gradients, in the order of the rows, so that bits do not depend on the number of threads.
#include "cpu/parallel.h"
#include "cpu/rnn_cells.h"
#include "cpu/rnn_layout.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

using namespace rnn_tiles;

namespace {

template <class T>
class Backward {
 public:
  Backward(const RnnLayout& layout, const RnnGradientArgs& args, std::byte* workspace)
      : l_(layout), p_(layout.problem), args_(args), workspace_(workspace), order_(sort_sequences(layout, args.lengths, workspace)) {}

  void run() {
    const std::int64_t L = p_.options.layers, rows = p_.batch * p_.steps;
    std::fill_n(floats(l_.zeros), std::max(kPanel, p_.hidden()), 0.0f);
    const T* const reserve = static_cast<const T*>(args_.reserve);
    const T* const kept = reserve + L * p_.directions() * rows * rnn_saved(p_);
    for (layer_ = L - 1; layer_ >= 0; --layer_) {
      input_ = layer_ ? kept + (layer_ - 1) * rows * p_.width() : static_cast<const T*>(args_.x);
      output_ = layer_ + 1 == L ? static_cast<const T*>(args_.y) : kept + layer_ * rows * p_.width();
      dy_ = layer_ + 1 == L ? nullptr : floats(l_.between[(layer_ + 1) % l_.betweens]);
      choose_dx();
      for (direction_ = 0; direction_ < p_.directions(); ++direction_) {
        place_ = layer_ * p_.directions() + direction_;
        saved_ = reserve + place_ * rows * rnn_saved(p_);
        run_direction();
      }
    }
    if constexpr (!std::is_same_v<T, float>)
      if (args_.dx) {
        const float* from = dx_;
        T* to = static_cast<T*>(args_.dx);
        parallel_for(rows * p_.input, [=](std::int64_t first, std::int64_t last) {
#pragma GCC ivdep
          for (std::int64_t i = first; i < last; ++i) to[i] = round<T>(from[i]);
        });
      }
  }

 private:
  float* floats(std::size_t offset) const { return reinterpret_cast<float*>(workspace_ + offset); }
  float* dh_row(std::int64_t position) const { return floats(l_.h) + position * l_.output_stride; }
  float* dc_row(std::int64_t position) const { return floats(l_.c) + position * l_.hidden_stride; }
  bool is_gru() const { return p_.options.mode == RnnMode::gru; }
  bool is_projected() const { return p_.options.projection > 0; }
  std::int64_t row_of(std::int64_t position, std::int64_t s) const {
    return order_.order[position] * p_.steps + (direction_ ? order_.lengths[position] - 1 - s : s);
  }

  /// Where the gradient of this layer's input goes, fp32; zeros beyond the lengths.
  void choose_dx() {
    dx_ = nullptr;
    if (layer_ == 0 && !args_.dx) return;
    dx_ = layer_ == 0 && p_.dtype == DType::fp32 ? static_cast<float*>(args_.dx) : floats(l_.between[layer_ % l_.betweens]);
    const std::int64_t I = p_.input_of(layer_);
    for (std::int64_t at = 0; at < p_.batch; ++at) {
      const std::int64_t length = order_.lengths[at];
      std::fill_n(dx_ + (order_.order[at] * p_.steps + length) * I, (p_.steps - length) * I, 0.0f);
    }
  }

  void pack() {
    const auto index = rnn_parameter_index(p_, layer_, direction_);
    const std::int64_t I = p_.input_of(layer_), P = p_.output(), H = p_.hidden(), gates = p_.gates() * H;
    const auto weights = [&](int at) { return static_cast<const T*>(args_.parameters[at]); };
    if (dx_) pack_panels(weights(index.weight_ih), I, 1, gates, I, floats(l_.packed_ih));
    pack_panels(weights(index.weight_hh), P, 1, gates, P, floats(l_.packed_hh));
    if (is_projected()) pack_panels(weights(index.weight_hr), H, 1, P, H, floats(l_.packed_hr));
  }

  void load_states() const {
    const std::int64_t P = p_.output(), H = p_.hidden();
    const T *dh_n = static_cast<const T*>(args_.dh_n), *dc_n = static_cast<const T*>(args_.dc_n);
    for (std::int64_t at = 0; at < p_.batch; ++at) {
      const std::int64_t state = place_ * p_.batch + order_.order[at];
      for (std::int64_t j = 0; j < P; ++j) dh_row(at)[j] = dh_n ? to_float(dh_n[state * P + j]) : 0.0f;
      for (std::int64_t j = 0; j < H; ++j) dc_row(at)[j] = dc_n ? to_float(dc_n[state * H + j]) : 0.0f;
    }
  }

  void store_states() const {
    const std::int64_t P = p_.output(), H = p_.hidden();
    T *dh0 = static_cast<T*>(args_.dh0), *dc0 = static_cast<T*>(args_.dc0);
    for (std::int64_t at = 0; at < p_.batch; ++at) {
      const std::int64_t state = place_ * p_.batch + order_.order[at];
      for (std::int64_t j = 0; dh0 && j < P; ++j) dh0[state * P + j] = round<T>(dh_row(at)[j]);
      for (std::int64_t j = 0; dc0 && j < H; ++j) dc0[state * H + j] = round<T>(dc_row(at)[j]);
    }
  }

  void run_direction() {
    pack();
    load_states();
    const std::int64_t first_sum = static_cast<std::int64_t>(l_.dw_ih), end = static_cast<std::int64_t>(l_.db) + l_.gate_columns() * 4;
    std::memset(workspace_ + first_sum, 0, static_cast<std::size_t>(end - first_sum));
    for (std::int64_t last = order_.longest; last > 0; last -= l_.chunk_steps) {
      const std::int64_t first = std::max<std::int64_t>(0, last - l_.chunk_steps);
      std::int64_t rows = 0;
      for (std::int64_t s = first; s < last; ++s) rows += order_.active[s];
      parallel_parts(l_.threads, [&](int thread) {
        std::byte* const scratch = workspace_ + l_.scratch + static_cast<std::size_t>(thread) * l_.scratch_bytes;
        for (std::int64_t group = thread; group < l_.groups; group += l_.threads) {
          std::int64_t base = rows;
          for (std::int64_t s = last - 1; s >= first; --s) {
            base -= order_.active[s];
            step(group, s, base, reinterpret_cast<float*>(scratch + l_.scratch_u));
          }
        }
      });
      parallel_parts(l_.threads, [&](int thread) { add_weight_gradients(rows, thread); });
    }
    store_weight_gradients();
    store_states();
  }

  /// One step back of one group; its rows in the chunk start at `base`.
  void step(std::int64_t group, std::int64_t s, std::int64_t base, float* du) const {
    const std::int64_t I = p_.input_of(layer_), P = p_.output(), H = p_.hidden(), gates = p_.gates() * H;
    constexpr RowProduct kNone{nullptr, 0, nullptr, 0};
    const auto each_block = [&](auto&& work) {
      for (std::int64_t i = 0; i < l_.group_blocks; ++i) {
        const std::int64_t block = group + i * l_.groups, rows = order_.rows_of(block, s);
        if (rows > 0) work(kRowTiles[static_cast<std::size_t>(rows - 1)], rows, block * kTileRows, i * kTileRows);
      }
    };
    float *da = floats(l_.chunk_gates) + base * l_.gate_stride, *x = floats(l_.chunk_x) + base * l_.input_stride;
    float *h = floats(l_.chunk_h) + base * l_.output_stride, *dh = floats(l_.chunk_dh) + base * l_.output_stride;
    float* u = floats(l_.chunk_u) + base * l_.hidden_stride;
    each_block([&](RowTile, std::int64_t rows, std::int64_t position, std::int64_t) {
      for (std::int64_t r = position; r < position + rows; ++r) {
        gather(r, s, x + r * l_.input_stride, h + r * l_.output_stride);
        if (!is_projected()) continue;
        std::memcpy(dh + r * l_.output_stride, dh_row(r), static_cast<std::size_t>(P) * sizeof(float));
        rnn_cells::lstm_unprojected(saved_at(s, r), u + r * l_.hidden_stride, H);
      }
    });
    for (std::int64_t n = 0; is_projected() && n < H; n += kPanel)
      each_block([&](RowTile tile, std::int64_t, std::int64_t position, std::int64_t own) {
        tile({dh_row(position), l_.output_stride, floats(l_.packed_hr) + n * P, P}, kNone, floats(l_.zeros), 0,
             du + own * l_.hidden_stride + n, l_.hidden_stride);
      });
    each_block([&](RowTile, std::int64_t rows, std::int64_t position, std::int64_t own) {
      for (std::int64_t r = 0; r < rows; ++r)
        cell(position + r, s, is_projected() ? du + (own + r) * l_.hidden_stride : dh_row(position + r),
             h + (position + r) * l_.output_stride, da + (position + r) * l_.gate_stride);
    });
    // dh of the step before; what gru's h' gives n has its own column of gradients.
    const std::int64_t shared = is_gru() ? 2 * H : gates;
    for (std::int64_t n = 0; n < P; n += kPanel) {
      const float* w = floats(l_.packed_hh) + n * gates;
      each_block([&](RowTile tile, std::int64_t, std::int64_t position, std::int64_t) {
        const float* row = da + position * l_.gate_stride;
        const RowProduct first{row, l_.gate_stride, w, shared}, second{row + 3 * H, l_.gate_stride, w + shared * kPanel, is_gru() ? H : 0};
        float* const to = dh_row(position) + n;
        tile(first, second, is_gru() ? to : floats(l_.zeros), is_gru() ? l_.output_stride : 0, to, l_.output_stride);
      });
    }
    for (std::int64_t n = 0; dx_ && n < I; n += kPanel)
      each_block([&](RowTile tile, std::int64_t rows, std::int64_t position, std::int64_t) {
        float part[kTileRows * kPanel];
        tile({da + position * l_.gate_stride, l_.gate_stride, floats(l_.packed_ih) + n * gates, gates}, kNone, floats(l_.zeros), 0, part,
             kPanel);
        for (std::int64_t r = 0; r < rows; ++r) {
          float* __restrict to = dx_ + row_of(position + r, s) * I + n;
          const float* __restrict from = part + r * kPanel;
          const std::int64_t width = std::min(kPanel, I - n);
          for (std::int64_t j = 0; j < width; ++j) to[j] = direction_ ? to[j] + from[j] : from[j];
        }
      });
  }

  const T* saved_at(std::int64_t s, std::int64_t position) const { return saved_ + (s * p_.batch + position) * rnn_saved(p_); }

  /// x and h' of one sequence as rows of the chunk; dy into its dh.
  void gather(std::int64_t position, std::int64_t s, float* x, float* h) const {
    const std::int64_t I = p_.input_of(layer_), P = p_.output(), row = row_of(position, s), column = direction_ * P;
    const T* __restrict from_x = input_ + row * I;
    for (std::int64_t j = 0; j < I; ++j) x[j] = to_float(from_x[j]);
    const std::int64_t state = place_ * p_.batch + order_.order[position];
    const T* h_before = s          ? output_ + (row + (direction_ ? 1 : -1)) * p_.width() + column
                        : args_.h0 ? static_cast<const T*>(args_.h0) + state * P
                                   : nullptr;
    for (std::int64_t j = 0; j < P; ++j) h[j] = h_before ? to_float(h_before[j]) : 0.0f;
    float* __restrict dh = dh_row(position);
    if (dy_) {
      const float* __restrict dy = dy_ + row * p_.width() + column;
      for (std::int64_t j = 0; j < P; ++j) dh[j] += dy[j];
    } else if (args_.dy) {
      const T* __restrict dy = static_cast<const T*>(args_.dy) + row * p_.width() + column;
      for (std::int64_t j = 0; j < P; ++j) dh[j] += to_float(dy[j]);
    }
  }

  void cell(std::int64_t position, std::int64_t s, float* du, const float* h_before, float* da) const {
    const std::int64_t H = p_.hidden();
    switch (p_.options.mode) {
      case RnnMode::lstm: {
        const T* before = s          ? saved_at(s - 1, position) + 4 * H
                          : args_.c0 ? static_cast<const T*>(args_.c0) + (place_ * p_.batch + order_.order[position]) * H
                                     : reinterpret_cast<const T*>(floats(l_.zeros));
        return rnn_cells::lstm_back(saved_at(s, position), before, du, dc_row(position), da, H);
      }
      case RnnMode::gru: return rnn_cells::gru_back(saved_at(s, position), h_before, du, da, H);
      default:
        return rnn_cells::rnn_back(output_ + row_of(position, s) * p_.width() + direction_ * H, du, da,
                                   p_.options.mode == RnnMode::rnn_relu, H);
    }
  }

  void add_weight_gradients(std::int64_t rows, int part) const {
    const std::int64_t I = p_.input_of(layer_), P = p_.output(), H = p_.hidden(), gates = p_.gates() * H;
    const float *da = floats(l_.chunk_gates), *x = floats(l_.chunk_x), *h = floats(l_.chunk_h);
    const auto add = [&](const float* a, std::int64_t a_stride, std::int64_t m, const float* b, std::int64_t b_stride, std::int64_t n,
                         std::size_t c) {
      add_outer({a, a_stride, m, b, b_stride, n, floats(c), b_stride}, rows, part, l_.threads);
    };
    add(da, l_.gate_stride, gates, x, l_.input_stride, I, l_.dw_ih);
    add(da, l_.gate_stride, is_gru() ? 2 * H : gates, h, l_.output_stride, P, l_.dw_hh);
    if (is_gru()) add(da + 3 * H, l_.gate_stride, H, h, l_.output_stride, P, l_.dw_hh_n);
    if (is_projected()) add(floats(l_.chunk_dh), l_.output_stride, P, floats(l_.chunk_u), l_.hidden_stride, H, l_.dw_hr);
    if (!p_.options.bias) return;
    const std::int64_t columns = l_.gate_columns(), first = columns * part / l_.threads, last = columns * (part + 1) / l_.threads;
    float* __restrict sum = floats(l_.db);
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* __restrict row = da + r * l_.gate_stride;
      for (std::int64_t j = first; j < last; ++j) sum[j] += row[j];
    }
  }

  void store_weight_gradients() const {
    const auto index = rnn_parameter_index(p_, layer_, direction_);
    const std::int64_t I = p_.input_of(layer_), P = p_.output(), H = p_.hidden(), gates = p_.gates() * H;
    const auto copy = [&](std::size_t from, std::int64_t stride, float* to, std::int64_t rows, std::int64_t columns) {
      for (std::int64_t r = 0; r < rows; ++r)
        std::memcpy(to + r * columns, floats(from) + r * stride, static_cast<std::size_t>(columns) * sizeof(float));
    };
    copy(l_.dw_ih, l_.input_stride, args_.gradients[index.weight_ih], gates, I);
    copy(l_.dw_hh, l_.output_stride, args_.gradients[index.weight_hh], is_gru() ? 2 * H : gates, P);
    if (is_gru()) copy(l_.dw_hh_n, l_.output_stride, args_.gradients[index.weight_hh] + 2 * H * P, H, P);
    if (is_projected()) copy(l_.dw_hr, l_.hidden_stride, args_.gradients[index.weight_hr], P, H);
    if (!p_.options.bias) return;
    copy(l_.db, 0, args_.gradients[index.bias_ih], 1, gates);
    copy(l_.db, 0, args_.gradients[index.bias_hh], 1, gates);
    if (is_gru()) std::memcpy(args_.gradients[index.bias_hh] + 2 * H, floats(l_.db) + 3 * H, static_cast<std::size_t>(H) * sizeof(float));
  }

  const RnnLayout& l_;
  const RnnProblem& p_;
  const RnnGradientArgs& args_;
  std::byte* workspace_;
  RnnOrder order_;
  const T *input_ = nullptr, *output_ = nullptr, *saved_ = nullptr;
  const float* dy_ = nullptr;  // of a layer below the last
  float* dx_ = nullptr;
  std::int64_t layer_ = 0, direction_ = 0, place_ = 0;
};

}  // namespace

void cpu_rnn_backward(const Prepared& prepared, const RnnGradientArgs& args, void* workspace) {
  with_float(args.problem.dtype,
             [&]<class T>() { Backward<T>(static_cast<const RnnLayout&>(prepared), args, static_cast<std::byte*>(workspace)).run(); });
}

}  // namespace epitaxy
