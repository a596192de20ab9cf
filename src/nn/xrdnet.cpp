// A 1-D CNN for powder X-ray diffraction patterns, after Oviedo et al. 2019, "Fast and interpretable classification of small X-ray
// diffraction datasets using data augmentation and deep neural networks", npj Computational Materials 5, 60.
#include <algorithm>

#include "nn/blocks.h"

namespace epitaxy {

// As there, convolutions alone and the mean over the steps that are left, so that peaks count wherever they lie. There, three convolutions
// of 32 filters, as far apart as their kernels are long (8, 5 and 3 steps); here, normalised ones of 7 steps that halve the pattern by its
// maxima until 10 steps or fewer are left. Before them, eight saturating scales of the intensity, for weak peaks tell structures apart too.
Model xrdnet(Shape input, std::int64_t outputs, float dropout) {
  require(input.rank() == 2, "xrdnet takes spectra [T, C], not ", input);
  require(input[0] >= 16, "xrdnet takes spectra of at least 16 steps, got ", input);
  Model model(input, "xrdnet");
  Model::Id x = model.add(layers::Conv1d{.channels = 8, .kernel = 1}, model.input(), "scales.conv");
  x = model.add(layers::Activate{Activation::tanh}, x, "scales.tanh");
  for (int stage = 0; model.shape(x)[0] > 10; ++stage) {
    const std::string name = "stage" + std::to_string(stage + 1);
    const std::int64_t channels = 16 << std::min(stage, 2);
    x = model.add(layers::Conv1d{.channels = channels, .kernel = 7, .padding = {3, 3}, .bias = false}, x, name + ".conv");
    x = model.add(layers::BatchNorm{}, x, name + ".bn");
    x = model.add(layers::Activate{}, x, name + ".relu");
    x = model.add(layers::MaxPool1d{}, x, name + ".pool");
  }
  x = model.add(layers::GlobalAveragePool{}, x, "head.pool");
  if (dropout > 0) x = model.add(layers::Dropout{dropout}, x, "head.dropout");
  classifier(model, x, outputs, "head.dense");
  return model;
}

}  // namespace epitaxy
