// Digit values of MNIST as a regression: 784-64-64-1 with ReLU, Adam, mean squared error and mean absolute error, 10 epochs, batch 32, the
// last 20% of the training images, unshuffled, as validation (Keras's validation_split).
// Usage: mnist_digits [FOLDER]; else $EPITAXY_TEST_DATA/mnist. Without data it says so and exits with code 77 (skipped).
// The same from the command line: epitaxy train --config examples/mnist_digits.yaml --data FOLDER
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "epitaxy/data/source.h"
#include "epitaxy/train/fit.h"

namespace {

std::string data_folder(int argc, char** argv) {
  if (argc > 1) return argv[1];
  const char* root = std::getenv("EPITAXY_TEST_DATA");
  return root ? std::string(root) + "/mnist" : std::string();
}

}  // namespace

int main(int argc, char** argv) try {
  using namespace epitaxy;
  DataOptions data;
  data.data = data_folder(argc, argv);
  if (data.data.empty() || !std::filesystem::exists(data.data)) {
    std::printf("skipped: no MNIST folder; name it as an argument or set EPITAXY_TEST_DATA\n");
    return 77;
  }
  data.task = Task::regression;
  data.validation_fraction = 0.2;
  data.unshuffled_tail = true;
  const Parts parts = open_training(data);
  const Normalisation normalisation = fit_normalisation(parts.train, NormaliseKind::minmax);

  CompileOptions options;
  options.loss = LossKind::mean_squared_error;
  options.optimizer.kind = OptimizerKind::adam;
  options.optimizer.learning_rate = 1e-3f;
  options.input_dtype = parts.train.inputs.dtype();
  options.mean = normalisation.mean;
  options.scale = normalisation.scale;
  options.seed = 1;
  CompiledModel model(mlp(parts.train.inputs.shape().tail(), 1, {64, 64}), options);

  FitOptions fitting;
  fitting.epochs = 10;
  fitting.batch = 32;
  fitting.selection = Selection::last;
  fitting.on_epoch = [](const EpochRecord& e) {
    std::printf("epoch %2d  mse %.4f  mae %.4f  validation mse %.4f  mae %.4f  %.0f images/s\n", e.epoch, e.loss, e.metric,
                e.validation->loss, e.validation->mae, e.items_per_second);
    std::fflush(stdout);
  };
  const History history = fit(model, parts.train, parts.validation, normalisation, fitting);

  const Evaluation test = evaluate(model, open_part(data, "test"), normalisation, 64);
  std::printf("test: %lld images, mse %.4f, mae %.4f\n", static_cast<long long>(test.items), test.rmse * test.rmse, test.mae);
  // A network that always answers the mean digit has mse 8.3 and mae 2.5.
  const bool learned = parts.train.size() == 48000 && history.epochs.size() == 10 && test.rmse * test.rmse < 1.2 && test.mae < 0.8;
  if (!learned) std::printf("this is worse than such a network should be\n");
  return learned ? 0 : 1;
} catch (const std::exception& error) {
  std::printf("mnist_digits: %s\n", error.what());
  return 1;
}
