// The element-wise part of one step of one sequence: pre-activations to states, and back. Loops without branches, for the vectoriser.
#pragma once

#include <cstdint>

#include "cpu/vector_math.h"
#include "epitaxy/dtype.h"

namespace epitaxy::rnn_cells {

/// Pre-activations [4 H] -> cell, u = o tanh(c); `saved` [5 H]: i, f, g, o, c.
template <bool save, class T>
void lstm(const float* a, float* cell, float* out, T* saved, std::int64_t hidden) {
  const float* __restrict ai = a, * __restrict af = a + hidden, * __restrict ag = a + 2 * hidden, * __restrict ao = a + 3 * hidden;
  float* __restrict c = cell, * __restrict u = out;
  T* __restrict s = saved;
#pragma GCC ivdep
  for (std::int64_t j = 0; j < hidden; ++j) {
    const float i = fast_sigmoid(ai[j]), f = fast_sigmoid(af[j]), g = fast_tanh(ag[j]), o = fast_sigmoid(ao[j]);
    const float next = f * c[j] + i * g;
    c[j] = next;
    u[j] = o * fast_tanh(next);
    if constexpr (save) {
      s[j] = round<T>(i), s[hidden + j] = round<T>(f), s[2 * hidden + j] = round<T>(g), s[3 * hidden + j] = round<T>(o);
      s[4 * hidden + j] = round<T>(next);
    }
  }
}

/// du and dc [H] -> da [4 H]; dc becomes the gradient of the cell before.
template <class T>
void lstm_back(const T* saved, const T* cell_before, const float* du_in, float* dc_in, float* da, std::int64_t hidden) {
  const T* __restrict s = saved, * __restrict before = cell_before;
  const float* __restrict du = du_in;
  float* __restrict dc = dc_in, * __restrict d = da;
#pragma GCC ivdep
  for (std::int64_t j = 0; j < hidden; ++j) {
    const float i = to_float(s[j]), f = to_float(s[hidden + j]), g = to_float(s[2 * hidden + j]), o = to_float(s[3 * hidden + j]);
    const float t = fast_tanh(to_float(s[4 * hidden + j])), dcell = dc[j] + du[j] * o * (1.0f - t * t);
    d[j] = dcell * g * i * (1.0f - i);
    d[hidden + j] = dcell * to_float(before[j]) * f * (1.0f - f);
    d[2 * hidden + j] = dcell * i * (1.0f - g * g);
    d[3 * hidden + j] = du[j] * t * o * (1.0f - o);
    dc[j] = dcell * f;
  }
}

/// u = o tanh(c) again, for the gradient of a projection.
template <class T>
void lstm_unprojected(const T* saved, float* out, std::int64_t hidden) {
  const T* __restrict s = saved;
  float* __restrict u = out;
#pragma GCC ivdep
  for (std::int64_t j = 0; j < hidden; ++j) u[j] = to_float(s[3 * hidden + j]) * fast_tanh(to_float(s[4 * hidden + j]));
}

/// Pre-activations from x [3 H] and from h' [3 H] -> u = h; `saved` [4 H]: r, z, n, what h' gives n.
template <bool save, class T, class Before>
void gru(const float* from_x, const float* from_h, const Before* h_before, float* out, T* saved, std::int64_t hidden) {
  const float* __restrict x = from_x, * __restrict y = from_h;
  const Before* __restrict before = h_before;
  float* __restrict u = out;
  T* __restrict s = saved;
#pragma GCC ivdep
  for (std::int64_t j = 0; j < hidden; ++j) {
    const float r = fast_sigmoid(x[j] + y[j]), z = fast_sigmoid(x[hidden + j] + y[hidden + j]), from = y[2 * hidden + j];
    const float n = fast_tanh(x[2 * hidden + j] + r * from);
    u[j] = (1.0f - z) * n + z * to_float(before[j]);
    if constexpr (save)
      s[j] = round<T>(r), s[hidden + j] = round<T>(z), s[2 * hidden + j] = round<T>(n), s[3 * hidden + j] = round<T>(from);
  }
}

/// dh [H] -> da [4 H]: of r, z, n as x gives it, n as h' gives it; dh becomes what passes by h' itself.
template <class T>
void gru_back(const T* saved, const T* h_before, float* dh_in, float* da, std::int64_t hidden) {
  const T* __restrict s = saved, * __restrict before = h_before;
  float* __restrict dh = dh_in, * __restrict d = da;
#pragma GCC ivdep
  for (std::int64_t j = 0; j < hidden; ++j) {
    const float r = to_float(s[j]), z = to_float(s[hidden + j]), n = to_float(s[2 * hidden + j]), from = to_float(s[3 * hidden + j]);
    const float dn = dh[j] * (1.0f - z) * (1.0f - n * n);
    d[j] = dn * from * r * (1.0f - r);
    d[hidden + j] = dh[j] * (to_float(before[j]) - n) * z * (1.0f - z);
    d[2 * hidden + j] = dn;
    d[3 * hidden + j] = dn * r;
    dh[j] = dh[j] * z;
  }
}

inline void rnn(const float* a, float* out, bool relu, std::int64_t hidden) {
  const float* __restrict x = a;
  float* __restrict u = out;
  if (relu) {
    for (std::int64_t j = 0; j < hidden; ++j) u[j] = x[j] <= 0.0f ? 0.0f : x[j];  // a NaN stays one
  } else {
    for (std::int64_t j = 0; j < hidden; ++j) u[j] = fast_tanh(x[j]);
  }
}

template <class T>
void rnn_back(const T* h_in, const float* dh_in, float* da, bool relu, std::int64_t hidden) {
  const T* __restrict h = h_in;
  const float* __restrict dh = dh_in;
  float* __restrict d = da;
#pragma GCC ivdep
  for (std::int64_t j = 0; j < hidden; ++j) {
    const float y = to_float(h[j]);
    d[j] = relu ? (y > 0.0f ? dh[j] : 0.0f) : dh[j] * (1.0f - y * y);
  }
}

}  // namespace epitaxy::rnn_cells
