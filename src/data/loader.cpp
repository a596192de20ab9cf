#include "epitaxy/data/loader.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "epitaxy/philox.h"

namespace epitaxy {

std::vector<std::int64_t> epoch_order(std::int64_t count, std::uint64_t seed, std::uint32_t epoch, bool shuffle) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (shuffle) Random(seed, RandomPurpose::shuffle, 0, epoch).shuffle(order);
  return order;
}

Loader::Loader(const Dataset& data, LoaderOptions options) : data_(data), options_(std::move(options)) {
  require(options_.batch >= 1, "loader: a batch of ", options_.batch, "; it must be at least 1");
  require(options_.slots >= 2, "loader: ", options_.slots, " slots; it takes at least 2");
  require(data_.size() > 0, "loader: '", data_.source, "' is empty");
  check_augmentation(options_.augmentation, data_, true);  // whether targets may change is decided where they are known
  const std::int64_t batch = std::min(options_.batch, data_.size());
  TensorSpec inputs = data_.inputs.spec(), targets = data_.targets.spec();
  inputs.shape.set(0, batch);
  if (data_.targets) targets.shape.set(0, batch);
  const std::size_t targets_at = (inputs.bytes() + 255) / 256 * 256, bytes = targets_at + (data_.targets ? targets.bytes() : 0);
  slots_.resize(static_cast<std::size_t>(options_.slots));
  for (auto& slot : slots_) {
    const auto memory = options_.allocate ? options_.allocate(bytes) : std::make_shared<Buffer>(cpu_backend(), bytes);
    slot.inputs = Tensor(memory, 0, inputs);
    if (data_.targets) slot.targets = Tensor(memory, targets_at, targets);
  }
  worker_ = std::thread([this] { work(); });
}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

std::int64_t Loader::batches_per_epoch() const { return (data_.size() + options_.batch - 1) / options_.batch; }

void Loader::start(std::uint32_t epoch, std::int64_t first_batch) {
  require(first_batch >= 0 && first_batch <= batches_per_epoch(), "loader: batch ", first_batch, " of an epoch of ", batches_per_epoch());
  auto order = epoch_order(data_.size(), options_.seed, epoch, options_.shuffle);
  {
    std::unique_lock lock(mutex_);
    end_ = 0;  // begin nothing more, and wait for what is under way
    changed_.wait(lock, [this] { return !filling_; });
    order_ = std::move(order);
    epoch_ = epoch;
    error_ = nullptr;
    filled_ = next_view_ = released_ = first_batch;
    end_ = batches_per_epoch();
  }
  changed_.notify_all();
}

std::optional<BatchView> Loader::next() {
  std::unique_lock lock(mutex_);
  released_ = next_view_;
  changed_.notify_all();
  if (next_view_ >= end_) return std::nullopt;
  changed_.wait(lock, [this] { return error_ || filled_ > next_view_; });
  if (filled_ <= next_view_) std::rethrow_exception(error_);
  const Slot& slot = slot_of(next_view_);
  BatchView view;
  view.inputs = slot.inputs.slice(0, slot.count);
  if (slot.targets) view.targets = slot.targets.slice(0, slot.count);
  view.batch = next_view_;
  view.items = std::span(order_).subspan(static_cast<std::size_t>(slot.first), static_cast<std::size_t>(slot.count));
  view.slot = static_cast<int>(next_view_ % options_.slots);
  ++next_view_;
  return view;
}

void Loader::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || (!error_ && filled_ < end_ && filled_ - released_ < options_.slots); });
    if (stop_) return;
    const std::int64_t batch = filled_;
    filling_ = true;
    lock.unlock();
    std::exception_ptr error;
    try {
      fill(batch);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    filling_ = false;
    if (error)
      error_ = error;
    else
      ++filled_;
    changed_.notify_all();
  }
}

void Loader::fill(std::int64_t batch) {
  Slot& slot = slot_of(batch);
  if (slot.used && options_.before_reuse) options_.before_reuse(static_cast<int>(batch % options_.slots));
  slot.used = true;
  slot.first = batch * options_.batch;
  slot.count = std::min(options_.batch, data_.size() - slot.first);
  const std::size_t input_bytes = data_.inputs.bytes() / static_cast<std::size_t>(data_.size());
  const std::size_t target_bytes = data_.targets ? data_.targets.bytes() / static_cast<std::size_t>(data_.size()) : 0;
  const auto* inputs = static_cast<const std::byte*>(data_.inputs.data());
  const auto* targets = static_cast<const std::byte*>(data_.targets.data());
  const TensorSpec image{data_.inputs.dtype(), data_.inputs.shape().tail()};
  for (std::int64_t i = 0; i < slot.count; ++i) {
    const auto item = static_cast<std::size_t>(order_[static_cast<std::size_t>(slot.first + i)]);
    auto* to = static_cast<std::byte*>(slot.inputs.data()) + static_cast<std::size_t>(i) * input_bytes;
    auto* from = const_cast<std::byte*>(inputs) + item * input_bytes;  // a Tensor views memory as writable; this one is only read
    if (options_.augmentation.any())
      apply_augmentation(draw_augmentation(options_.augmentation, options_.seed, epoch_, item), options_.augmentation.fill,
                         Tensor(from, image, {}), Tensor(to, image, {}));
    else
      std::memcpy(to, from, input_bytes);
    if (target_bytes)
      std::memcpy(static_cast<std::byte*>(slot.targets.data()) + static_cast<std::size_t>(i) * target_bytes, targets + item * target_bytes,
                  target_bytes);
  }
}

}  // namespace epitaxy
