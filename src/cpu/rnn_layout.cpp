#include "cpu/rnn_layout.h"

#include <algorithm>

#include "cpu/threads.h"

namespace epitaxy {

using namespace rnn_tiles;

RnnLayout::RnnLayout(const RnnProblem& p, RnnPass pass) : problem(p) {
  constexpr double kWorkPerThread = 1e6;    // multiply-adds
  constexpr std::int64_t kGroupBlocks = 8;  // more rows would push a step's gates out of the cache
  constexpr std::int64_t kChunkRows = 512;  // a chunk's rows stay in the second-level cache until their outer products are taken
  const bool backward = pass == RnnPass::backward, gru = p.options.mode == RnnMode::gru;
  const std::int64_t H = p.hidden(), P = p.output(), L = p.options.layers, rows = p.batch * p.steps;
  const std::int64_t widest = std::max(p.input, L > 1 ? p.width() : 0), pre = p.gates() * H;
  blocks = (p.batch + kTileRows - 1) / kTileRows;
  const double work = static_cast<double>(rows) * static_cast<double>(pre) * static_cast<double>(p.input + P) * static_cast<double>(L);
  threads = static_cast<int>(
      std::clamp(std::min<double>(work / kWorkPerThread, static_cast<double>(blocks)), 1.0, static_cast<double>(cpu_threads())));
  groups = round_up(std::max<std::int64_t>(threads, (blocks + kGroupBlocks - 1) / kGroupBlocks), threads);
  group_blocks = (blocks + groups - 1) / groups;
  chunk_steps = std::clamp<std::int64_t>(kChunkRows / p.batch, 1, p.steps);
  input_stride = row_stride(widest), output_stride = row_stride(P), hidden_stride = row_stride(H), gate_stride = row_stride(gate_columns());

  order = take(p.batch, sizeof(std::int32_t)), lengths = take(p.batch, sizeof(std::int32_t));
  active = take(p.steps + 1, sizeof(std::int32_t));
  zeros = take(std::max(kPanel, H));
  h = take(blocks * kTileRows * output_stride), c = take(blocks * kTileRows * hidden_stride);
  const bool projected = p.options.projection > 0;
  // Room for an even depth.
  packed_ih = take(backward ? packed_count(pre + 1, widest) : packed_count(widest + 1, pre));
  packed_hh = take(backward ? packed_count(pre + 1, P) : packed_count(P + 1, pre));
  packed_hr = take(!projected ? 0 : backward ? packed_count(P + 1, H) : packed_count(H + 1, P));
  bias = take(2 * round_up(pre, kPanel));
  if (backward) {
    const std::int64_t chunk = chunk_steps * round_up(p.batch, 2);
    chunk_gates = take(chunk * gate_stride), chunk_x = take(chunk * input_stride), chunk_h = take(chunk * output_stride);
    chunk_dh = take(projected ? chunk * output_stride : 0), chunk_u = take(projected ? chunk * hidden_stride : 0);
    dw_ih = take(round_up(pre, kTileRows) * input_stride);
    dw_hh = take(round_up(gru ? 2 * H : pre, kTileRows) * output_stride);
    dw_hh_n = take(gru ? round_up(H, kTileRows) * output_stride : 0);
    dw_hr = take(projected ? round_up(P, kTileRows) * hidden_stride : 0);
    db = take(gate_columns());
    betweens = static_cast<int>(std::min<std::int64_t>(2, L - 1 + (p.dtype != DType::fp32 ? 1 : 0)));
    for (int i = 0; i < betweens; ++i) between[i] = take(rows * widest);
  } else {
    betweens = p.options.training ? 0 : static_cast<int>(std::min<std::int64_t>(2, L - 1));
    for (int i = 0; i < betweens; ++i) between[i] = take(rows * p.width(), size_of(p.dtype));
  }
  scratch = bytes;
  const std::int64_t own = group_blocks * kTileRows;
  scratch_x = take(own * input_stride) - scratch;
  scratch_gates = take(own * gate_stride) - scratch, scratch_gates_h = take(gru ? own * gate_stride : 0) - scratch;
  scratch_u = take(own * hidden_stride) - scratch;
  scratch_rows = take(backward ? own * std::max(gate_stride, output_stride) : projected ? own * hidden_stride : 0) - scratch;
  scratch_bytes = bytes - scratch + 64;  // threads do not share a line
  bytes = scratch + static_cast<std::size_t>(threads) * scratch_bytes;
}

RnnOrder sort_sequences(const RnnLayout& layout, const std::int32_t* lengths, std::byte* workspace) {
  const RnnProblem& p = layout.problem;
  auto* order = reinterpret_cast<std::int32_t*>(workspace + layout.order);
  auto* sorted = reinterpret_cast<std::int32_t*>(workspace + layout.lengths);
  auto* active = reinterpret_cast<std::int32_t*>(workspace + layout.active);
  const auto batch = static_cast<std::int32_t>(p.batch);
  const auto length = [&](std::int32_t n) { return lengths ? lengths[n] : static_cast<std::int32_t>(p.steps); };
  std::fill_n(active, p.steps + 1, 0);
  for (std::int32_t n = 0; n < batch; ++n) ++active[length(n) - 1];
  for (std::int64_t s = p.steps - 1; s >= 0; --s) active[s] += active[s + 1];
  // A counting sort that keeps the order of equals: sequences of length l start after all longer ones.
  for (std::int32_t n = 0; n < batch; ++n) sorted[n] = 0;
  for (std::int64_t s = p.steps; s >= 1; --s) {
    std::int32_t at = active[s];
    if (at == active[s - 1]) continue;
    for (std::int32_t n = 0; n < batch; ++n)
      if (length(n) == s) order[at] = n, sorted[at++] = static_cast<std::int32_t>(s);
  }
  return {order, sorted, active, sorted[0]};
}

std::shared_ptr<Prepared> cpu_prepare_rnn(const RnnProblem& problem, RnnPass pass) {
  pin_cpu_threads();
  return std::make_shared<RnnLayout>(problem, pass);
}
std::size_t cpu_rnn_workspace_bytes(const Prepared& prepared) { return static_cast<const RnnLayout&>(prepared).bytes; }

}  // namespace epitaxy
