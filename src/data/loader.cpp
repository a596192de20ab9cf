#include "epitaxy/data/loader.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "epitaxy/philox.h"

namespace epitaxy {

namespace {

TensorSpec batch_spec(const Tensor& data, std::int64_t batch) {
  TensorSpec spec = data.spec();
  spec.shape.set(0, batch);
  return spec;
}

std::size_t bytes_per_item(const Tensor& data) { return data ? data.bytes() / static_cast<std::size_t>(data.dim(0)) : 0; }

/// Item `item` of the data becomes item `slot` of the batch. An empty tensor (no targets, no lengths) is left alone.
void copy_item(const Tensor& data, std::size_t item, const Tensor& batch, std::size_t slot) {
  const std::size_t bytes = bytes_per_item(data);
  if (bytes)
    std::memcpy(static_cast<std::byte*>(batch.data()) + slot * bytes, static_cast<const std::byte*>(data.data()) + item * bytes, bytes);
}

}  // namespace

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
  check_stretch(options_.stretch, data_, true);
  const std::int64_t batch = std::min(options_.batch, data_.size());
  std::size_t bytes = 0;
  const auto place = [&](const Tensor& all) {  // of a batch of it in a slot
    const std::size_t at = (bytes + 255) / 256 * 256;
    if (all) bytes = at + bytes_per_item(all) * static_cast<std::size_t>(batch);
    return at;
  };
  const std::size_t inputs_at = place(data_.inputs), targets_at = place(data_.targets), lengths_at = place(data_.lengths);
  slots_.resize(static_cast<std::size_t>(options_.slots));
  for (auto& slot : slots_) {
    const auto memory = options_.allocate ? options_.allocate(bytes) : std::make_shared<Buffer>(cpu_backend(), bytes);
    slot.inputs = Tensor(memory, inputs_at, batch_spec(data_.inputs, batch));
    if (data_.targets) slot.targets = Tensor(memory, targets_at, batch_spec(data_.targets, batch));
    if (data_.lengths) slot.lengths = Tensor(memory, lengths_at, batch_spec(data_.lengths, batch));
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
  if (slot.lengths) view.lengths = slot.lengths.slice(0, slot.count);
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
  const Shape image = data_.inputs.shape().tail();
  for (std::int64_t i = 0; i < slot.count; ++i) {
    const std::int64_t item = order_[static_cast<std::size_t>(slot.first + i)];
    const auto from = static_cast<std::size_t>(item), to = static_cast<std::size_t>(i);
    if (options_.augmentation.any())
      apply_augmentation(draw_augmentation(options_.augmentation, options_.seed, epoch_, from), options_.augmentation.fill,
                         data_.inputs.slice(item, 1).reshape(image), slot.inputs.slice(i, 1).reshape(image));
    else if (options_.stretch > 0)
      stretch(draw_stretch(options_.stretch, options_.seed, epoch_, from), data_.inputs.slice(item, 1).reshape(image),
              slot.inputs.slice(i, 1).reshape(image));
    else
      copy_item(data_.inputs, from, slot.inputs, to);
    copy_item(data_.targets, from, slot.targets, to);
    copy_item(data_.lengths, from, slot.lengths, to);
  }
}

}  // namespace epitaxy
