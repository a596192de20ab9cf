// The network for EBSD patterns of Jha et al. 2018, "Extracting grain orientations from EBSD patterns of polycrystalline materials using
// convolutional neural networks", Microscopy and Microanalysis 24, 497-502.
#include "nn/blocks.h"

namespace epitaxy {

// The order of layers is that of the authors' published program (NU-CUCIS/EBSD-indexing, model.py): 60 x 60 patterns, 3x3 filters, "same"
// padding, ReLU, 2x2 maximum after the fourth and the eighth convolution, so that 96 * 15 * 15 = 21600 features enter the dense layers.
// There, three branches of 1024 and 256 units follow, one an Euler angle; here one dense layer gives all outputs.
Model ebsdnet(Shape input, std::int64_t outputs) {
  require_image("ebsdnet", input, 4);
  Model model(input, "ebsdnet");
  Model::Id x = model.input();
  int number = 0;
  for (const std::int64_t channels : {256, 256, 512, 512, 256, 256, 96, 96}) {
    x = model.add(conv3x3(channels, 1, true, Activation::relu), x, "conv" + std::to_string(++number));
    if (number % 4 == 0) x = model.add(layers::MaxPool2d{}, x, "pool" + std::to_string(number / 4));
  }
  x = model.add(layers::Flatten{}, x, "flatten");
  x = model.add(layers::Dense{8192, Activation::relu}, x, "dense1");
  x = model.add(layers::Dense{2048, Activation::relu}, x, "dense2");
  classifier(model, x, outputs, "dense3");
  return model;
}

}  // namespace epitaxy
