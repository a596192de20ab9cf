#include "plan/execution.h"

#include <cstring>

#if EPITAXY_HAS_CUDA
#include "gpu/graph.h"
#endif

namespace epitaxy {

#if EPITAXY_HAS_CUDA

struct Execution::Captured {
  std::vector<Segment> segments;
  std::vector<std::unique_ptr<CapturedGraph>> graphs;  // of the segments so far that are captured; null of the others
};

/// Two of each: while the graph reads staging 0, the copy stream fills staging 1 from pinned memory 1.
struct Feed::Slots {
  explicit Slots(const Context& context) : copy_stream(context.stream) {}

  struct Slot {
    std::unique_ptr<PinnedBuffer> pinned;
    std::shared_ptr<Buffer> staging;
    Event copied;    // pinned -> staging done: pinned may be overwritten
    Event consumed;  // staging -> plan done: staging may be overwritten
  };
  SideStream copy_stream;
  Slot slots[2];
  int next = 0;
  std::size_t capacity = 0;  // bytes of one slot
};

#else

struct Execution::Captured {};
struct Feed::Slots {};

#endif

namespace {
constexpr std::size_t padded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }
bool is_cuda(const Context& context) { return context.device().kind == DeviceKind::cuda; }
}  // namespace

std::vector<Segment> segments_of(const Graph& graph) {
  std::vector<Segment> result;
  for (std::size_t n = 0; n < graph.nodes().size(); ++n) {
    const bool captured = graph.nodes()[n].operation->capturable();
    if (!result.empty() && result.back().captured == captured)
      result.back().last = n + 1;
    else
      result.push_back({n, n + 1, captured});
  }
  return result;
}

Execution::Execution(const Plan& plan, const Context& context) : plan_(plan), context_(context) {}
Execution::~Execution() = default;

void Execution::run() {
#if EPITAXY_HAS_CUDA
  if (captured_) {
    auto& graphs = captured_->graphs;
    for (std::size_t s = 0; s < captured_->segments.size(); ++s) {
      const Segment& segment = captured_->segments[s];
      const auto run = [&] { plan_.run(segment.first, segment.last); };
      if (s == graphs.size()) graphs.push_back(segment.captured ? std::make_unique<CapturedGraph>(context_.stream, run) : nullptr);
      graphs[s] ? graphs[s]->launch(context_.stream) : run();
    }
    return;
  }
#endif
  plan_.run(0, plan_.nodes().size());
#if EPITAXY_HAS_CUDA
  if (is_cuda(context_)) captured_ = std::make_unique<Captured>(Captured{segments_of(plan_.graph()), {}});
#endif
}

std::size_t slot_bytes(const Graph& graph) {
  std::size_t bytes = padded(sizeof(float)) + padded(sizeof(std::int64_t));  // learning rate, epoch
  for (const Value& value : graph.values())
    if (value.role == Role::input || value.role == Role::target) bytes += padded(value.spec.bytes());
  return bytes;
}

Feed::Feed(const Context& context) : context_(context) {
#if EPITAXY_HAS_CUDA
  if (is_cuda(context)) slots_ = std::make_unique<Slots>(context);
#endif
}

Feed::~Feed() = default;

void Feed::reserve([[maybe_unused]] std::size_t needed) {
#if EPITAXY_HAS_CUDA
  if (!slots_ || needed <= slots_->capacity) return;
  context_.backend->synchronize(context_.stream);
  for (auto& slot : slots_->slots) {
    slot.copied.synchronize();
    slot.pinned = std::make_unique<PinnedBuffer>(needed);
    slot.staging = std::make_shared<Buffer>(*context_.backend, needed);
  }
  slots_->capacity = needed;
#endif
}

void Feed::send(std::span<const Item> items) {
#if EPITAXY_HAS_CUDA
  if (slots_) {
    auto& slot = slots_->slots[slots_->next];
    slots_->next ^= 1;
    const Stream copying = slots_->copy_stream.get();
    slot.copied.synchronize();
    slot.consumed.hold_back(copying);
    std::size_t offset = 0;
    for (const Item& item : items) {
      require(offset + item.bytes <= slots_->capacity, "feed: a batch exceeds its slot");
      std::memcpy(slot.pinned->data() + offset, item.from, item.bytes);
      context_.backend->copy(slot.staging->data() + offset, slot.pinned->data() + offset, item.bytes, copying);
      offset += padded(item.bytes);
    }
    slot.copied.record(copying);
    slot.copied.hold_back(context_.stream);
    offset = 0;
    for (const Item& item : items) {
      context_.backend->copy(item.to, slot.staging->data() + offset, item.bytes, context_.stream);
      offset += padded(item.bytes);
    }
    slot.consumed.record(context_.stream);
    return;
  }
#endif
  for (const Item& item : items) context_.backend->copy(item.to, item.from, item.bytes, context_.stream);
  context_.backend->synchronize(context_.stream);
}

std::size_t Feed::bytes() const {
#if EPITAXY_HAS_CUDA
  if (slots_) return 4 * slots_->capacity;
#endif
  return 0;
}

std::size_t Feed::bytes_for(const Context& context, std::size_t slot_bytes) { return is_cuda(context) ? 4 * slot_bytes : 0; }

}  // namespace epitaxy
