// The loader: order, tail, resume, augmentation independent of timing, errors and shutdown.
#include "epitaxy/data/loader.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "files.h"

namespace epitaxy::test {

/// Item i is an image full of i, with label i mod 3.
Dataset numbered(std::int64_t count) {
  Dataset data;
  data.inputs = Tensor(cpu_backend(), {DType::uint16, {count, 4, 4, 1}});
  data.targets = Tensor(cpu_backend(), {DType::int32, {count}});
  for (std::int64_t i = 0; i < count; ++i) {
    std::fill_n(data.inputs.as<std::uint16_t>() + i * 16, 16, static_cast<std::uint16_t>(i));
    data.targets.as<std::int32_t>()[i] = static_cast<std::int32_t>(i % 3);
  }
  data.class_names = {"0", "1", "2"};
  data.source = "numbered";
  return data;
}

struct Epoch {
  std::vector<std::int64_t> items;
  std::vector<std::int64_t> sizes;
};

Epoch run(Loader& loader, const Dataset& data) {
  Epoch epoch;
  while (const auto batch = loader.next()) {
    EXPECT_EQ(batch->inputs.dim(0), static_cast<std::int64_t>(batch->items.size()));
    epoch.sizes.push_back(batch->inputs.dim(0));
    for (std::size_t i = 0; i < batch->items.size(); ++i) {
      const std::int64_t item = batch->items[i];
      epoch.items.push_back(item);
      EXPECT_EQ(batch->inputs.as<std::uint16_t>()[i * 16 + 15], data.inputs.as<std::uint16_t>()[item * 16]);
      EXPECT_EQ(batch->targets.as<std::int32_t>()[i], item % 3);
    }
  }
  return epoch;
}

TEST(Loader, GivesEveryItemOncePerEpochInItsOrder) {
  const Dataset data = numbered(23);
  Loader loader(data, {.batch = 5, .seed = 9});
  EXPECT_EQ(loader.batches_per_epoch(), 5);
  EXPECT_FALSE(loader.next()) << "no epoch was started";
  for (const std::uint32_t epoch : {0u, 1u, 7u}) {
    loader.start(epoch);
    const Epoch got = run(loader, data);
    EXPECT_EQ(got.sizes, (std::vector<std::int64_t>{5, 5, 5, 5, 3}));
    EXPECT_EQ(got.items, epoch_order(23, 9, epoch));
    EXPECT_FALSE(loader.next());
  }
  auto sorted = epoch_order(23, 9, 0);
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, epoch_order(23, 9, 0, false));
  EXPECT_NE(epoch_order(23, 9, 0), epoch_order(23, 9, 1));
  EXPECT_NE(epoch_order(23, 9, 0), epoch_order(23, 10, 0));
}

TEST(Loader, ResumesWithinAnEpoch) {
  const Dataset data = numbered(50);
  const auto order = epoch_order(50, 1, 3);
  Loader loader(data, {.batch = 8});
  for (std::int64_t first = 0; first <= 7; ++first) {
    loader.start(3, first);
    EXPECT_EQ(run(loader, data).items, (std::vector<std::int64_t>(order.begin() + std::min<std::int64_t>(first * 8, 50), order.end())));
  }
  error_of([&] { loader.start(3, 8); }, Fault::usage);
}

TEST(Loader, WithoutShuffleInOrder) {
  const Dataset data = numbered(7);
  Loader loader(data, {.batch = 100, .shuffle = false});
  loader.start(5);
  EXPECT_EQ(run(loader, data).items, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6}));
}

TEST(Loader, ABatchStaysWhileItIsInUse) {
  const Dataset data = numbered(40);
  Loader loader(data, {.batch = 1, .shuffle = false});
  loader.start(0);
  for (std::int64_t i = 0; i < 40; ++i) {
    const auto batch = loader.next();
    ASSERT_TRUE(batch);
    for (int look = 0; look < 50; ++look) {  // the worker has time to run ahead
      std::this_thread::yield();
      ASSERT_EQ(batch->inputs.as<std::uint16_t>()[0], i);
    }
  }
}

TEST(Loader, AugmentationDoesNotDependOnBatchOrSlots) {
  Dataset data = numbered(30);
  for (std::int64_t i = 0; i < data.inputs.count(); ++i) data.inputs.as<std::uint16_t>()[i] = static_cast<std::uint16_t>(i);
  const Augmentation all{.flip_horizontal = true, .flip_vertical = true, .rotate = true, .shift = 1};
  const auto collect = [&](std::int64_t batch, int slots, std::uint32_t epoch, bool shuffle) {
    Loader loader(data, {.batch = batch, .shuffle = shuffle, .seed = 4, .augmentation = all, .slots = slots});
    loader.start(epoch);
    std::vector<std::uint16_t> images(static_cast<std::size_t>(data.inputs.count()));
    while (const auto view = loader.next())
      for (std::size_t i = 0; i < view->items.size(); ++i)
        std::memcpy(images.data() + view->items[i] * 16, view->inputs.as<std::uint16_t>() + i * 16, 32);
    return images;
  };
  const auto one = collect(7, 2, 1, true);
  EXPECT_EQ(one, collect(4, 3, 1, true));
  EXPECT_EQ(one, collect(7, 2, 1, false));
  EXPECT_NE(one, collect(7, 2, 2, true));
  EXPECT_NE(one, values_of<std::uint16_t>(data.inputs));
}

TEST(Loader, StretchesEachSequenceByItsOwnDraw) {
  Dataset data;
  data.inputs = Tensor(cpu_backend(), {DType::fp32, {5, 16, 1}});
  for (std::int64_t i = 0; i < data.inputs.count(); ++i) data.inputs.as<float>()[i] = static_cast<float>(i * i % 17);
  Loader loader(data, {.batch = 2, .seed = 4, .stretch = 0.25});
  loader.start(3);
  Tensor wanted(cpu_backend(), {DType::fp32, {16, 1}});
  int seen = 0;
  while (const auto view = loader.next())
    for (std::size_t i = 0; i < view->items.size(); ++i, ++seen) {
      const std::int64_t item = view->items[i];
      stretch(draw_stretch(0.25, 4, 3, static_cast<std::uint64_t>(item)), data.inputs.slice(item, 1).reshape({16, 1}), wanted);
      EXPECT_EQ(values_of<float>(view->inputs.slice(static_cast<std::int64_t>(i), 1)), values_of<float>(wanted));
    }
  EXPECT_EQ(seen, 5);
}

TEST(Loader, SlotMemoryComesFromTheCaller) {
  const Dataset data = numbered(10);
  std::vector<std::size_t> asked;
  std::vector<const void*> given;
  std::vector<int> reused;
  LoaderOptions options{.batch = 4, .slots = 3};
  options.allocate = [&](std::size_t bytes) {
    asked.push_back(bytes);
    auto memory = std::make_shared<Buffer>(cpu_backend(), bytes);
    given.push_back(memory->data());
    return memory;
  };
  options.before_reuse = [&](int slot) { reused.push_back(slot); };  // the worker's alone until the loader is gone
  {
    Loader loader(data, options);
    for (std::uint32_t epoch = 0; epoch < 2; ++epoch) {
      loader.start(epoch);
      while (const auto batch = loader.next()) EXPECT_EQ(batch->inputs.data(), given[static_cast<std::size_t>(batch->slot)]);
    }
  }
  EXPECT_EQ(asked, (std::vector<std::size_t>(3, 256 + 4 * sizeof(std::int32_t))));  // 4 images of 32 bytes, rounded up; then labels
  EXPECT_EQ(reused, (std::vector<int>{0, 1, 2})) << "every filling but the first of a slot";
}

TEST(Loader, ErrorsOfTheWorkerArriveInNext) {
  const Dataset data = numbered(10);
  LoaderOptions options{.batch = 2, .shuffle = false};
  std::atomic<bool> broken = true;
  options.before_reuse = [&](int) {
    if (broken) fail("the copy failed");
  };
  Loader loader(data, options);
  loader.start(0);
  ASSERT_TRUE(loader.next());  // both slots are filled before the first reuse
  ASSERT_TRUE(loader.next());
  EXPECT_TRUE(mentions(error_of([&] { loader.next(); }, Fault::failure), {"the copy failed"}));
  EXPECT_TRUE(mentions(error_of([&] { loader.next(); }, Fault::failure), {"the copy failed"})) << "it stays broken";
  broken = false;
  loader.start(0);
  EXPECT_EQ(run(loader, data).items.size(), 10u);
}

TEST(Loader, StopsAtAnyMoment) {
  const Dataset data = numbered(100);
  for (int taken = 0; taken < 12; ++taken) {
    Loader loader(data, {.batch = 3});
    if (taken > 0) loader.start(0);
    for (int i = 1; i < taken; ++i) ASSERT_TRUE(loader.next());
    if (taken % 3 == 0) loader.start(1, static_cast<std::int64_t>(taken));  // abandons the epoch
  }
}

TEST(Loader, TablesAndUnlabelledData) {
  Dataset data;
  data.inputs = Tensor(cpu_backend(), {DType::fp32, {3, 2}});
  for (int i = 0; i < 6; ++i) data.inputs.as<float>()[i] = static_cast<float>(i);
  data.source = "table";
  Loader loader(data, {.batch = 2, .shuffle = false});
  loader.start(0);
  auto batch = loader.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(values_of<float>(batch->inputs), (std::vector<float>{0, 1, 2, 3}));
  EXPECT_FALSE(batch->targets);
  batch = loader.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(values_of<float>(batch->inputs), (std::vector<float>{4, 5}));
  data.task = Task::regression;
  data.targets = Tensor(cpu_backend(), {DType::fp32, {3, 2}});
  std::memcpy(data.targets.data(), data.inputs.data(), 24);
  Loader with_targets(data, {.batch = 2, .shuffle = false});
  with_targets.start(0, 1);
  batch = with_targets.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(values_of<float>(batch->targets), (std::vector<float>{4, 5}));
}

TEST(Loader, LengthsGoWithTheirItems) {
  Dataset data = numbered(5);
  data.lengths = Tensor(cpu_backend(), {DType::int32, {5}});
  for (int i = 0; i < 5; ++i) data.lengths.as<std::int32_t>()[i] = 10 + i;
  Loader loader(data, {.batch = 3});
  loader.start(0);
  while (const auto batch = loader.next()) {
    ASSERT_EQ(batch->lengths.shape(), (Shape{static_cast<std::int64_t>(batch->items.size())}));
    for (std::size_t i = 0; i < batch->items.size(); ++i) EXPECT_EQ(batch->lengths.as<std::int32_t>()[i], 10 + batch->items[i]);
  }
  EXPECT_EQ(values_of<std::int32_t>(subset(data, std::vector<std::int64_t>{4, 1}).lengths), (std::vector<std::int32_t>{14, 11}));
}

TEST(Loader, RejectsBadOptions) {
  const Dataset data = numbered(4), empty;
  error_of([&] { Loader(data, {.batch = 0}); }, Fault::usage);
  error_of([&] { Loader(data, {.slots = 1}); }, Fault::usage);
  error_of([&] { Loader(empty, {}); }, Fault::usage);
}

}  // namespace epitaxy::test
