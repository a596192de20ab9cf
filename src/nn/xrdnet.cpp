// A 1-D CNN for powder X-ray diffraction patterns, after Oviedo et al. 2019, "Fast and interpretable classification of small X-ray
// diffraction datasets using data augmentation and deep neural networks", npj Computational Materials 5, 60.
#include "nn/blocks.h"

namespace epitaxy {

// As there, three convolutions of 32 filters with kernels of 8, 5 and 3 steps. There their strides are as long and the steps are averaged;
// here each is normalised and halves the spectrum by its maxima, and the dense layer sees where the peaks are.
Model xrdnet(Shape input, std::int64_t outputs, float dropout) {
  require(input.rank() == 2, "xrdnet takes spectra [T, C], not ", input);
  require(input[0] >= 16, "xrdnet takes spectra of at least 16 steps, got ", input);
  Model model(input, "xrdnet");
  Model::Id x = model.input();
  int number = 0;
  for (const std::int64_t kernel : {8, 5, 3}) {
    const std::string name = "stage" + std::to_string(++number);
    x = model.add(layers::Conv1d{.channels = 32, .kernel = kernel, .padding = {(kernel - 1) / 2, kernel / 2}, .bias = false}, x,
                  name + ".conv");
    x = model.add(layers::BatchNorm{}, x, name + ".bn");
    x = model.add(layers::Activate{}, x, name + ".relu");
    x = model.add(layers::MaxPool1d{}, x, name + ".pool");
  }
  x = model.add(layers::Flatten{}, x, "head.flatten");
  if (dropout > 0) x = model.add(layers::Dropout{dropout}, x, "head.dropout");
  classifier(model, x, outputs, "head.dense");
  return model;
}

}  // namespace epitaxy
