// Recurrent networks in plain loops and double, by the equations of ops/rnn.h. h is rounded to the storage type at every step; c is not.
// The backward pass recomputes the forward one, so it needs no reserve.
#include "kernels/rnn.h"

#include <cmath>
#include <vector>

#include "epitaxy/dtype_switch.h"

namespace epitaxy {

namespace {

using Doubles = std::vector<double>;

Doubles load(const void* from, std::int64_t count, DType dtype) {
  Doubles result(static_cast<std::size_t>(count), 0.0);
  if (from)
    with_float(dtype, [&]<class T>() {
      for (std::int64_t i = 0; i < count; ++i) result[i] = to_float(static_cast<const T*>(from)[i]);
    });
  return result;
}

void store(const Doubles& from, void* to, DType dtype) {
  if (to)
    with_float(dtype, [&]<class T>() {
      for (std::size_t i = 0; i < from.size(); ++i) static_cast<T*>(to)[i] = round<T>(static_cast<float>(from[i]));
    });
}

double rounded(double value, DType dtype) {
  double result = 0;
  with_float(dtype, [&]<class T>() { result = to_float(round<T>(static_cast<float>(value))); });
  return result;
}

double logistic(double a) { return 1 / (1 + std::exp(-a)); }

/// y += W x and x' += W' y', W [rows, columns].
void add_product(const Doubles& w, const double* x, double* y, std::int64_t rows, std::int64_t columns) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) y[r] += w[r * columns + c] * x[c];
}
void add_transposed(const Doubles& w, const double* dy, double* dx, std::int64_t rows, std::int64_t columns) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) dx[c] += w[r * columns + c] * dy[r];
}
/// dW += dy x'.
void add_outer(Doubles& dw, const double* dy, const double* x, std::int64_t rows, std::int64_t columns) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) dw[r * columns + c] += dy[r] * x[c];
}

/// The parameters of one direction of one layer, or their gradients; empty where there are none.
struct Weights {
  Doubles ih, hh, bias_ih, bias_hh, hr;
};

/// What a direction's forward pass computes at every [n, t].
struct Trace {
  Doubles gates;        // [N,T,4 H]: activated; gru: r, z, n and W_hn h' + b_hn
  Doubles cells;        // [N,T,H]
  Doubles unprojected;  // [N,T,H]: o tanh(c)
  Doubles outputs;      // [N,T,P]: h
};

class Network {
 public:
  Network(const RnnProblem& problem, const std::int32_t* lengths, const void* x, const void* h0, const void* c0,
          const void* const* parameters)
      : p_(problem),
        lengths_(lengths),
        h0_(load(h0, p_.options.layers * p_.directions() * p_.batch * p_.output(), p_.dtype)),
        c0_(load(c0, p_.options.layers * p_.directions() * p_.batch * p_.hidden(), p_.dtype)) {
    inputs_.push_back(load(x, p_.batch * p_.steps * p_.input, p_.dtype));
    for (std::int64_t layer = 0; layer < p_.options.layers; ++layer) {
      Doubles merged(static_cast<std::size_t>(p_.batch * p_.steps * p_.width()), 0.0);
      for (std::int64_t direction = 0; direction < p_.directions(); ++direction) {
        weights_.push_back(read_weights(layer, direction, parameters));
        traces_.push_back(forward(layer, direction));
        for (std::int64_t row = 0; row < p_.batch * p_.steps; ++row)
          for (std::int64_t j = 0; j < p_.output(); ++j)
            merged[row * p_.width() + direction * p_.output() + j] = traces_.back().outputs[row * p_.output() + j];
      }
      inputs_.push_back(std::move(merged));
    }
  }

  void store_results(const RnnArgs& args) const {
    store(inputs_.back(), args.y, p_.dtype);
    Doubles h_n, c_n;
    for (std::size_t place = 0; place < traces_.size(); ++place)
      for (std::int64_t n = 0; n < p_.batch; ++n) {
        const std::int64_t row = n * p_.steps + (place % p_.directions() ? 0 : length(n) - 1);
        const Trace& trace = traces_[place];
        h_n.insert(h_n.end(), trace.outputs.begin() + row * p_.output(), trace.outputs.begin() + (row + 1) * p_.output());
        c_n.insert(c_n.end(), trace.cells.begin() + row * p_.hidden(), trace.cells.begin() + (row + 1) * p_.hidden());
      }
    store(h_n, args.h_n, p_.dtype);
    store(c_n, args.c_n, p_.dtype);
  }

  void backward(const RnnGradientArgs& args) const {
    Doubles dy = load(args.dy, p_.batch * p_.steps * p_.width(), p_.dtype);
    Doubles dh = load(args.dh_n, static_cast<std::int64_t>(h0_.size()), p_.dtype),
            dc = load(args.dc_n, static_cast<std::int64_t>(c0_.size()), p_.dtype);
    for (std::int64_t layer = p_.options.layers - 1; layer >= 0; --layer) {
      Doubles dx(inputs_[layer].size(), 0.0);
      for (std::int64_t direction = 0; direction < p_.directions(); ++direction) {
        const Weights gradient = backward(layer, direction, dy, dx, dh, dc);
        const auto index = rnn_parameter_index(p_, layer, direction);
        const auto put = [&](int at, const Doubles& values) {
          if (at >= 0) store(values, args.gradients[at], DType::fp32);
        };
        put(index.weight_ih, gradient.ih), put(index.weight_hh, gradient.hh), put(index.weight_hr, gradient.hr);
        put(index.bias_ih, gradient.bias_ih), put(index.bias_hh, gradient.bias_hh);
      }
      dy = std::move(dx);
    }
    store(dy, args.dx, p_.dtype);
    store(dh, args.dh0, p_.dtype);
    store(dc, args.dc0, p_.dtype);
  }

 private:
  std::int64_t length(std::int64_t n) const { return lengths_ ? lengths_[n] : p_.steps; }
  std::size_t place(std::int64_t layer, std::int64_t direction) const {
    return static_cast<std::size_t>(layer * p_.directions() + direction);
  }
  std::int64_t rows() const { return p_.gates() * p_.hidden(); }

  Weights read_weights(std::int64_t layer, std::int64_t direction, const void* const* parameters) const {
    const auto index = rnn_parameter_index(p_, layer, direction);
    const auto bias = [&](int at) {
      Doubles result = load(at >= 0 ? parameters[at] : nullptr, rows(), DType::fp32);
      for (double& value : result) value = rounded(value, p_.dtype);
      return result;
    };
    return {load(parameters[index.weight_ih], rows() * p_.input_of(layer), p_.dtype),
            load(parameters[index.weight_hh], rows() * p_.output(), p_.dtype), bias(index.bias_ih), bias(index.bias_hh),
            p_.options.projection ? load(parameters[index.weight_hr], p_.output() * p_.hidden(), p_.dtype) : Doubles()};
  }

  Trace forward(std::int64_t layer, std::int64_t direction) const {
    const std::int64_t H = p_.hidden(), P = p_.output(), I = p_.input_of(layer), cells = p_.batch * p_.steps;
    const Weights& w = weights_[place(layer, direction)];
    Trace trace{Doubles(static_cast<std::size_t>(cells * 4 * H)), Doubles(static_cast<std::size_t>(cells * H)),
                Doubles(static_cast<std::size_t>(cells * H)), Doubles(static_cast<std::size_t>(cells * P))};
    for (std::int64_t n = 0; n < p_.batch; ++n) {
      const std::int64_t state = static_cast<std::int64_t>(place(layer, direction)) * p_.batch + n;
      const double *h = &h0_[state * P], *c = &c0_[state * H];
      for (std::int64_t s = 0; s < length(n); ++s) {
        const std::int64_t row = n * p_.steps + (direction ? length(n) - 1 - s : s);
        Doubles from_x = w.bias_ih, from_h = w.bias_hh;
        add_product(w.ih, &inputs_[layer][row * I], from_x.data(), rows(), I);
        add_product(w.hh, h, from_h.data(), rows(), P);
        double *gate = &trace.gates[row * 4 * H], *cell = &trace.cells[row * H], *u = &trace.unprojected[row * H];
        for (std::int64_t j = 0; j < H; ++j) step(from_x, from_h, j, h, c, gate, cell, u);
        double* out = &trace.outputs[row * P];
        if (p_.options.projection) {
          add_product(w.hr, u, out, P, H);
        } else {
          for (std::int64_t j = 0; j < H; ++j) out[j] = u[j];
        }
        for (std::int64_t j = 0; j < P; ++j) out[j] = rounded(out[j], p_.dtype);
        h = out, c = cell;
      }
    }
    return trace;
  }

  /// One unit, one step: pre-activations -> gates, cell, output.
  void step(const Doubles& x, const Doubles& h, std::int64_t j, const double* h_before, const double* c_before, double* gate, double* cell,
            double* u) const {
    const std::int64_t H = p_.hidden();
    const auto sum = [&](std::int64_t g) { return x[g * H + j] + h[g * H + j]; };
    switch (p_.options.mode) {
      case RnnMode::rnn_tanh: u[j] = std::tanh(sum(0)); break;
      case RnnMode::rnn_relu: u[j] = sum(0) <= 0 ? 0 : sum(0); break;  // a NaN stays one
      case RnnMode::lstm: {
        const double i = logistic(sum(0)), f = logistic(sum(1)), g = std::tanh(sum(2)), o = logistic(sum(3));
        gate[j] = i, gate[H + j] = f, gate[2 * H + j] = g, gate[3 * H + j] = o;
        cell[j] = f * c_before[j] + i * g;
        u[j] = o * std::tanh(cell[j]);
        break;
      }
      case RnnMode::gru: {
        const double r = logistic(sum(0)), z = logistic(sum(1)), n = std::tanh(x[2 * H + j] + r * h[2 * H + j]);
        gate[j] = r, gate[H + j] = z, gate[2 * H + j] = n, gate[3 * H + j] = h[2 * H + j];
        u[j] = (1 - z) * n + z * h_before[j];
        break;
      }
    }
  }

  /// Adds this direction's part to dx; turns its dh and dc from those of the last states into those of the initial ones.
  Weights backward(std::int64_t layer, std::int64_t direction, const Doubles& dy, Doubles& dx, Doubles& dh_all, Doubles& dc_all) const {
    const std::int64_t H = p_.hidden(), P = p_.output(), I = p_.input_of(layer);
    const Weights& w = weights_[place(layer, direction)];
    const Trace& trace = traces_[place(layer, direction)];
    Weights dw{Doubles(w.ih.size()), Doubles(w.hh.size()), Doubles(w.bias_ih.size()), Doubles(w.bias_hh.size()), Doubles(w.hr.size())};
    for (std::int64_t n = 0; n < p_.batch; ++n) {
      const std::int64_t state = static_cast<std::int64_t>(place(layer, direction)) * p_.batch + n;
      double *dh = &dh_all[state * P], *dc = &dc_all[state * H];
      for (std::int64_t s = length(n) - 1; s >= 0; --s) {
        const std::int64_t row = n * p_.steps + (direction ? length(n) - 1 - s : s), before = row + (direction ? 1 : -1);
        const double* h_before = s ? &trace.outputs[before * P] : &h0_[state * P];
        const double* c_before = s ? &trace.cells[before * H] : &c0_[state * H];
        for (std::int64_t j = 0; j < P; ++j) dh[j] += dy[row * p_.width() + direction * P + j];
        Doubles du(static_cast<std::size_t>(H), 0.0), da(static_cast<std::size_t>(rows())), db(static_cast<std::size_t>(rows()));
        if (p_.options.projection) {
          add_outer(dw.hr, dh, &trace.unprojected[row * H], P, H);
          add_transposed(w.hr, dh, du.data(), P, H);
        } else {
          for (std::int64_t j = 0; j < H; ++j) du[j] = dh[j];
        }
        for (std::int64_t j = 0; j < P; ++j) dh[j] = 0;
        for (std::int64_t j = 0; j < H; ++j)
          step_back(j, du[j], &trace.gates[row * 4 * H], trace.cells[row * H + j], trace.outputs[row * P + j % P], h_before, c_before, da,
                    db, dh, dc);
        add_outer(dw.ih, da.data(), &inputs_[layer][row * I], rows(), I);
        add_outer(dw.hh, db.data(), h_before, rows(), P);
        for (std::int64_t r = 0; r < rows(); ++r) dw.bias_ih[r] += da[r], dw.bias_hh[r] += db[r];
        add_transposed(w.ih, da.data(), &dx[row * I], rows(), I);
        add_transposed(w.hh, db.data(), dh, rows(), P);
      }
    }
    return dw;
  }

  /// One unit, one step: du -> gradients of the pre-activations from x (da) and from h' (db); dh and dc of the step before.
  void step_back(std::int64_t j, double du, const double* gate, double cell, double h, const double* h_before, const double* c_before,
                 Doubles& da, Doubles& db, double* dh, double* dc) const {
    const std::int64_t H = p_.hidden();
    switch (p_.options.mode) {
      case RnnMode::rnn_tanh: da[j] = db[j] = du * (1 - h * h); break;
      case RnnMode::rnn_relu: da[j] = db[j] = h > 0 ? du : 0; break;
      case RnnMode::lstm: {
        const double i = gate[j], f = gate[H + j], g = gate[2 * H + j], o = gate[3 * H + j], t = std::tanh(cell);
        const double dcell = dc[j] + du * o * (1 - t * t);
        da[j] = db[j] = dcell * g * i * (1 - i);
        da[H + j] = db[H + j] = dcell * c_before[j] * f * (1 - f);
        da[2 * H + j] = db[2 * H + j] = dcell * i * (1 - g * g);
        da[3 * H + j] = db[3 * H + j] = du * t * o * (1 - o);
        dc[j] = dcell * f;
        break;
      }
      case RnnMode::gru: {
        const double r = gate[j], z = gate[H + j], n = gate[2 * H + j], from_h = gate[3 * H + j];
        const double dn = du * (1 - z) * (1 - n * n);
        da[j] = db[j] = dn * from_h * r * (1 - r);
        da[H + j] = db[H + j] = du * (h_before[j] - n) * z * (1 - z);
        da[2 * H + j] = dn, db[2 * H + j] = dn * r;
        dh[j] += du * z;
        break;
      }
    }
  }

  RnnProblem p_;
  const std::int32_t* lengths_;
  Doubles h0_, c0_;
  std::vector<Doubles> inputs_;  // of every layer [N,T,I], and the last one's output
  std::vector<Weights> weights_;
  std::vector<Trace> traces_;
};

}  // namespace

template <>
void rnn_forward<Reference>(const RnnArgs& args, Stream) {
  Network(args.problem, args.lengths, args.x, args.h0, args.c0, args.parameters).store_results(args);
}

template <>
void rnn_backward<Reference>(const RnnGradientArgs& args, Stream) {
  Network(args.problem, args.lengths, args.x, args.h0, args.c0, args.parameters).backward(args);
}

}  // namespace epitaxy
