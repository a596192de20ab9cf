// TMA copies: started by one thread, done at once, as late as can be, or at any moment between. And what Hopper's parts do at the end of
// threads and blocks.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "emulator/hopper.h"
#include "epitaxy/error.h"

namespace epitaxy::emulated {

namespace {

std::size_t swizzled(const TensorMap& map, std::size_t offset) {
  return map.swizzle == TensorMap::Swizzle::swizzle128 ? offset ^ ((offset >> 7 & 7) << 4) : offset;
}

/// Calls row(address, first, count, at) for every row of the box: `count` elements from `first` on are inside the tensor, the first of
/// them at `address`; `at` is the row's place in the dense box, in bytes.
template <class Row>
void each_row(const BoxCopy& copy, Row row) {
  const TensorMap& m = copy.map;
  const std::size_t element = size_of(m.dtype);
  const int width = m.im2col ? m.channels : m.box[0];
  const auto emit = [&](std::size_t index, bool inside, const std::array<std::int64_t, 5>& at) {
    const std::int64_t first = std::min<std::int64_t>(std::max<std::int64_t>(0, -at[0]), width);
    const std::int64_t end = std::clamp<std::int64_t>(m.sizes[0] - at[0], 0, width);
    if (!inside || end <= first) return;
    auto* address = static_cast<unsigned char*>(m.base) + (at[0] + first) * m.strides[0];
    for (int i = 1; i < m.rank; ++i) {
      if (at[i] < 0 || at[i] >= m.sizes[i]) return;
      address += at[i] * m.strides[i];
    }
    row(address, static_cast<std::size_t>(first) * element, static_cast<std::size_t>(end - first) * element,
        index * static_cast<std::size_t>(width) * element);
  };
  if (m.im2col) {
    std::int64_t w = copy.at[1], h = copy.at[2], n = copy.at[3];
    for (int pixel = 0; pixel < m.pixels; ++pixel) {
      emit(static_cast<std::size_t>(pixel), true, {copy.at[0], w + copy.offsets[0], h + copy.offsets[1], n, 0});
      if ((w += m.steps[1]) < m.sizes[1] + m.upper[0]) continue;
      w = m.lower[0];
      if ((h += m.steps[2]) < m.sizes[2] + m.upper[1]) continue;
      h = m.lower[1];
      ++n;
    }
    return;
  }
  std::size_t rows = 1;
  for (int i = 1; i < m.rank; ++i) rows *= static_cast<std::size_t>(m.box[i]);
  for (std::size_t index = 0; index < rows; ++index) {
    std::array<std::int64_t, 5> at{copy.at[0]};
    std::size_t rest = index;
    for (int i = 1; i < m.rank; ++i) {
      at[i] = copy.at[i] + static_cast<std::int64_t>(rest % static_cast<std::size_t>(m.box[i]));
      rest /= static_cast<std::size_t>(m.box[i]);
    }
    emit(index, true, at);
  }
}

BoxCopy prepare(Scheduler& s, const char* instruction, const void* shared, const TensorMap& map, int rank, const int* coordinates,
                bool im2col, Site site) {
  const auto refuse = [&](const auto&... why) {
    s.stop(text(describe(s.running()), " at ", describe(site), ": ", instruction, " ", why...));
  };
  if (map.rank != rank || map.im2col != im2col)
    refuse("of rank ", rank, im2col ? " (im2col)" : " (tiled)", " with a map of rank ", map.rank, map.im2col ? " (im2col)" : " (tiled)");
  if (!s.shared().holds(shared, map.bytes())) refuse("of ", map.bytes(), " bytes outside shared memory");
  if (s.shared().offset(shared) % 128 != 0) refuse("at a shared address that is not aligned to 128 bytes");
  BoxCopy copy{.map = map,
               .shared = s.shared().offset(shared),
               .at = {},
               .offsets = {},
               .barrier = nullptr,
               .site = site,
               .due = s.hopper(instruction, site).due(s),
               .thread = &s.running(),
               .group = 0,
               .read = false,
               .box = {}};
  std::copy_n(coordinates, rank, copy.at.begin());
  return copy;
}

}  // namespace

void load_box(void* to, const TensorMap& map, std::uint64_t* barrier, int rank, const int* coordinates, const unsigned* offsets,
              Site site) {
  Scheduler& s = scheduler();
  Hopper& h = s.hopper("a TMA load", site);
  BoxCopy load = prepare(s, "a TMA load", to, map, rank, coordinates, offsets != nullptr, site);
  if (offsets) {
    load.offsets = {offsets[0], offsets[1]};
    if (offsets[0] > 255 || offsets[1] > 255)
      s.stop(
          text(describe(s.running()), " at ", describe(site), ": im2col offsets ", offsets[0], ", ", offsets[1], ", allowed are 0 to 255"));
  }
  if (!h.barrier(s, barrier, "a TMA load", site).fenced)
    s.stop(text(describe(s.running()), " at ", describe(site),
                ": a TMA load on a barrier without mbarrier_init_fence() of the thread that initialised it"));
  load.barrier = barrier;
  // TSan sees it as the issuing thread's own accesses, which whoever waits at the barrier comes after.
  each_row(load, [](unsigned char* address, std::size_t, std::size_t bytes, std::size_t) { tsan_read(address, bytes); });
  tsan_write(to, map.bytes());
  tsan_release(reinterpret_cast<char*>(barrier) + (*barrier >> 61 & 1));
  if (emulator_options().async == AsyncMode::eager) return h.land(s, load);
  const Muted muted;
  h.loads.push_back(std::move(load));
}

void Hopper::land(Scheduler& s, const BoxCopy& load) {
  const Muted muted;
  static std::vector<unsigned char> box;
  box.assign(load.map.bytes(), 0);
  each_row(load, [&](const unsigned char* address, std::size_t first, std::size_t bytes, std::size_t at) {
    std::memcpy(box.data() + at + first, address, bytes);
  });
  if (load.map.tf32)
    for (std::size_t i = 0; i < box.size(); i += sizeof(float)) {
      float value;
      std::memcpy(&value, box.data() + i, sizeof value);
      value = round_tf32(value);
      std::memcpy(box.data() + i, &value, sizeof value);
    }
  for (std::size_t i = 0; i < box.size(); i += 16) s.shared().write_async(swizzled(load.map, load.shared + i), box.data() + i);
  Barrier& one = barrier(s, load.barrier, "a TMA load", load.site);
  // bytes to come: bits 40 to 60, signed
  const std::uint64_t mask = std::uint64_t{0x1fffff} << 40, rest = *one.at - (static_cast<std::uint64_t>(load.map.bytes()) << 40);
  *one.at = (*one.at & ~mask) | (rest & mask);
  complete(s, one);
}

bool Hopper::land_one(Scheduler& s) {
  if (loads.empty()) return false;
  const Muted muted;
  const std::size_t index = emulator_options().async == AsyncMode::random ? s.random() % loads.size() : 0;
  const BoxCopy load = std::move(loads[index]);
  loads.erase(loads.begin() + static_cast<std::ptrdiff_t>(index));
  land(s, load);
  return true;
}

void Hopper::land_due(Scheduler& s) {
  const Muted muted;
  ++steps;
  for (std::size_t i = 0; i < loads.size();) {
    if (loads[i].due > steps) {
      ++i;
      continue;
    }
    const BoxCopy load = std::move(loads[i]);
    loads.erase(loads.begin() + static_cast<std::ptrdiff_t>(i));
    land(s, load);
  }
  for (BoxCopy& store : stores)
    if (!store.read && store.due <= steps) read_source(s, store);
  for (int g = 0; g < s.warp_count() / 4; ++g) {
    Warpgroup& group = warpgroups[static_cast<std::size_t>(g)];
    if (!group.products.empty() && group.products.front().issued == 15 && group.products.front().due <= steps)
      multiply(s, group, group.done + 1);
  }
}

// ---- stores ----

void store_box(const TensorMap& map, const void* from, int rank, const int* coordinates, Site site) {
  Scheduler& s = scheduler();
  Hopper& h = s.hopper("a TMA store", site);
  BoxCopy store = prepare(s, "a TMA store", from, map, rank, coordinates, false, site);
  store.group = h.store_commits[static_cast<std::size_t>(s.running().linear)];
  tsan_read(from, map.bytes());
  each_row(store, [](unsigned char* address, std::size_t, std::size_t bytes, std::size_t) { tsan_write(address, bytes); });
  const Muted muted;
  if (emulator_options().async == AsyncMode::eager) h.read_source(s, store);
  h.stores.push_back(std::move(store));
}

void Hopper::read_source(Scheduler& s, BoxCopy& store) {
  const Muted muted;
  store.box.resize(store.map.bytes());
  store.read = true;
  for (std::size_t i = 0; i < store.box.size(); i += 16)
    if (!s.shared().read_async(store.box.data() + i, swizzled(store.map, store.shared + i)))
      s.stop(text("the TMA store at ", describe(store.site),
                  " reads shared memory that was written after the last fence_proxy_async(), or "
                  "while the copy was under way (byte ",
                  i, " of the box)"));
}

void Hopper::write_result(BoxCopy& store) {
  const Muted muted;
  each_row(store, [&](unsigned char* address, std::size_t first, std::size_t bytes, std::size_t at) {
    std::memcpy(address, store.box.data() + at + first, bytes);
  });
}

void commit_stores(Site site) {
  Scheduler& s = scheduler();
  ++s.hopper("cp.async.bulk.commit_group", site).store_commits[static_cast<std::size_t>(s.running().linear)];
}

void wait_stores(unsigned groups_left_pending, bool read, Site site) {
  Scheduler& s = scheduler();
  Hopper& h = s.hopper("cp.async.bulk.wait_group", site);
  const Thread& self = s.running();
  const std::uint64_t commits = h.store_commits[static_cast<std::size_t>(self.linear)];
  for (BoxCopy& store : h.stores) {
    if (store.thread != &self || store.group + groups_left_pending >= commits) continue;
    tsan_read(s.shared().at(store.shared), store.map.bytes());
    if (!store.read) h.read_source(s, store);
    if (!read) h.write_result(store), store.thread = nullptr;
  }
  const Muted muted;
  std::erase_if(h.stores, [](const BoxCopy& store) { return !store.thread; });
}

// ---- the end of threads and blocks ----

void Hopper::begin_block() {
  barriers.clear();
  loads.clear();
  stores.clear();
  store_commits = {};
  for (NamedBarrier& one : named) one.arrived = 0, one.waiting.clear();
  for (Warpgroup& one : warpgroups) one = Warpgroup{};
}

void Hopper::end_thread(Scheduler& s, const Thread& thread) {
  const Muted muted;
  for (BoxCopy& store : stores) {
    if (store.thread != &thread) continue;
    if (!store.read)
      s.stop(text(describe(thread), " ends while its TMA store at ", describe(store.site),
                  " may still read shared memory: tma_store_wait_read<0>() is missing"));
    write_result(store);
    store.thread = nullptr;
  }
  std::erase_if(stores, [](const BoxCopy& store) { return !store.thread; });
}

std::string Hopper::unfinished(int threads) const {
  if (!loads.empty()) return text("the block ends while the TMA load at ", describe(loads.front().site), " is under way");
  for (const NamedBarrier& one : named)
    if (one.arrived > 0)
      return text("the block ends with ", one.arrived, " of ", one.threads, " arrivals at the named barrier at ", describe(one.site));
  int registers = 0, changed = 0;
  for (const Warpgroup& group : warpgroups) {
    if (!group.products.empty()) {
      const Product& one = group.products.front();
      return text("the block ends while the wgmma at ", describe(one.site),
                  one.issued == 15 ? " is under way: a wait is missing" : " was called by some of the warpgroup's four warps only");
    }
    for (const WarpQueue& warp : group.warps)
      if (warp.budgets != group.warps[0].budgets) return "the warps of a warpgroup have called different setmaxnreg";
    if (!group.warps[0].budgets.empty()) registers += 128 * std::abs(group.warps[0].budgets.back()), ++changed;
  }
  const int pool = 65536 / threads / 8 * 8 * threads;  // what the launch gave them
  if (changed * 128 == threads && registers > pool)
    return text("setmaxnreg asks for ", registers, " registers in all; the block has ", pool);
  return {};
}

}  // namespace epitaxy::emulated
