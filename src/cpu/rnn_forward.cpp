// The fast recurrent path, forward. A group of sequences runs through time on its own thread with no waiting: at each step one product of
// [x, h'] with both weight matrices, packed once and kept in the cache, then the gates. All arithmetic is fp32; h is rounded to the
// storage type at every step.
#include "cpu/rnn_cells.h"
#include "cpu/rnn_walk.h"
#include "epitaxy/dtype_switch.h"

namespace epitaxy {

using namespace rnn_tiles;

namespace {

template <class T>
class Forward : RnnWalk {
  using E = Operand<T>;

 public:
  Forward(const RnnLayout& layout, const RnnArgs& args, std::byte* workspace) : RnnWalk(layout, args.lengths, workspace), args_(args) {}

  void run() {
    const std::int64_t L = p_.options.layers, rows = p_.batch * p_.steps;
    reserve_ = static_cast<T*>(args_.reserve);
    T* const kept = reserve_ ? reserve_ + L * p_.directions() * rows * rnn_saved(p_) : nullptr;
    input_ = static_cast<const T*>(args_.x);
    for (layer_ = 0; layer_ < L; ++layer_) {
      output_ = layer_ + 1 == L ? static_cast<T*>(args_.y)
                : kept          ? kept + layer_ * rows * p_.width()
                                : reinterpret_cast<T*>(workspace_ + l_.between[layer_ % l_.betweens]);
      clear_beyond_lengths(output_, p_.width());
      each_direction([&] { run_direction(); });
      input_ = output_;
    }
  }

 private:
  E* operands(std::size_t offset) const { return reinterpret_cast<E*>(workspace_ + offset); }
  E* h_row(std::int64_t position) const { return operands(l_.h) + position * l_.output_stride; }

  void pack() {
    const auto index = rnn_parameter_index(p_, layer_, direction_);
    const std::int64_t I = p_.input_of(layer_), P = p_.output(), H = p_.hidden(), gates = p_.gates() * H;
    const auto weights = [&](int at) { return static_cast<const T*>(args_.parameters[at]); };
    pack_panels(weights(index.weight_ih), 1, I, I, gates, operands(l_.packed_ih));
    pack_panels(weights(index.weight_hh), 1, P, P, gates, operands(l_.packed_hh));
    if (index.weight_hr >= 0) pack_panels(weights(index.weight_hr), 1, H, H, P, operands(l_.packed_hr));
    // gru keeps what comes from h' apart; the others need the sum of the biases alone.
    float *from_x = floats(l_.bias), *from_h = from_x + round_up(gates, kPanel);
    std::fill_n(from_x, 2 * round_up(gates, kPanel), 0.0f);
    for (std::int64_t j = 0; j < gates && index.bias_ih >= 0; ++j) {
      from_x[j] = to_float(round<T>(static_cast<const float*>(args_.parameters[index.bias_ih])[j]));
      from_h[j] = to_float(round<T>(static_cast<const float*>(args_.parameters[index.bias_hh])[j]));
      if (!is_gru()) from_x[j] += from_h[j];
    }
  }

  void load_states() const {
    const std::int64_t P = p_.output(), H = p_.hidden();
    const T *h0 = static_cast<const T*>(args_.h0), *c0 = static_cast<const T*>(args_.c0);
    for (std::int64_t at = 0; at < p_.batch; ++at) {
      const std::int64_t state = state_of(at);
      put_row(h_row(at), h0 ? h0 + state * P : reinterpret_cast<const T*>(floats(l_.zeros)), P);
      for (std::int64_t j = 0; j < H; ++j) c_row(at)[j] = c0 ? to_float(c0[state * H + j]) : 0.0f;
    }
  }

  void store_states() const {
    const std::int64_t P = p_.output(), H = p_.hidden();
    T *h_n = static_cast<T*>(args_.h_n), *c_n = static_cast<T*>(args_.c_n);
    for (std::int64_t at = 0; at < p_.batch; ++at) {
      const std::int64_t state = state_of(at);
      for (std::int64_t j = 0; j < P; ++j) h_n[state * P + j] = round<T>(to_float(h_row(at)[j]));
      for (std::int64_t j = 0; c_n && j < H; ++j) c_n[state * H + j] = round<T>(c_row(at)[j]);
    }
  }

  void run_direction() {
    pack();
    load_states();
    each_group([&](std::int64_t group, std::byte* scratch) { run_group(group, scratch); });
    store_states();
  }

  void run_group(std::int64_t group, std::byte* scratch) const {
    const std::int64_t I = p_.input_of(layer_), P = p_.output(), H = p_.hidden(), gates = p_.gates() * H;
    E *x = reinterpret_cast<E*>(scratch + l_.scratch_x), *u_rows = reinterpret_cast<E*>(scratch + l_.scratch_rows);
    float* a = reinterpret_cast<float*>(scratch + l_.scratch_gates);
    float *a_h = reinterpret_cast<float*>(scratch + l_.scratch_gates_h), *u = reinterpret_cast<float*>(scratch + l_.scratch_u);
    const float *bias = floats(l_.bias), *bias_h = bias + round_up(gates, kPanel);
    constexpr RowProduct<E> kNone;
    for (std::int64_t s = 0; s < order_.longest; ++s) {
      each_block(group, s, [&](std::int64_t rows, std::int64_t position, std::int64_t own) {
        for (std::int64_t r = 0; r < rows; ++r) put_row(x + (own + r) * l_.input_stride, input_ + row_of(position + r, s) * I, I);
      });
      for (std::int64_t n = 0; n < gates; n += kPanel) {
        const E *w_ih = panel_at(operands(l_.packed_ih), n, I), *w_hh = panel_at(operands(l_.packed_hh), n, P);
        each_block(group, s, [&](std::int64_t rows, std::int64_t position, std::int64_t own) {
          const RowProduct<E> from_x{x + own * l_.input_stride, l_.input_stride, w_ih, I},
              from_h{h_row(position), l_.output_stride, w_hh, P};
          const RowTile<E> tile = row_tile_of<E>(rows);
          float* const c = a + own * l_.gate_stride + n;
          if (!is_gru()) return tile(from_x, from_h, bias + n, 0, c, l_.gate_stride);
          tile(from_x, kNone, bias + n, 0, c, l_.gate_stride);
          tile(from_h, kNone, bias_h + n, 0, a_h + own * l_.gate_stride + n, l_.gate_stride);
        });
      }
      each_block(group, s, [&](std::int64_t rows, std::int64_t position, std::int64_t own) {
        for (std::int64_t r = 0; r < rows; ++r)
          step(a + (own + r) * l_.gate_stride, a_h + (own + r) * l_.gate_stride, position + r, s, u + (own + r) * l_.hidden_stride);
      });
      if (is_projected()) {
        each_block(group, s, [&](std::int64_t rows, std::int64_t, std::int64_t own) {
          for (std::int64_t r = own; r < own + rows; ++r) put_row(u_rows + r * l_.hidden_stride, u + r * l_.hidden_stride, H);
        });
        for (std::int64_t n = 0; n < P; n += kPanel)
          each_block(group, s, [&](std::int64_t rows, std::int64_t, std::int64_t own) {
            row_tile_of<E>(rows)({u_rows + own * l_.hidden_stride, l_.hidden_stride, panel_at(operands(l_.packed_hr), n, H), H}, kNone,
                                 floats(l_.zeros), 0, a + own * l_.gate_stride + n, l_.gate_stride);
          });
      }
      each_block(group, s, [&](std::int64_t rows, std::int64_t position, std::int64_t own) {
        for (std::int64_t r = 0; r < rows; ++r) {
          const float* from = is_projected() ? a + (own + r) * l_.gate_stride : u + (own + r) * l_.hidden_stride;
          T* const to = output_ + row_of(position + r, s) * p_.width() + direction_ * P;
          convert_row(to, from, P);
          put_row(h_row(position + r), to, P);
        }
      });
    }
  }

  void step(const float* a, const float* a_h, std::int64_t position, std::int64_t s, float* u) const {
    const std::int64_t H = p_.hidden();
    T* const saved = reserve_ ? reserve_ + saved_at(position, s) : nullptr;
    switch (p_.options.mode) {
      case RnnMode::lstm:
        return saved ? rnn_cells::lstm<true, T>(a, c_row(position), u, saved, H)
                     : rnn_cells::lstm<false, T>(a, c_row(position), u, saved, H);
      case RnnMode::gru:
        return saved ? rnn_cells::gru<true, T>(a, a_h, h_row(position), u, saved, H)
                     : rnn_cells::gru<false, T>(a, a_h, h_row(position), u, saved, H);
      default: return rnn_cells::rnn(a, u, p_.options.mode == RnnMode::rnn_relu, H);
    }
  }

  const RnnArgs& args_;
  const T* input_ = nullptr;
  T *output_ = nullptr, *reserve_ = nullptr;
};

}  // namespace

void cpu_rnn_forward(const Prepared& prepared, const RnnArgs& args, void* workspace) {
  with_float(args.problem.dtype,
             [&]<class T>() { Forward<T>(static_cast<const RnnLayout&>(prepared), args, static_cast<std::byte*>(workspace)).run(); });
}

}  // namespace epitaxy
