#include "epitaxy/nn/model.h"

#include <algorithm>

#include "nn/layer_info.h"

namespace epitaxy {

Model::Model(Shape input, std::string name) : name_(std::move(name)), input_(input) {
  require(input.rank() >= 1 && input.count() >= 1, "a model's input must be [F], [T, F] or [H, W, C], got ", input);
}

Model::Id Model::add(Layer layer, Id from, std::string name) { return add(std::move(layer), std::vector<Id>{from}, std::move(name)); }

Model::Id Model::add(Layer layer, std::vector<Id> from, std::string name) {
  std::vector<Shape> inputs;
  require(!from.empty(), "a layer needs an input");
  for (const Id id : from) inputs.push_back(shape(id));
  const std::string kind = kind_of(layer);
  if (name.empty()) {
    const auto count = std::count_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return kind_of(e.layer) == kind; });
    name = kind + std::to_string(count + 1);
  }
  require(std::none_of(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.name == name; }), "two layers are named '", name,
          "'");
  try {
    require(!lengths_ || inputs[0].rank() != 2 || respects_lengths(layer),
            "it takes the padding of shorter sequences for data; of layers over whole",
            " sequences, rnn, lstm, gru and global_average_pool know lengths");
    const Shape output = output_of(layer, inputs);
    entries_.push_back({std::move(name), std::move(layer), std::move(from), output});
  } catch (const Error& error) {
    reject("layer '", name, "' on ", inputs[0], ": ", error.what());
  }
  return static_cast<Id>(entries_.size());
}

Model Model::with_lengths() const {
  require(input_.rank() == 2, "only sequences [T, F] have lengths; ", name_, " takes ", input_);
  Model result(input_, name_);
  result.lengths_ = true;
  for (const Entry& entry : entries_) result.add(entry.layer, entry.inputs, entry.name);
  return result;
}

Model::Id Model::chain(Id from, std::vector<Layer> layers) {
  for (auto& layer : layers) from = add(std::move(layer), from);
  return from;
}

const Shape& Model::shape(Id id) const {
  require(id >= 0 && id <= static_cast<Id>(entries_.size()), "layer output ", id, " is not in model '", name_, "'");
  return id == 0 ? input_ : entries_[static_cast<std::size_t>(id - 1)].output;
}

const Shape& Model::output_shape() const { return shape(static_cast<Id>(entries_.size())); }

std::vector<Parameter> Model::parameters() const {
  std::vector<Parameter> result;
  for (const auto& entry : entries_)
    for (auto& p : parameters_of(entry.layer, shape(entry.inputs[0]), entry.name)) result.push_back(std::move(p));
  return result;
}

std::vector<StateArray> Model::states() const {
  std::vector<StateArray> result;
  for (const auto& entry : entries_)
    if (std::holds_alternative<layers::BatchNorm>(entry.layer)) {
      const Shape channels{entry.output[-1]};
      result.push_back({entry.name + ".running_mean", channels, 0.0f});
      result.push_back({entry.name + ".running_var", channels, 1.0f});
    }
  return result;
}

std::int64_t Model::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& p : parameters()) count += p.shape.count();
  return count;
}

Model sequential(Shape input, std::vector<Layer> layers, std::string name) {
  Model model(input, std::move(name));
  model.chain(model.input(), std::move(layers));
  return model;
}

}  // namespace epitaxy
