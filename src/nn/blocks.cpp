#include "nn/blocks.h"

#include <algorithm>

namespace epitaxy {

void require_image(const char* model, const Shape& input, std::int64_t least) {
  require(input.rank() == 3, model, " takes images [H, W, C], got ", input, "; use --model mlp for tables");
  require(std::min(input[0], input[1]) >= least, model, " takes images of at least ", least, " x ", least, " pixels, got ", input,
          "; enlarge them, or use a smaller network: crystalnet from 16 x 16 pixels, mlp for any size");
}

Model::Id conv_bn_relu(Model& model, Model::Id x, const layers::Conv2d& conv, const std::string& name) {
  x = model.add(conv, x, name + ".conv");
  x = model.add(layers::BatchNorm{}, x, name + ".bn");
  return model.add(layers::Activate{}, x, name + ".relu");
}

Model::Id classifier(Model& model, Model::Id x, std::int64_t outputs, const std::string& name) {
  return model.add(layers::Dense{outputs, Activation::none, true, Initializer::glorot_uniform}, x, name);
}

}  // namespace epitaxy
