// What the fast recurrent passes share: where they are in the network, and how they deal sequences out.
#pragma once

#include "cpu/parallel.h"
#include "cpu/rnn_layout.h"

namespace epitaxy {

class RnnWalk {
 protected:
  RnnWalk(const RnnLayout& layout, const std::int32_t* lengths, std::byte* workspace)
      : l_(layout), p_(layout.problem), workspace_(workspace), order_(sort_sequences(layout, lengths, workspace)) {
    std::fill_n(floats(l_.zeros), std::max(rnn_tiles::kPanel, p_.hidden()), 0.0f);
  }

  float* floats(std::size_t offset) const { return reinterpret_cast<float*>(workspace_ + offset); }
  float* c_row(std::int64_t position) const { return floats(l_.c) + position * l_.hidden_stride; }
  bool is_gru() const { return p_.options.mode == RnnMode::gru; }
  bool is_projected() const { return p_.options.projection > 0; }
  /// Row of [N,T] memory that a sequence reads at scan step s.
  std::int64_t row_of(std::int64_t position, std::int64_t s) const {
    return order_.order[position] * p_.steps + (direction_ ? order_.lengths[position] - 1 - s : s);
  }
  /// Row of a sequence in the states [L D,N,...].
  std::int64_t state_of(std::int64_t position) const { return place_ * p_.batch + order_.order[position]; }
  /// Elements of the reserve before a sequence's row at scan step s.
  std::int64_t saved_at(std::int64_t position, std::int64_t s) const {
    return ((place_ * p_.steps + s) * p_.batch + position) * rnn_saved(p_);
  }

  /// Zeros what a layer leaves or receives beyond the lengths: `rows` [N,T,columns].
  template <class T>
  void clear_beyond_lengths(T* rows, std::int64_t columns) const {
    for (std::int64_t at = 0; at < p_.batch; ++at) {
      const std::int64_t length = order_.lengths[at];
      std::fill_n(rows + (order_.order[at] * p_.steps + length) * columns, (p_.steps - length) * columns, T{});
    }
  }
  template <class Work>
  void each_direction(Work&& work) {
    for (direction_ = 0; direction_ < p_.directions(); ++direction_) {
      place_ = layer_ * p_.directions() + direction_;
      work();
    }
  }
  /// work(group, a thread's scratch), in parallel.
  template <class Work>
  void each_group(Work&& work) const {
    parallel_parts(l_.threads, [&](int thread) {
      std::byte* const scratch = workspace_ + l_.scratch + static_cast<std::size_t>(thread) * l_.scratch_bytes;
      for (std::int64_t group = thread; group < l_.groups; group += l_.threads) work(group, scratch);
    });
  }
  /// work(rows, first position, first row of scratch) of the group's blocks that still run at scan step s.
  template <class Work>
  void each_block(std::int64_t group, std::int64_t s, Work&& work) const {
    for (std::int64_t i = 0; i < l_.group_blocks; ++i) {
      const std::int64_t block = group + i * l_.groups, rows = order_.rows_of(block, s);
      if (rows > 0) work(rows, block * rnn_tiles::kTileRows, i * rnn_tiles::kTileRows);
    }
  }

  const RnnLayout& l_;
  const RnnProblem& p_;
  std::byte* workspace_;
  RnnOrder order_;
  std::int64_t layer_ = 0, direction_ = 0, place_ = 0;
};

}  // namespace epitaxy
