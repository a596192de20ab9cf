// Runs grids: blocks one after another, threads of a block in turns.
#include "emulator/scheduler.h"

#include <bit>
#include <mutex>
#include <numeric>
#include <string_view>

#include "emulator/hopper.h"
#include "epitaxy/error.h"

namespace epitaxy::emulated {

uint3 threadIdx{};
uint3 blockIdx{};
dim3 blockDim;
dim3 gridDim;

Scheduler the_scheduler;

void run_grid(const LaunchShape& shape, void (*thread)(const void*), const void* closure) {
  static std::recursive_mutex mutex;
  const std::lock_guard lock(mutex);
  if (scheduler().is_running()) fail(shape.kernel, ": a kernel cannot launch a kernel");
  scheduler().run(shape, thread, closure);
}

namespace {
struct Stopped {};  // thrown through a kernel whose launch has failed

bool same(Site a, Site b) { return a.line == b.line && (a.file == b.file || std::string_view(a.file) == b.file); }
}  // namespace

Crew::Crew() = default;
Crew::~Crew() = default;

std::uint64_t Scheduler::random() {  // splitmix64
  std::uint64_t z = random_state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void Scheduler::check_shape() const {
  const dim3 g = shape_.grid, b = shape_.block;
  const auto refuse = [&](const auto&... why) {
    fail("kernel ", shape_.kernel, " cannot be launched: ", why..., "; grid ", g.x, "x", g.y, "x", g.z, ", block ", b.x, "x", b.y, "x", b.z,
         ", ", shape_.dynamic_shared, " bytes of dynamic shared memory, profile sm_", profile_.compute);
  };
  const std::uint64_t threads = static_cast<std::uint64_t>(b.x) * b.y * b.z;
  if (threads == 0) refuse("an empty block");
  if (threads > static_cast<std::uint64_t>(profile_.max_threads_per_block) || threads > kMaxThreads)
    refuse(threads, " threads in a block, at most ", profile_.max_threads_per_block);
  if (b.z > 64) refuse("blockDim.z is at most 64");
  if (g.x > 0x7fffffffu) refuse("gridDim.x is at most 2147483647");
  const auto most = static_cast<unsigned>(profile_.max_blocks_yz);
  if (g.y > most || g.z > most) refuse("gridDim.y and gridDim.z are at most ", most);
  if (shape_.dynamic_shared > profile_.shared_per_block_optin)
    refuse("at most ", profile_.shared_per_block_optin, " bytes of shared memory in a block");
}

void Scheduler::run(const LaunchShape& shape, void (*body)(const void*), const void* closure) {
  shape_ = shape;
  profile_ = shape.profile ? *shape.profile : default_profile();
  options_ = emulator_options();
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  check_shape();
  body_ = body;
  closure_ = closure;
  random_state_ = options_.seed;
  for (const char c : std::string_view(shape.kernel)) random_state_ = random_state_ * 0x100000001b3u + static_cast<unsigned char>(c);
  for (const unsigned n : {shape.grid.x, shape.grid.y, shape.grid.z, shape.block.x}) random_state_ = random_state_ * 0x100000001b3u + n;

  launcher_.adopt_caller();
  tsan_release(&launch_begin_);
  {
    const Muted muted;
    gridDim = shape.grid;
    blockDim = shape.block;
    count_ = static_cast<int>(shape.block.x * shape.block.y * shape.block.z);
    warp_count_ = (count_ + 31) / 32;
    const std::size_t crews = count_ <= kMaxThreadsOfTwoCrews ? kCrews : 1;
    for (std::size_t i = 0; i < crews; ++i) {
      if (!crews_[i]) crews_[i] = std::make_unique<Crew>();
      prepare(*crews_[i]);
    }
    const std::uint64_t blocks = static_cast<std::uint64_t>(gridDim.x) * gridDim.y * gridDim.z;
    std::uint64_t step = random() % blocks | 1u, first = random() % blocks;  // random order: first + i * step, all blocks once
    while (std::gcd(step, blocks) != 1) step += 2;
    for (std::uint64_t i = 0; i < blocks && message_.empty() && !exception_; ++i) {
      Crew& crew = *crews_[i % crews];
      switch (options_.order) {
        case EmulatorOrder::forward: run_block(i, crew); break;
        case EmulatorOrder::reverse: run_block(blocks - 1 - i, crew); break;
        case EmulatorOrder::random:
          run_block(static_cast<std::uint64_t>((first + static_cast<unsigned __int128>(i) * step) % blocks), crew);
          break;
      }
    }
    if (!message_.empty() || exception_)
      rewind();
    else if (std::string damage = damaged_allocation(); !damage.empty())
      message_ = text(shape_.kernel, ": ", damage, " [", epitaxy::describe(options_), "]");
    running_ = nullptr;
  }
  tsan_acquire(&launch_end_);
  if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
  if (!message_.empty()) throw Error(std::exchange(message_, {}));
}

void Scheduler::prepare(Crew& crew) {
  for (int i = 0; i < count_; ++i) {
    Thread& one = crew.threads[static_cast<std::size_t>(i)];
    const auto at = static_cast<unsigned>(i);
    one.index = {at % blockDim.x, at / blockDim.x % blockDim.y, at / blockDim.x / blockDim.y};
    one.linear = i;
    one.lane = i % 32;
    one.warp = i / 32;
  }
  // A TSan fiber is ordered after its creator, which must therefore not be another emulated thread.
  while (kThreadSanitizer && crew.fibers.size() < static_cast<std::size_t>(count_)) new_fiber(crew);
}

void Scheduler::run_block(std::uint64_t block, Crew& crew) {
  crew_ = &crew;
  ++crew.blocks;
  blockIdx = {static_cast<unsigned>(block % gridDim.x), static_cast<unsigned>(block / gridDim.x % gridDim.y),
              static_cast<unsigned>(block / gridDim.x / gridDim.y)};
  crew_->shared.begin_block(shape_.dynamic_shared);
  for (int i = 0; i < count_; ++i) {
    Thread& one = crew_->threads[static_cast<std::size_t>(i)];
    one.fiber = nullptr;
    one.finished = one.fenced = false;
    one.meeting = Meeting::none;
    one.copies.clear();
    one.commits = 0;
  }
  hopper_used_ = false;
  finished_ = arrived_ = predicates_ = 0;
  ready_warps_ = 0;
  for (int w = 0; w < warp_count_; ++w) {
    Warp& one = warp(w);
    const int lanes = std::min(32, count_ - w * 32);
    one.present = one.ready = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
    one.waiting = 0;
    ready_warps_ |= 1u << w;
  }
  Thread& first = *choose();
  running_ = &first;
  first.fiber = fiber_for(first);
  threadIdx = first.index;
  Fiber::switch_to(launcher_, *first.fiber);
  if (!message_.empty() || exception_) return;
  running_ = nullptr;
  std::string damage = hopper_used_ ? crew_->hopper->unfinished(count_) : "";
  if (damage.empty()) damage = crew_->shared.damage();
  if (!damage.empty())
    message_ = text(shape_.kernel, ": ", damage, " in block (", blockIdx.x, ",", blockIdx.y, ",", blockIdx.z, ") [",
                    epitaxy::describe(options_), "]");
}

Thread* Scheduler::choose() {
  if (ready_warps_ == 0) return nullptr;
  int at = 0, lane = 0;
  switch (options_.order) {
    case EmulatorOrder::forward:
      at = std::countr_zero(ready_warps_);
      lane = std::countr_zero(warp(at).ready);
      break;
    case EmulatorOrder::reverse:
      at = 31 - std::countl_zero(ready_warps_);
      lane = 31 - std::countl_zero(warp(at).ready);
      break;
    case EmulatorOrder::random: {
      const std::uint64_t draw = random();
      const int turn = static_cast<int>(draw % 32), lane_turn = static_cast<int>(draw / 32 % 32);
      at = (std::countr_zero(std::rotr(ready_warps_, turn)) + turn) % 32;
      lane = (std::countr_zero(std::rotr(warp(at).ready, lane_turn)) + lane_turn) % 32;
      break;
    }
  }
  Warp& chosen = warp(at);
  chosen.ready &= ~(1u << lane);
  if (chosen.ready == 0) ready_warps_ &= ~(1u << at);
  return &thread(at, lane);
}

/// The next to run; when all wait, an asynchronous copy lands that may let one of them go on.
Thread* Scheduler::next_thread() {
  if (!hopper_used_) return choose();
  if (options_.async == AsyncMode::random) crew_->hopper->land_due(*this);
  Thread* next = choose();
  while (!next && crew_->hopper->land_one(*this)) next = choose();
  return next;
}

Hopper& Scheduler::hopper(const char* instruction, Site site) {
  if (profile_.compute != 90)
    stop(text(describe(*running_), " at ", describe(site), ": ", instruction, " needs sm_90a (Hopper); the profile of this launch is sm_",
              profile_.compute));
  if (!hopper_used_) {
    const Muted muted;
    if (!crew_->hopper) crew_->hopper = std::make_unique<Hopper>();
    crew_->hopper->begin_block();
    crew_->shared.begin_async();
    hopper_used_ = true;
  }
  return *crew_->hopper;
}

Fiber* Scheduler::new_fiber(Crew& crew) {
  return crew.fibers.emplace_back(std::make_unique<Fiber>([] { scheduler().work(); })).get();
}

Fiber* Scheduler::fiber_for(Thread& thread) {
  if (kThreadSanitizer) return crew_->fibers[static_cast<std::size_t>(thread.linear)].get();  // sharing one would order the threads
  if (crew_->idle.empty()) return new_fiber(*crew_);
  Fiber* fiber = crew_->idle.back();
  crew_->idle.pop_back();
  return fiber;
}

void Scheduler::begin(Thread& thread) {
  threadIdx = thread.index;
  tsan_acquire(&launch_begin_);
  tsan_acquire(&crew_->end[(crew_->blocks + 1) % 2]);  // the crew's block before this one
}

void Scheduler::finish(Thread& thread) {
  land_copies(thread, true, 0);
  if (hopper_used_) crew_->hopper->end_thread(*this, thread);
  thread.finished = true;
  ++finished_;
  tsan_release(&crew_->end[crew_->blocks % 2]);
  tsan_release(&launch_end_);
}

// The body of every fiber: runs threads one after another, going on with the next that has not begun as long as that is the one
// chosen, so that a kernel without barriers never switches.
void Scheduler::work() {
  for (;;) {
    Thread& self = *running_;
    Fiber& fiber = *self.fiber;
    begin(self);
    Thread* next = nullptr;
    try {
      body_(closure_);
      finish(self);
      next = next_thread();
      if (!next && finished_ < count_) stop(describe_deadlock());
    } catch (const Stopped&) {
    } catch (...) {
      exception_ = std::current_exception();
    }
    if (exception_ || !message_.empty()) Fiber::switch_to(fiber, launcher_);  // outside the handler, which would stay open for ever
    if (next && !next->fiber && !kThreadSanitizer) {
      next->fiber = &fiber;
      running_ = next;
      continue;
    }
    if (!kThreadSanitizer) crew_->idle.push_back(&fiber);
    if (!next) {
      Fiber::switch_to(fiber, launcher_);
      continue;
    }
    running_ = next;
    if (!next->fiber) next->fiber = fiber_for(*next);
    threadIdx = next->index;
    Fiber::switch_to(fiber, *next->fiber);
  }
}

void Scheduler::continue_with(Thread& next) {
  Fiber& mine = *running_->fiber;
  running_ = &next;
  if (!next.fiber) next.fiber = fiber_for(next);
  threadIdx = next.index;
  Fiber::switch_to(mine, *next.fiber);
}

void Scheduler::suspend() {
  Thread* next = next_thread();
  if (!next) stop(describe_deadlock());
  if (next != running_) continue_with(*next);
}

void Scheduler::stop(const std::string& message) {
  message_ = text(shape_.kernel, ": ", message, " [", epitaxy::describe(options_), "]");
  throw Stopped{};
}

// After an error threads are suspended in the middle of the kernel: their stacks are used anew from the top.
void Scheduler::rewind() {
  for (int i = 0; i < count_; ++i) {
    Thread& one = crew_->threads[static_cast<std::size_t>(i)];
    if (!one.fiber || (one.finished && &one != running_)) continue;
    one.fiber->restart(launcher_, &launch_end_);
    if (!kThreadSanitizer) crew_->idle.push_back(one.fiber);
  }
}

int Scheduler::meet_block(Meeting kind, bool predicate, Site site) {
  Thread& self = *running_;
  if (arrived_ > 0 && (kind != barrier_kind_ || !same(site, barrier_site_)))
    stop(text("divergent barrier: ", describe(self), " reached ", name(kind), " at ", describe(site), " while ", describe(*barrier_first_),
              " waits in ", name(barrier_kind_), " at ", describe(barrier_site_),
              "; all threads of a block must meet at the same barrier"));
  if (arrived_ == 0) {
    barrier_kind_ = kind;
    barrier_site_ = site;
    barrier_first_ = &self;
  }
  self.meeting = kind;
  self.site = site;
  const unsigned phase = barrier_phase_;
  tsan_release(&crew_->barrier[phase]);
  ++arrived_;
  predicates_ += predicate;
  if (arrived_ == count_) {
    block_result_ = kind == Meeting::syncthreads_and  ? predicates_ == count_
                    : kind == Meeting::syncthreads_or ? predicates_ > 0
                                                      : predicates_;
    arrived_ = predicates_ = 0;
    barrier_phase_ = 1 - phase;
    for (int w = 0; w < warp_count_; ++w) make_ready(w, warp(w).present);
  }
  suspend();
  self.meeting = Meeting::none;
  tsan_acquire(&crew_->barrier[phase]);
  return block_result_;
}

}  // namespace epitaxy::emulated
