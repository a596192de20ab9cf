// Captured steps, pinned slots and events on a real card.
#include "gpu/graph.h"

#include <cstring>
#include <stdexcept>

#include "epitaxy/ops/optimizer.h"
#include "gpu/backend.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

constexpr Device kCard{DeviceKind::cuda, 0};

class CudaGraph : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_absent(kCard); !why.empty()) {
      skip_device(kCard, why);
      GTEST_SKIP() << why;
    }
    context_.emplace(make_context(kCard));
    step_ = Tensor(*context_->backend, {DType::int64, {1}});
    context_->backend->zero(step_.data(), step_.bytes(), context_->stream);
  }
  /// step = step + 1, in place.
  void advance() const {
    const std::vector<Tensor> tensors{step_};
    advance_step()->run({tensors, tensors, {}, nullptr, *context_});
  }
  std::int64_t step() const { return copy_to(cpu_backend(), step_, *context_->backend).as<std::int64_t>()[0]; }
  std::optional<Context> context_;
  Tensor step_;
};

TEST_F(CudaGraph, CapturedWorkRunsOncePerLaunch) {
  const CapturedGraph graph(context_->stream, [&] {
    advance();
    advance();
  });
  EXPECT_EQ(step(), 0) << "capturing must not run";
  for (int i = 0; i < 5; ++i) graph.launch(context_->stream);
  EXPECT_EQ(step(), 10);
}

TEST_F(CudaGraph, FailedCaptureLeavesTheStreamUsable) {
  const auto failing = [&] {
    advance();
    throw std::runtime_error("no");
  };
  EXPECT_THROW(CapturedGraph(context_->stream, failing), std::runtime_error);
  advance();
  EXPECT_EQ(step(), 1);
}

TEST_F(CudaGraph, EventsOrderTwoStreams) {
  const SideStream side(context_->stream);
  PinnedBuffer slot(sizeof(std::int64_t));
  Event filled, read;
  read.synchronize();  // never recorded: nothing to wait for
  for (std::int64_t value = 1; value <= 50; ++value) {
    read.synchronize();
    std::memcpy(slot.data(), &value, sizeof(value));
    read.hold_back(side.get());
    context_->backend->copy(step_.data(), slot.data(), slot.bytes(), side.get());
    filled.record(side.get());
    filled.hold_back(context_->stream);
    advance();
    read.record(context_->stream);
    ASSERT_EQ(step(), value + 1);
  }
}

}  // namespace
}  // namespace epitaxy::test
