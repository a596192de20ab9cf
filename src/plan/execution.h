// How a bound plan runs and how batches reach it: at once on the CPU; on a GPU as CUDA graphs, fed through pinned slots.
#pragma once

#include <memory>

#include "epitaxy/plan/plan.h"

namespace epitaxy {

/// Nodes [first, last) of a plan that are captured as one CUDA graph, or that no graph can hold (Operation::capturable).
struct Segment {
  std::size_t first, last;
  bool captured;
  bool operator==(const Segment&) const = default;
};
/// A graph's nodes in order, as few segments as there can be.
std::vector<Segment> segments_of(const Graph& graph);

/// Runs a plan. On CUDA the first run is eager (it warms libraries up), the second captures the segments that graphs can hold, later ones
/// replay them; the others always run eagerly in between.
class Execution {
 public:
  Execution(const Plan& plan, const Context& context);
  ~Execution();
  void run();

 private:
  struct Captured;
  const Plan& plan_;
  [[maybe_unused]] const Context& context_;  // used on CUDA alone
  std::unique_ptr<Captured> captured_;
};

/// Bytes of a slot that holds everything a step is fed with.
std::size_t slot_bytes(const Graph& graph);

/// Carries host batches to the values of a plan that they feed. On CUDA: two pinned slots, a copy stream and device staging, so that the
/// next batch crosses while a step runs; an event guards each slot. Elsewhere: a copy.
class Feed {
 public:
  explicit Feed(const Context& context);
  ~Feed();
  /// Makes room for slots of this size.
  void reserve(std::size_t slot_bytes);
  struct Item {
    void* to;          // on the device
    const void* from;  // on the host; may be reused when send returns
    std::size_t bytes;
  };
  void send(std::span<const Item> items);
  /// Bytes of slots and staging now, or with slots of this size.
  std::size_t bytes() const;
  static std::size_t bytes_for(const Context& context, std::size_t slot_bytes);

 private:
  struct Slots;
  const Context& context_;
  std::unique_ptr<Slots> slots_;
};

}  // namespace epitaxy
