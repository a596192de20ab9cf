// Batches of a data set, prepared by a worker thread while the previous batch is in use.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "epitaxy/data/augment.h"
#include "epitaxy/data/dataset.h"

namespace epitaxy {

struct LoaderOptions {
  std::int64_t batch = 32;
  bool shuffle = true;
  std::uint64_t seed = 1;  // of the order and of the augmentation
  Augmentation augmentation{};
  double stretch = 0;  // of sequences: see data/augment.h
  int slots = 2;       // batches in memory: one in use, the others being filled
  /// Memory of a slot (inputs, targets, lengths, each at a multiple of 256 bytes), asked for once per slot; default: host memory. Give
  /// pinned memory for fast copies to a GPU.
  std::function<std::shared_ptr<Buffer>(std::size_t bytes)> allocate{};
  /// Called by the worker before it overwrites a slot: wait here for an asynchronous copy out of it.
  std::function<void(int slot)> before_reuse{};
};

/// Batch number `batch` of its epoch. Its tensors are contiguous; the last batch of an epoch may be smaller.
struct BatchView {
  Tensor inputs;   // [B, ...] of the data set's dtype
  Tensor targets;  // [B] int32 or [B, T] fp32; empty where the data set has none
  Tensor lengths;  // [B] int32; empty where the data set has none
  std::int64_t batch = 0;
  std::span<const std::int64_t> items;  // which items of the data set
  int slot = 0;
};

/// The order of an epoch: a Philox shuffle of 0..count-1 that depends on (seed, epoch) alone; 0..count-1 itself without shuffle.
std::vector<std::int64_t> epoch_order(std::int64_t count, std::uint64_t seed, std::uint32_t epoch, bool shuffle = true);

/// Use: loader.start(epoch); while (auto batch = loader.next()) {...}. Nothing is padded or dropped. Not for several consumers at once.
class Loader {
 public:
  /// `data` must outlive the loader and stay unchanged. Rejects a batch < 1, fewer than 2 slots, or an empty data set.
  Loader(const Dataset& data, LoaderOptions options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Begins (or abandons and begins) an epoch at a batch: (epoch, first_batch) of a checkpoint resumes it exactly.
  void start(std::uint32_t epoch, std::int64_t first_batch = 0);
  /// The next batch, valid until the following call of next() or start(); nothing at the end of the epoch. Rethrows the worker's errors.
  std::optional<BatchView> next();
  std::int64_t batches_per_epoch() const;

 private:
  struct Slot {
    Tensor inputs, targets, lengths;
    std::int64_t first = 0, count = 0;
    bool used = false;  // has been filled before
  };

  void work();
  void fill(std::int64_t batch);
  Slot& slot_of(std::int64_t batch) { return slots_[static_cast<std::size_t>(batch % options_.slots)]; }

  const Dataset& data_;
  const LoaderOptions options_;
  std::vector<Slot> slots_;
  std::vector<std::int64_t> order_;  // of the current epoch; changed only while the worker is idle
  std::uint32_t epoch_ = 0;

  std::mutex mutex_;  // guards what follows; batches are numbered within the epoch
  std::condition_variable changed_;
  std::int64_t filled_ = 0;     // batches below are ready, or were
  std::int64_t next_view_ = 0;  // the next to be handed out
  std::int64_t released_ = 0;   // batches below are no longer in use
  std::int64_t end_ = 0;
  bool filling_ = false, stop_ = false;
  std::exception_ptr error_;
  std::thread worker_;  // last: starts when all else is ready
};

}  // namespace epitaxy
