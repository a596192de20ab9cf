// What a layer is before it is built: its kind, output shape and parameters.
#pragma once

#include <span>

#include "epitaxy/nn/model.h"

namespace epitaxy {

/// "conv", "dense", "bn", ...: the stem of default names, and the kind in model.json.
std::string kind_of(const Layer& layer);
/// Output shape of one item; rejects shapes that do not fit.
Shape output_of(const Layer& layer, std::span<const Shape> inputs);
/// The layer's parameters in the order it uses them, names prefixed with `name`.
std::vector<Parameter> parameters_of(const Layer& layer, const Shape& input, const std::string& name);

/// Over an image of one row: what a layer over sequences is built as.
layers::Conv2d as_conv2d(const layers::Conv1d& layer);
layers::MaxPool2d as_max_pool2d(const layers::MaxPool1d& layer);
/// Whether a layer over sequences [T, C] keeps padded steps apart from the others: it works on each step alone, or knows the lengths.
bool respects_lengths(const Layer& layer);

/// The operation's options for `count` layers of a recurrent layer.
RnnOptions rnn_options(const layers::Rnn& layer, std::int64_t count);
Shape output_of_rnn(const layers::Rnn& layer, const Shape& input);
std::vector<Parameter> parameters_of_rnn(const layers::Rnn& layer, const Shape& input, const std::string& name);

}  // namespace epitaxy
