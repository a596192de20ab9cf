// wgmma: the four warps of a warpgroup queue products, which are done in order once all four have issued them, at the latest when a warp
// waits (also where copies are eager: the worst case for buffers that are given back too early). Accumulators read NaN until the wait that
// covers them. Also setmaxnreg and elect.sync.
#include <algorithm>
#include <cstring>

#include "emulator/hopper.h"
#include "emulator/tensor_core.h"
#include "epitaxy/error.h"

namespace epitaxy::emulated {

namespace {

constexpr int kRowBytes = 32;  // of K in one product

struct Operand {  // of a descriptor
  std::size_t start, leading, stride;
};

Operand unpack(std::uint64_t d) {
  return {static_cast<std::size_t>(d & 0x3fff) << 4, static_cast<std::size_t>(d >> 16 & 0x3fff) << 4,
          static_cast<std::size_t>(d >> 32 & 0x3fff) << 4};
}

std::size_t swizzled(std::size_t offset) { return offset ^ ((offset >> 7 & 7) << 4); }

/// Calls chunk(offset, i, k) for every 16 bytes of an operand of `count` rows or columns: offset in shared memory, and the element that the
/// chunk begins with.
template <class Chunk>
void each_chunk(const Operand& d, int count, bool transposed, int element_bytes, Chunk chunk) {
  if (!transposed) {
    for (int i = 0; i < count; ++i)
      for (int half = 0; half < 2; ++half)
        chunk(swizzled(d.start + static_cast<std::size_t>(i / 8) * d.stride + static_cast<std::size_t>(i % 8 * 128 + half * 16)), i,
              half * 16 / element_bytes);
    return;
  }
  for (int k = 0; k < 16; ++k)
    for (int i = 0; i < count; i += 8)
      chunk(swizzled(d.start + static_cast<std::size_t>(i / 64) * d.leading + static_cast<std::size_t>(k / 8) * d.stride +
                     static_cast<std::size_t>(k % 8 * 128 + i % 64 * 2)),
            i, k);
}

int element_bytes(WgmmaType type) { return type == WgmmaType::tf32 ? 4 : 2; }

void decode(const unsigned char (&chunk)[16], WgmmaType type, float (&values)[8]) {
  if (type == WgmmaType::tf32) {
    std::uint32_t bits[4];
    std::memcpy(bits, chunk, 16);
    for (int i = 0; i < 4; ++i) values[i] = std::bit_cast<float>(bits[i] & 0xffffe000u);
    return;
  }
  std::uint16_t bits[8];
  std::memcpy(bits, chunk, 16);
  const float* halves = half_table();
  for (int i = 0; i < 8; ++i)
    values[i] = type == WgmmaType::fp16 ? halves[bits[i]] : std::bit_cast<float>(static_cast<std::uint32_t>(bits[i]) << 16);
}

void check_operand(Scheduler& s, const Product& one, std::uint64_t descriptor, int count, bool transposed) {
  const auto refuse = [&](const auto&... why) {
    s.stop(text(describe(s.running()), " at ", describe(one.site), ": the descriptor of wgmma ", why...));
  };
  if (descriptor >> 62 != 1) refuse("is not of the 128-byte swizzle");
  if ((descriptor >> 49 & 7) != 0) refuse("has a base offset; align the tile to 1024 bytes");
  each_chunk(unpack(descriptor), count, transposed, element_bytes(one.what.type), [&](std::size_t offset, int, int) {
    if (!s.shared().holds(s.shared().at(offset), 16)) refuse("reaches outside shared memory");
    tsan_read(s.shared().at(offset), 16);
  });
}

void touch_operands(Scheduler& s, const Product& one) {  // for TSan
  if (!kThreadSanitizer) return;
  const int bytes = element_bytes(one.what.type);
  const auto touch = [&](std::size_t offset, int, int) { tsan_read(s.shared().at(offset), 16); };
  if (!one.what.registers_a) each_chunk(unpack(one.what.a), 64, one.what.transpose_a, bytes, touch);
  each_chunk(unpack(one.what.b), one.what.n, one.what.transpose_b, bytes, touch);
}

/// Rows of A or columns of B as floats: to[k * pitch + i], or to[i * 16 + k] where by_row.
void gather(Scheduler& s, const Product& one, std::uint64_t descriptor, int count, bool transposed, bool by_row, float* to) {
  const int width = 16 / element_bytes(one.what.type);
  each_chunk(unpack(descriptor), count, transposed, element_bytes(one.what.type), [&](std::size_t offset, int i, int k) {
    unsigned char chunk[16];
    if (!s.shared().read_async(chunk, offset))
      s.stop(text("the wgmma at ", describe(one.site),
                  " reads shared memory that was written after the last fence_proxy_async(), or while it "
                  "was under way"));
    float values[8];
    decode(chunk, one.what.type, values);
    for (int e = 0; e < width; ++e) {
      const int row = transposed ? i + e : i, depth = transposed ? k : k + e;
      to[by_row ? row * 16 + depth : depth * count + row] = values[e];
    }
  });
}

float register_value(const Product& one, const std::array<std::uint32_t, 4>& a, int index, int half) {
  if (one.what.type == WgmmaType::tf32) return std::bit_cast<float>(a[index] & 0xffffe000u);
  const std::uint32_t bits = a[index] >> 16 * half & 0xffffu;
  return one.what.type == WgmmaType::fp16 ? half_table()[bits] : std::bit_cast<float>(bits << 16);
}

/// The place of accumulator j of a lane in its warp's [16][n].
std::size_t place(int lane, int j, int n) {
  return static_cast<std::size_t>((lane / 4 + 8 * (j / 2 % 2)) * n + j / 4 * 8 + lane % 4 * 2 + j % 2);
}

using Floats = float __attribute__((vector_size(16)));

Floats load(const float* from) {
  Floats values;
  std::memcpy(&values, from, sizeof(values));
  return values;
}

/// d[4][8] += a[4][depth] b[depth][8], k after k, in the processor's registers; n is the pitch of d and b.
void add_block(float* d, const float* a, const float* b, int n, int depth) {
  Floats low[4], high[4];
  for (int i = 0; i < 4; ++i) low[i] = load(d + i * n), high[i] = load(d + i * n + 4);
  for (int k = 0; k < depth; ++k) {
    const Floats left = load(b + k * n), right = load(b + k * n + 4);
    for (int i = 0; i < 4; ++i) {
      const float factor = a[i * 16 + k];
      low[i] += factor * left;
      high[i] += factor * right;
    }
  }
  for (int i = 0; i < 4; ++i) {
    std::memcpy(d + i * n, &low[i], sizeof(Floats));
    std::memcpy(d + i * n + 4, &high[i], sizeof(Floats));
  }
}

void execute(Scheduler& s, const Product& one) {
  static std::vector<float> a, b;
  const int n = one.what.n, depth = kRowBytes / element_bytes(one.what.type);
  a.assign(64 * 16, 0.0f);
  b.resize(static_cast<std::size_t>(depth) * n);
  gather(s, one, one.what.b, n, one.what.transpose_b, false, b.data());
  if (!one.what.registers_a) gather(s, one, one.what.a, 64, one.what.transpose_a, true, a.data());
  for (int warp = 0; warp < 4; ++warp) {
    if (one.what.registers_a)
      for (int lane = 0; lane < 32; ++lane)
        for (int i = 0; i < 4; ++i) {
          const int row = 16 * warp + lane / 4 + 8 * (i % 2);
          const auto& registers = one.a[warp][lane];
          if (depth == 8) {
            a[row * 16 + lane % 4 + 4 * (i / 2)] = register_value(one, registers, i, 0);
          } else {
            for (int half = 0; half < 2; ++half) a[row * 16 + lane % 4 * 2 + half + 8 * (i / 2)] = register_value(one, registers, i, half);
          }
        }
    float* d = one.d[warp]->values.data();
    if (!one.what.accumulate) std::fill_n(d, 16 * n, 0.0f);
    for (int row = 0; row < 16; row += 4)
      for (int j = 0; j < n; j += 8) add_block(d + row * n + j, a.data() + (16 * warp + row) * 16, b.data() + j, n, depth);
  }
}

bool is_poison(const float* d, int count) {
  std::uint32_t all = 0xffffffffu;
  for (int i = 0; i < count; ++i) all &= std::bit_cast<std::uint32_t>(d[i]);
  return all == 0xffffffffu;
}

/// The record of these registers, taken over from the lanes: they read NaN from now on.
Accumulators* take_accumulators(Scheduler& s, WarpQueue& queue, int warp, const Product& one) {
  const auto refuse = [&](const auto&... why) { s.stop(text("the wgmma at ", describe(one.site), " of warp ", warp, ": ", why...)); };
  const int n = one.what.n;
  std::array<float*, 32> lanes;
  for (int lane = 0; lane < 32; ++lane) lanes[lane] = static_cast<float*>(s.thread(warp, lane).out);
  const auto overlaps = [&](const std::unique_ptr<Accumulators>& other) {
    return lanes[0] < other->lanes[0] + other->n / 2 && other->lanes[0] < lanes[0] + n / 2;
  };
  auto found = std::find_if(queue.accumulators.begin(), queue.accumulators.end(), overlaps);
  if (found != queue.accumulators.end() && ((*found)->lanes != lanes || (*found)->n != n)) {
    if (!(*found)->given_back) refuse("its accumulators overlap those of a wgmma of another shape that is under way");
    queue.accumulators.erase(found);
    found = queue.accumulators.end();
  }
  const char* const missing = "wgmma_fence() is missing between other uses of its registers and it";
  if (found == queue.accumulators.end()) {
    if (queue.fences == 0) refuse(missing);
    queue.accumulators.push_back(std::make_unique<Accumulators>());
    found = std::prev(queue.accumulators.end());
    **found = {lanes, n, std::vector<float>(static_cast<std::size_t>(16 * n)), 0, 0, true};
    (*found)->fences = queue.fences - 1;
  }
  Accumulators& d = **found;
  bool changed = !one.what.accumulate;
  for (int lane = 0; lane < 32; ++lane) {
    if (!d.given_back) {
      if (!is_poison(lanes[lane], n / 2)) refuse("its accumulators were written while an earlier wgmma owns them");
      continue;
    }
    for (int j = 0; j < n / 2; ++j) {
      float& kept = d.values[place(lane, j, n)];
      changed |= std::bit_cast<std::uint32_t>(kept) != std::bit_cast<std::uint32_t>(lanes[lane][j]);
      kept = lanes[lane][j];
    }
    std::memset(lanes[lane], 0xff, static_cast<std::size_t>(n / 2) * 4);
  }
  if (d.given_back && changed && d.fences == queue.fences) refuse(missing);
  d.given_back = false;
  return &d;
}

/// Queues the product of a warp; it may be done once all four warps have queued it.
Product& enqueue(Scheduler& s, Warpgroup& group, int warp) {
  const Muted muted;
  WarpQueue& queue = group.warps[static_cast<std::size_t>(warp % 4)];
  Product one{*static_cast<const Wgmma*>(s.thread(warp, 0).a), s.thread(warp, 0).site};
  const auto same = [](const Wgmma& a, const Wgmma& b) {
    return a.type == b.type && a.n == b.n && a.transpose_a == b.transpose_a && a.transpose_b == b.transpose_b &&
           a.accumulate == b.accumulate && a.a == b.a && a.b == b.b && !a.registers_a == !b.registers_a;
  };
  for (int lane = 1; lane < 32; ++lane)
    if (!same(one.what, *static_cast<const Wgmma*>(s.thread(warp, lane).a)))
      s.stop(text("the wgmma at ", describe(one.site), ": lanes 0 and ", lane, " of warp ", warp, " have different operands"));
  const std::uint64_t index = queue.issued++;
  if (index - group.done == group.products.size()) group.products.push_back(one);
  Product& product = group.products[index - group.done];
  if (!same(product.what, one.what))
    s.stop(text("the wgmma at ", describe(one.site), ": warp ", warp, " has other operands than the warps of its warpgroup before it, at ",
                describe(product.site)));
  const int quarter = warp % 4;
  product.d[quarter] = take_accumulators(s, queue, warp, product);
  product.d[quarter]->last = index;
  if (one.what.registers_a)
    for (int lane = 0; lane < 32; ++lane)
      std::copy_n(static_cast<const Wgmma*>(s.thread(warp, lane).a)->registers_a, 4, product.a[quarter][lane].begin());
  product.issued |= 1u << quarter;
  return product;
}

void issue(Scheduler& s, int warp) {
  Hopper& h = s.hopper("wgmma", s.thread(warp, 0).site);
  Warpgroup& group = h.warpgroups[static_cast<std::size_t>(warp / 4)];
  Product& product = enqueue(s, group, warp);
  if (product.issued != 15) return;
  product.due = h.due(s);
  if (!product.what.registers_a) check_operand(s, product, product.what.a, 64, product.what.transpose_a);
  check_operand(s, product, product.what.b, product.what.n, product.what.transpose_b);
  tsan_release(&group.clock);
  for (const Thread* waiting : group.waiting) s.make_ready(*waiting);
  group.waiting.clear();
}

}  // namespace

void Hopper::multiply(Scheduler& s, Warpgroup& group, std::uint64_t end) {
  const Muted muted;
  for (; group.done < end && !group.products.empty() && group.products.front().issued == 15; ++group.done) {
    execute(s, group.products.front());
    group.products.pop_front();
  }
}

void wgmma_issue(float* d, const Wgmma& operation, Site site) {
  Scheduler& s = scheduler();
  s.hopper("wgmma", site);
  Thread& self = s.running();
  if (self.warp / 4 * 4 + 4 > s.warp_count())
    s.stop(text(describe(self), " at ", describe(site), ": wgmma needs a whole warpgroup of 128 threads"));
  if ((reinterpret_cast<std::uintptr_t>(d) & 3) != 0) s.stop("wgmma accumulators are not aligned");
  meet_matrix(Meeting::wgmma, d, &operation, nullptr, site);
}

void wgmma_fence_registers(Site site) {
  scheduler().hopper("wgmma.fence", site);
  meet_lanes(Meeting::wgmma_fence, 0xffffffffu, 0, 0, site);
}

void wgmma_commit_group(Site site) {
  scheduler().hopper("wgmma.commit_group", site);
  meet_lanes(Meeting::wgmma_commit, 0xffffffffu, 0, 0, site);
}

void wgmma_wait_groups(unsigned groups_left_pending, Site site) {
  Scheduler& s = scheduler();
  Hopper& h = s.hopper("wgmma.wait_group", site);
  meet_lanes(Meeting::wgmma_wait, 0xffffffffu, 0, 0, site);
  Thread& self = s.running();
  Warpgroup& group = h.warpgroups[static_cast<std::size_t>(self.warp / 4)];
  WarpQueue& queue = group.warps[static_cast<std::size_t>(self.warp % 4)];
  if (queue.groups.size() <= groups_left_pending) return;
  const std::uint64_t end = queue.groups[queue.groups.size() - 1 - groups_left_pending];
  while (group.done < end) {
    while (group.done < end && group.products.front().issued == 15) {
      touch_operands(s, group.products.front());
      tsan_release(&group.clock);  // what was read was read before whatever comes after any lane's wait
      h.multiply(s, group, group.done + 1);
    }
    if (group.done >= end) break;
    append(group.waiting, self);  // for the other warps
    self.meeting = Meeting::wgmma_wait;
    self.site = site;
    s.suspend();
    self.meeting = Meeting::none;
  }
  tsan_acquire(&group.clock);
  const Muted muted;
  for (const auto& one : queue.accumulators) {
    if (one->given_back || one->last >= end) continue;
    for (int lane = 0; lane < 32; ++lane)
      for (int j = 0; j < one->n / 2; ++j) one->lanes[lane][j] = one->values[place(lane, j, one->n)];
    one->given_back = true;
    one->fences = queue.fences;
  }
}

void set_max_registers(int count, bool increase, Site site) {
  scheduler().hopper("setmaxnreg", site);
  meet_lanes(Meeting::setmaxnreg, 0xffffffffu, static_cast<std::uint64_t>(increase ? count : -count), 0, site);
}

bool elect_lane(Site site) {
  scheduler().hopper("elect.sync", site);
  return meet_lanes(Meeting::elect, 0xffffffffu, 0, 0, site) != 0;
}

void store_matrix(Meeting kind, void* row, const std::uint32_t* registers, Site site) {
  scheduler().hopper("stmatrix", site);
  meet_matrix(kind, nullptr, row, registers, site);
}

void fence_async_proxy(Site site) {
  Scheduler& s = scheduler();
  s.hopper("fence.proxy.async", site);
  s.shared().publish();
}

void warpgroup_operation(Scheduler& s, int warp, Meeting kind) {
  const Site site = s.thread(warp, 0).site;
  Warpgroup& group = s.hopper(name(kind), site).warpgroups[static_cast<std::size_t>(warp / 4)];
  WarpQueue& queue = group.warps[static_cast<std::size_t>(warp % 4)];
  switch (kind) {
    case Meeting::wgmma: return issue(s, warp);
    case Meeting::wgmma_fence: ++queue.fences; return;
    case Meeting::wgmma_commit: {
      const Muted muted;
      queue.groups.push_back(queue.issued);
      return;
    }
    case Meeting::wgmma_wait: return;
    case Meeting::setmaxnreg: {
      const Muted muted;
      const auto budget = static_cast<int>(static_cast<std::int64_t>(s.thread(warp, 0).value));
      for (int lane = 1; lane < 32; ++lane)
        if (static_cast<int>(static_cast<std::int64_t>(s.thread(warp, lane).value)) != budget)
          s.stop(text("setmaxnreg at ", describe(site), ": lanes of warp ", warp, " ask for different counts"));
      for (const WarpQueue& other : group.warps)
        if (other.budgets.size() > queue.budgets.size() && other.budgets[queue.budgets.size()] != budget)
          s.stop(text("setmaxnreg at ", describe(site), ": warp ", warp, " and another of its warpgroup ask for different counts"));
      queue.budgets.push_back(budget);
      return;
    }
    case Meeting::elect: {
      // Which lane is not defined, only that it is always the same.
      const EmulatorOptions& options = emulator_options();
      const int chosen = options.order == EmulatorOrder::forward   ? 0
                         : options.order == EmulatorOrder::reverse ? 31
                                                                   : static_cast<int>(options.seed % 32);
      for (int lane = 0; lane < 32; ++lane) s.thread(warp, lane).received = lane == chosen;
      return;
    }
    default: s.stop("unknown operation of a warp");
  }
}

}  // namespace epitaxy::emulated
