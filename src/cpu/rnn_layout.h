// Where the fast recurrent path keeps things in its workspace, and how sequences are dealt to threads.
#pragma once

#include <array>
#include <numeric>

#include "cpu/rnn.h"
#include "cpu/rnn_tiles.h"

namespace epitaxy {

/// Sequences are sorted by length, longest first, so that those still running are always the first: position instead of index below.
/// Blocks of kTileRows positions are dealt to groups in turn; a group runs through time on its own.
struct RnnLayout final : public Prepared {
  RnnLayout(const RnnProblem& p, RnnPass pass);

  RnnProblem problem;
  int threads;
  std::int64_t blocks, groups, group_blocks, chunk_steps;
  std::int64_t input_stride, output_stride, hidden_stride, gate_stride;  // floats, of scratch rows
  // Offsets in bytes. By position: order, lengths; active[s]: sequences longer than s.
  std::size_t order, lengths, active;
  std::size_t packed_ih, packed_hh, packed_hr, bias, zeros;
  std::size_t h, c;                                              // [positions]: running states, or their gradients
  std::size_t chunk_gates, chunk_x, chunk_h, chunk_dh, chunk_u;  // backward: rows of one chunk of steps
  std::size_t dw_ih, dw_hh, dw_hh_n, dw_hr, db;                  // backward: sums over the steps
  std::size_t between[2];  // forward without reserve: outputs of layers [N,T,D P]; backward: fp32 gradients of them
  int betweens;
  std::size_t scratch, scratch_bytes;  // a thread's own rows
  std::size_t scratch_x, scratch_gates, scratch_gates_h, scratch_u, scratch_rows;
  std::size_t bytes = 0;

  std::int64_t gate_columns() const { return problem.hidden() * (problem.options.mode == RnnMode::gru ? 4 : problem.gates()); }

 private:
  std::size_t take(std::int64_t count, std::size_t size = sizeof(float)) {
    const std::size_t at = bytes;
    bytes += (static_cast<std::size_t>(count) * size + 63) / 64 * 64;
    return at;
  }
};

/// The order of one run's sequences.
struct RnnOrder {
  const std::int32_t *order, *lengths, *active;
  std::int64_t longest;
  std::int64_t rows_of(std::int64_t block, std::int64_t step) const {
    return std::clamp<std::int64_t>(active[step] - block * rnn_tiles::kTileRows, 0, rnn_tiles::kTileRows);
  }
};
/// Writes it to the workspace.
RnnOrder sort_sequences(const RnnLayout& layout, const std::int32_t* lengths, std::byte* workspace);

}  // namespace epitaxy
