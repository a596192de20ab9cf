#include "epitaxy/ops/reduce.h"

#include <cmath>

#include "kernels/reduce.h"
#include "ops/device_wide.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

class ChannelSum final : public Operation {
 public:
  std::string name() const override { return "channel_sum"; }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("channel_sum", inputs.size(), 1, 1);
    require(is_floating(inputs[0].dtype) && inputs[0].shape.rank() >= 1 && inputs[0].shape.count() > 0,
            "channel_sum: x must be floating [..., C] and not empty, got ", inputs[0]);
    return {{DType::fp32, {inputs[0].shape[-1]}}};
  }
  std::size_t workspace_bytes(std::span<const TensorSpec> inputs, const Context&, const Prepared*) const override {
    const std::int64_t channels = inputs[0].shape[-1], pixels = inputs[0].shape.count() / channels;
    return static_cast<std::size_t>(pixel_tiles(pixels).tiles * channels) * sizeof(float);
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const ChannelSumArgs args{
        x.data(), call.outputs[0].as<float>(), static_cast<float*>(call.workspace.data()), x.count() / x.dim(-1), x.dim(-1), x.dtype()};
    dispatch<CpuPath::fast>(call.context, [&]<class World>(Stream stream) { channel_sum<World>(args, stream); });
  }
  Tolerance tolerance(std::span<const TensorSpec> inputs) const override {
    const std::int64_t pixels = inputs[0].shape.count() / inputs[0].shape[-1];
    // A tile adds its pixels one after another, or in rows; then a tree, or up to 1024 tiles one after another.
    const PixelTiles tiles = pixel_tiles(pixels);
    return {.factor = 1, .terms = static_cast<double>(tiles.size + tiles.tiles), .magnitude = Tolerance::Magnitude::absolute_inputs};
  }
};

class Histogram final : public Operation {
 public:
  Histogram(std::int64_t bins, float low, float high) : bins_(bins), low_(low), high_(high) {
    require(bins >= 1 && bins <= (1 << 24), "histogram: bins must lie in [1, 2^24], got ", bins);
    require(std::isfinite(low) && std::isfinite(high) && low < high, "histogram: needs finite low < high, got ", low, " and ", high);
  }
  std::string name() const override { return "histogram"; }
  std::string details() const override { return text(bins_, " bins in [", low_, ", ", high_, "]"); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("histogram", inputs.size(), 1, 1);
    const DType dtype = inputs[0].dtype;
    require(dtype == DType::uint8 || dtype == DType::uint16 || dtype == DType::fp32, "histogram: x must be uint8, uint16 or fp32, got ",
            inputs[0]);
    return {{DType::int64, {bins_}}};
  }
  std::size_t workspace_bytes(std::span<const TensorSpec> inputs, const Context& context, const Prepared*) const override {
    if constexpr (kHasCuda)
      if (context.device().kind == DeviceKind::cuda)
        return histogram_scratch_bytes({nullptr, nullptr, nullptr, 0, inputs[0].shape.count(), bins_, low_, high_, inputs[0].dtype});
    return 0;
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const HistogramArgs args{
        x.data(), call.outputs[0].as<std::int64_t>(), call.workspace.data(), call.workspace.bytes(), x.count(), bins_, low_, high_,
        x.dtype()};
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { histogram<DeviceWide<World>>(args, stream); });
  }

 private:
  std::int64_t bins_;
  float low_, high_;
};

class Permutation final : public Operation {
 public:
  Permutation(std::int64_t count, std::uint64_t seed, std::uint32_t epoch) : count_(count), seed_(seed), epoch_(epoch) {
    require(count >= 0, "permutation: count must not be negative, got ", count);
  }
  std::string name() const override { return "permutation"; }
  std::string details() const override { return text(count_, " items, seed ", seed_, ", epoch ", epoch_); }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("permutation", inputs.size(), 0, 0);
    return {{DType::int64, {count_}}};
  }
  std::size_t workspace_bytes(std::span<const TensorSpec>, const Context& context, const Prepared*) const override {
    if constexpr (kHasCuda)
      if (context.device().kind == DeviceKind::cuda) return permutation_scratch_bytes({nullptr, nullptr, 0, count_, seed_, epoch_});
    return 0;
  }
  void run(const Call& call) const override {
    const PermutationArgs args{call.outputs[0].as<std::int64_t>(), call.workspace.data(), call.workspace.bytes(), count_, seed_, epoch_};
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { permutation<DeviceWide<World>>(args, stream); });
  }

 private:
  std::int64_t count_;
  std::uint64_t seed_;
  std::uint32_t epoch_;
};

}  // namespace

OperationPtr channel_sum() { return std::make_shared<ChannelSum>(); }
OperationPtr histogram(std::int64_t bins, float low, float high) { return std::make_shared<Histogram>(bins, low, high); }
OperationPtr permutation(std::int64_t count, std::uint64_t seed, std::uint32_t epoch) {
  return std::make_shared<Permutation>(count, seed, epoch);
}

}  // namespace epitaxy
