// Pieces that several networks are made of.
#pragma once

#include "epitaxy/nn/model.h"

namespace epitaxy {

/// Rejects what is no image [H, W, C], or one with a side below `least`, naming the model and the remedy.
void require_image(const char* model, const Shape& input, std::int64_t least);
/// Convolution without bias, batch normalisation, ReLU: `name`.conv, .bn, .relu.
Model::Id conv_bn_relu(Model& model, Model::Id x, const layers::Conv2d& conv, const std::string& name);
/// The last dense layer.
Model::Id classifier(Model& model, Model::Id x, std::int64_t outputs, const std::string& name);

}  // namespace epitaxy
