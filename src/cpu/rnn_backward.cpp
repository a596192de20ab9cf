// The fast recurrent path, backward. Time is walked in chunks: in a chunk each group of sequences goes back on its own thread and leaves
// the gradients of its pre-activations, its inputs and its states as rows; then all threads together add the outer products of those rows
// to the weight gradients, in the order of the rows, so that bits do not depend on the number of threads.
#include "cpu/rnn_cells.h"
#include "cpu/rnn_walk.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

using namespace rnn_tiles;

namespace {

template <class T>
class Backward : RnnWalk {
  using E = Operand<T>;

 public:
  Backward(const RnnLayout& layout, const RnnGradientArgs& args, std::byte* workspace)
      : RnnWalk(layout, args.lengths, workspace), args_(args), reserve_(static_cast<const T*>(args.reserve)) {}

  void run() {
    const std::int64_t L = p_.options.layers, rows = p_.batch * p_.steps;
    const T* const kept = reserve_ + L * p_.directions() * rows * rnn_saved(p_);
    for (layer_ = L - 1; layer_ >= 0; --layer_) {
      input_ = layer_ ? kept + (layer_ - 1) * rows * p_.width() : static_cast<const T*>(args_.x);
      output_ = layer_ + 1 == L ? static_cast<const T*>(args_.y) : kept + layer_ * rows * p_.width();
      dy_ = layer_ + 1 == L ? nullptr : floats(l_.between[(layer_ + 1) % l_.betweens]);
      choose_dx();
      each_direction([&] { run_direction(); });
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
  E* operands(std::size_t offset) const { return reinterpret_cast<E*>(workspace_ + offset); }
  float* dh_row(std::int64_t position) const { return floats(l_.h) + position * l_.output_stride; }

  /// Where the gradient of this layer's input goes, fp32; zeros beyond the lengths.
  void choose_dx() {
    dx_ = nullptr;
    if (layer_ == 0 && !args_.dx) return;
    dx_ = layer_ == 0 && p_.dtype == DType::fp32 ? static_cast<float*>(args_.dx) : floats(l_.between[layer_ % l_.betweens]);
    clear_beyond_lengths(dx_, p_.input_of(layer_));
  }

  void pack() {
    const auto index = rnn_parameter_index(p_, layer_, direction_);
    const std::int64_t I = p_.input_of(layer_), P = p_.output(), H = p_.hidden(), gates = p_.gates() * H;
    const auto weights = [&](int at) { return static_cast<const T*>(args_.parameters[at]); };
    if (dx_) pack_panels(weights(index.weight_ih), I, 1, gates, I, operands(l_.packed_ih));
    pack_panels(weights(index.weight_hh), P, 1, gates, P, operands(l_.packed_hh));
    if (is_projected()) pack_panels(weights(index.weight_hr), H, 1, P, H, operands(l_.packed_hr));
  }

  void load_states() const {
    const std::int64_t P = p_.output(), H = p_.hidden();
    const T *dh_n = static_cast<const T*>(args_.dh_n), *dc_n = static_cast<const T*>(args_.dc_n);
    for (std::int64_t at = 0; at < p_.batch; ++at) {
      const std::int64_t state = state_of(at);
      for (std::int64_t j = 0; j < P; ++j) dh_row(at)[j] = dh_n ? to_float(dh_n[state * P + j]) : 0.0f;
      for (std::int64_t j = 0; j < H; ++j) c_row(at)[j] = dc_n ? to_float(dc_n[state * H + j]) : 0.0f;
    }
  }

  void store_states() const {
    const std::int64_t P = p_.output(), H = p_.hidden();
    T *dh0 = static_cast<T*>(args_.dh0), *dc0 = static_cast<T*>(args_.dc0);
    for (std::int64_t at = 0; at < p_.batch; ++at) {
      const std::int64_t state = state_of(at);
      for (std::int64_t j = 0; dh0 && j < P; ++j) dh0[state * P + j] = round<T>(dh_row(at)[j]);
      for (std::int64_t j = 0; dc0 && j < H; ++j) dc0[state * H + j] = round<T>(c_row(at)[j]);
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
      for (std::int64_t s = first; s < last; ++s) rows += rows_at(s);
      each_group([&](std::int64_t group, std::byte* scratch) {
        std::int64_t base = rows;
        for (std::int64_t s = last - 1; s >= first; --s) {
          base -= rows_at(s);
          step(group, s, base, scratch);
        }
      });
      parallel_parts(l_.threads, [&](int thread) { add_weight_gradients(rows, thread); });
    }
    store_weight_gradients();
    store_states();
  }

  /// Rows of a chunk that step s takes.
  std::int64_t rows_at(std::int64_t s) const { return round_up(order_.active[s], kPair<E>); }

  /// One step back of one group; its rows in the chunk start at `base`.
  void step(std::int64_t group, std::int64_t s, std::int64_t base, std::byte* scratch) const {
    const std::int64_t I = p_.input_of(layer_), P = p_.output(), H = p_.hidden(), gates = p_.gates() * H, columns = l_.gate_columns();
    float* const du = reinterpret_cast<float*>(scratch + l_.scratch_u);
    E* const operand = reinterpret_cast<E*>(scratch + l_.scratch_rows);
    const auto du_row = [&](std::int64_t own) { return du + own * l_.hidden_stride; };
    // Gradients of the pre-activations in fp32, and as an operand: fp32 ones are written where the outer products want them.
    E* const chunk = operands(l_.chunk_gates) + base * l_.gate_stride;
    const auto da_row = [&]([[maybe_unused]] std::int64_t position, [[maybe_unused]] std::int64_t own) {
      if constexpr (kPair<E> == 1)
        return chunk + position * l_.gate_stride;
      else
        return reinterpret_cast<float*>(scratch + l_.scratch_gates) + own * l_.gate_stride;
    };
    const auto gate_rows = [&]([[maybe_unused]] std::int64_t position, [[maybe_unused]] std::int64_t own) -> const E* {
      return kPair<E> == 1 ? chunk + position * l_.gate_stride : operand + own * l_.gate_stride;
    };
    constexpr RowProduct<E> kNone;
    each_block(group, s, [&](std::int64_t rows, std::int64_t position, std::int64_t own) {
      const std::int64_t row = base + position;
      put_rows(operands(l_.chunk_x), l_.input_stride, row, rows, I, [&](std::int64_t r) { return input_ + row_of(position + r, s) * I; });
      put_rows(operands(l_.chunk_h), l_.output_stride, row, rows, P, [&](std::int64_t r) { return h_before(position + r, s); });
      for (std::int64_t r = 0; r < rows; ++r) add_dy(position + r, s);
      if (!is_projected()) return;
      put_rows(operands(l_.chunk_dh), l_.output_stride, row, rows, P, [&](std::int64_t r) { return dh_row(position + r); });
      for (std::int64_t r = 0; r < rows; ++r) {
        rnn_cells::lstm_unprojected(saved(position + r, s), du_row(own + r), H);
        put_row(operand + (own + r) * l_.output_stride, dh_row(position + r), P);
      }
      put_rows(operands(l_.chunk_u), l_.hidden_stride, row, rows, H, [&](std::int64_t r) { return du_row(own + r); });
    });
    for (std::int64_t n = 0; is_projected() && n < H; n += kPanel)
      each_block(group, s, [&](std::int64_t rows, std::int64_t, std::int64_t own) {
        row_tile_of<E>(rows)({operand + own * l_.output_stride, l_.output_stride, panel_at(operands(l_.packed_hr), n, P), P}, kNone,
                             floats(l_.zeros), 0, du_row(own) + n, l_.hidden_stride);
      });
    each_block(group, s, [&](std::int64_t rows, std::int64_t position, std::int64_t own) {
      for (std::int64_t r = 0; r < rows; ++r) {
        cell(position + r, s, is_projected() ? du_row(own + r) : dh_row(position + r), da_row(position + r, own + r));
        if constexpr (kPair < E >> 1) put_row(operand + (own + r) * l_.gate_stride, da_row(position + r, own + r), columns);
      }
      if constexpr (kPair < E >> 1)
        put_rows(chunk, l_.gate_stride, position, rows, columns, [&](std::int64_t r) { return da_row(position + r, own + r); });
    });
    // dh of the step before; what gru's h' gives n has its own column of gradients.
    const std::int64_t shared = is_gru() ? 2 * H : gates;
    for (std::int64_t n = 0; n < P; n += kPanel) {
      const E* w = panel_at(operands(l_.packed_hh), n, gates);
      each_block(group, s, [&](std::int64_t rows, std::int64_t position, std::int64_t own) {
        const E* row = gate_rows(position, own);
        const RowProduct<E> first{row, l_.gate_stride, w, shared},
            second{row + 3 * H, l_.gate_stride, w + shared * kPanel, is_gru() ? H : 0};
        float* const to = dh_row(position) + n;
        row_tile_of<E>(rows)(first, second, is_gru() ? to : floats(l_.zeros), is_gru() ? l_.output_stride : 0, to, l_.output_stride);
      });
    }
    for (std::int64_t n = 0; dx_ && n < I; n += kPanel)
      each_block(group, s, [&](std::int64_t rows, std::int64_t position, std::int64_t own) {
        float part[kTileRows * kPanel];
        row_tile_of<E>(rows)({gate_rows(position, own), l_.gate_stride, panel_at(operands(l_.packed_ih), n, gates), gates}, kNone,
                             floats(l_.zeros), 0, part, kPanel);
        for (std::int64_t r = 0; r < rows; ++r) {
          float* __restrict to = dx_ + row_of(position + r, s) * I + n;
          const float* __restrict from = part + r * kPanel;
          const std::int64_t width = std::min(kPanel, I - n);
          for (std::int64_t j = 0; j < width; ++j) to[j] = direction_ ? to[j] + from[j] : from[j];
        }
      });
  }

  const T* saved(std::int64_t position, std::int64_t s) const { return reserve_ + saved_at(position, s); }

  const T* h_before(std::int64_t position, std::int64_t s) const {
    if (s) return output_ + (row_of(position, s) + (direction_ ? 1 : -1)) * p_.width() + direction_ * p_.output();
    if (!args_.h0) return reinterpret_cast<const T*>(floats(l_.zeros));
    return static_cast<const T*>(args_.h0) + state_of(position) * p_.output();
  }

  void add_dy(std::int64_t position, std::int64_t s) const {
    const std::int64_t P = p_.output(), at = row_of(position, s) * p_.width() + direction_ * P;
    float* __restrict dh = dh_row(position);
    if (dy_) {
      const float* __restrict dy = dy_ + at;
      for (std::int64_t j = 0; j < P; ++j) dh[j] += dy[j];
    } else if (args_.dy) {
      const T* __restrict dy = static_cast<const T*>(args_.dy) + at;
      for (std::int64_t j = 0; j < P; ++j) dh[j] += to_float(dy[j]);
    }
  }

  void cell(std::int64_t position, std::int64_t s, float* du, float* da) const {
    const std::int64_t H = p_.hidden();
    switch (p_.options.mode) {
      case RnnMode::lstm: {
        const T* before = s          ? saved(position, s - 1) + 4 * H
                          : args_.c0 ? static_cast<const T*>(args_.c0) + state_of(position) * H
                                     : reinterpret_cast<const T*>(floats(l_.zeros));
        return rnn_cells::lstm_back(saved(position, s), before, du, c_row(position), da, H);
      }
      case RnnMode::gru: return rnn_cells::gru_back(saved(position, s), h_before(position, s), du, da, H);
      default:
        return rnn_cells::rnn_back(output_ + row_of(position, s) * p_.width() + direction_ * H, du, da,
                                   p_.options.mode == RnnMode::rnn_relu, H);
    }
  }

  void add_weight_gradients(std::int64_t rows, int part) const {
    const std::int64_t I = p_.input_of(layer_), P = p_.output(), H = p_.hidden(), gates = p_.gates() * H;
    const E *da = operands(l_.chunk_gates), *x = operands(l_.chunk_x), *h = operands(l_.chunk_h);
    const auto add = [&](const E* a, std::int64_t a_stride, std::int64_t m, const E* b, std::int64_t b_stride, std::int64_t n,
                         std::size_t c) {
      add_outer<E>({a, a_stride, m, b, b_stride, n, floats(c), b_stride}, rows, part, l_.threads);
    };
    add(da, l_.gate_stride, gates, x, l_.input_stride, I, l_.dw_ih);
    add(da, l_.gate_stride, is_gru() ? 2 * H : gates, h, l_.output_stride, P, l_.dw_hh);
    if (is_gru()) add(da + 3 * H * kPair<E>, l_.gate_stride, H, h, l_.output_stride, P, l_.dw_hh_n);
    if (is_projected()) add(operands(l_.chunk_dh), l_.output_stride, P, operands(l_.chunk_u), l_.hidden_stride, H, l_.dw_hr);
    if (!p_.options.bias) return;
    const std::int64_t columns = l_.gate_columns(), first = columns * part / l_.threads, last = columns * (part + 1) / l_.threads;
    float* __restrict sum = floats(l_.db);
    for (std::int64_t r = 0; r < rows; r += kPair<E>) {
      const E* __restrict row = da + r * l_.gate_stride;
      for (std::int64_t j = first; j < last; ++j)
        sum[j] += kPair<E> == 1 ? to_float(row[j]) : to_float(row[2 * j]) + to_float(row[2 * j + 1]);
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

  const RnnGradientArgs& args_;
  const T* reserve_;
  const T *input_ = nullptr, *output_ = nullptr;
  const float* dy_ = nullptr;  // of a layer below the last
  float* dx_ = nullptr;
};

}  // namespace

void cpu_rnn_backward(const Prepared& prepared, const RnnGradientArgs& args, void* workspace) {
  with_float(args.problem.dtype,
             [&]<class T>() { Backward<T>(static_cast<const RnnLayout&>(prepared), args, static_cast<std::byte*>(workspace)).run(); });
}

}  // namespace epitaxy
