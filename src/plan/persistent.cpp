#include "plan/persistent.h"

namespace epitaxy {

namespace {

std::size_t aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

/// Calls place(tensor of Persistent, spec, field of the summary) for everything a model keeps.
template <class Place>
void for_each_array(const Model& model, const CompileOptions& options, Persistent& p, MemorySummary& sizes, Place&& place) {
  const std::int64_t count = flat_layout(model.parameters()).count;
  const TensorSpec flat{DType::fp32, {count}}, scalar{DType::fp32, {1}};
  place(p.parameters, flat, sizes.parameters);
  if (storage(options.precision) != DType::fp32) place(p.copy, {storage(options.precision), {count}}, sizes.parameters);
  place(p.step, {DType::int64, {1}}, sizes.states);
  for (const auto& state : model.states()) place(p.states.emplace_back(), {DType::fp32, state.shape}, sizes.states);
  if (!options.mean.empty()) {
    place(p.mean, {DType::fp32, {static_cast<std::int64_t>(options.mean.size())}}, sizes.states);
    place(p.scale, {DType::fp32, {static_cast<std::int64_t>(options.scale.size())}}, sizes.states);
  }
  if (!options.training) return;
  place(p.gradients, flat, sizes.gradients);
  for (int i = 0; i < moment_count(options.optimizer.kind); ++i) place(p.moments.emplace_back(), flat, sizes.optimizer);
  place(p.learning_rate, scalar, sizes.states);
  place(p.gradient_scale, scalar, sizes.states);
  if (scales_loss(options.precision)) {
    place(p.loss_scale, scalar, sizes.states);
    place(p.finite_steps, scalar, sizes.states);
  }
  if (options.augmentation.any()) {
    place(p.augment_seed, {DType::int64, {1}}, sizes.states);
    place(p.epoch, {DType::int64, {1}}, sizes.states);
  }
  place(p.ring, {DType::fp32, {kRingRows, 2}}, sizes.states);
  if (!options.class_weights.empty())
    place(p.class_weights, {DType::fp32, {static_cast<std::int64_t>(options.class_weights.size())}}, sizes.states);
}

}  // namespace

MemorySummary persistent_sizes(const Model& model, const CompileOptions& options) {
  Persistent unused;
  MemorySummary sizes;
  for_each_array(model, options, unused, sizes,
                 [](Tensor&, const TensorSpec& spec, std::size_t& field) { field += aligned(spec.bytes()); });
  return sizes;
}

Persistent lay_out(const Model& model, const CompileOptions& options, const std::shared_ptr<Buffer>& buffer) {
  Persistent persistent;
  MemorySummary sizes;
  std::size_t offset = 0;
  for_each_array(model, options, persistent, sizes, [&](Tensor& tensor, const TensorSpec& spec, std::size_t&) {
    tensor = Tensor(buffer, offset, spec);
    offset += aligned(spec.bytes());
  });
  return persistent;
}

}  // namespace epitaxy
