// What a compiled model learns and keeps, by name: weights, running statistics, optimizer arrays.
#include <algorithm>

#include "plan/compiled_impl.h"

namespace epitaxy {

std::vector<NamedTensor> CompiledModel::weights() const {
  std::vector<NamedTensor> result;
  const auto add = [&](const std::string& name, const Tensor& from, const Shape& shape) {
    const auto numbers = impl_->read(from);
    const Tensor host(cpu_backend(), {DType::fp32, shape});
    std::copy(numbers.begin(), numbers.end(), host.as<float>());
    result.push_back({name, host});
  };
  const auto parameters = impl_->model.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i)
    add(parameters[i].name, impl_->flat_view(impl_->persistent.parameters, i, parameters[i].shape), parameters[i].shape);
  const auto states = impl_->model.states();
  for (std::size_t i = 0; i < states.size(); ++i) add(states[i].name, impl_->persistent.states[i], states[i].shape);
  return result;
}

void CompiledModel::set_weights(const std::vector<NamedTensor>& weights) {
  const auto parameters = impl_->model.parameters();
  const auto states = impl_->model.states();
  std::map<std::string, const Tensor*> given;
  for (const auto& weight : weights) require(given.emplace(weight.name, &weight.tensor).second, "weights: '", weight.name, "' comes twice");
  const auto take = [&](const std::string& name, const Shape& shape) {
    const auto at = given.find(name);
    require(at != given.end(), "weights: '", name, "' of model ", impl_->model.name(), " is missing");
    const Tensor& tensor = *at->second;
    require(tensor.dtype() == DType::fp32 && tensor.shape() == shape, "weights: '", name, "' is ", tensor.spec(), ", expected fp32 ",
            shape);
    given.erase(at);
    return tensor;
  };
  std::vector<Tensor> values, kept;
  for (const auto& p : parameters) values.push_back(take(p.name, p.shape));
  for (const auto& s : states) kept.push_back(take(s.name, s.shape));
  require(given.empty(), "weights: '", given.empty() ? "" : given.begin()->first, "' is not in model ", impl_->model.name());
  impl_->context.backend->synchronize(impl_->context.stream);
  for (std::size_t i = 0; i < values.size(); ++i) impl_->write_parameter(i, values[i]);
  for (std::size_t i = 0; i < kept.size(); ++i) impl_->write(impl_->persistent.states[i], kept[i].data());
  impl_->round_copy();
}

std::vector<NamedTensor> CompiledModel::optimizer_state() const {
  std::vector<NamedTensor> result;
  const auto parameters = impl_->model.parameters();
  for (std::size_t m = 0; m < impl_->persistent.moments.size(); ++m)
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Tensor view = impl_->flat_view(impl_->persistent.moments[m], i, parameters[i].shape);
      result.push_back({parameters[i].name + ".moment" + std::to_string(m + 1), copy_to(cpu_backend(), view, *impl_->context.backend)});
    }
  const Persistent& kept = impl_->persistent;
  for (const auto& [name, tensor] : {std::pair{"loss_scale", &kept.loss_scale}, std::pair{"finite_steps", &kept.finite_steps}})
    if (*tensor) result.push_back({name, copy_to(cpu_backend(), *tensor, *impl_->context.backend)});
  result.push_back({"step", Tensor(cpu_backend(), {DType::int64, {1}})});
  *result.back().tensor.as<std::int64_t>() = impl_->steps;
  return result;
}

void CompiledModel::set_optimizer_state(const std::vector<NamedTensor>& state) {
  const auto expected = optimizer_state();
  require(state.size() == expected.size(), "optimizer state: ", state.size(), " arrays, expected ", expected.size());
  const auto parameters = impl_->model.parameters();
  for (std::size_t i = 0; i < state.size(); ++i)
    require(state[i].name == expected[i].name && state[i].tensor.spec() == expected[i].tensor.spec(), "optimizer state: '", state[i].name,
            "' ", state[i].tensor.spec(), ", expected '", expected[i].name, "' ", expected[i].tensor.spec());
  std::size_t at = 0;
  for (const auto& moment : impl_->persistent.moments)
    for (std::size_t i = 0; i < parameters.size(); ++i)
      impl_->write(impl_->flat_view(moment, i, parameters[i].shape), state[at++].tensor.data());
  for (const Tensor* tensor : {&impl_->persistent.loss_scale, &impl_->persistent.finite_steps})
    if (*tensor) impl_->write(*tensor, state[at++].tensor.data());
  impl_->write(impl_->persistent.step, state[at].tensor.data());
  impl_->steps = impl_->metrics_read = *state[at].tensor.as<std::int64_t>();
}

}  // namespace epitaxy
