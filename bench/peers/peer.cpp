// Epitaxy's side of the comparison with PyTorch. A folder holds one workload: spec.json (compare.py), and what `prepare` writes beside it:
// model.json, weights.safetensors (initial weights), inputs.raw and targets.raw (random batches).
//   epitaxy_peer prepare FOLDER
//   epitaxy_peer train FOLDER [--device D] [--precision P] [--threads N] [--losses N | --seconds S] [--warmup N]
// `train` prints one JSON line: the losses of the first N steps (no dropout, a tenth of the rate), or the time of a step.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "cpu/threads.h"
#include "epitaxy/philox.h"
#include "epitaxy/plan/compiled_model.h"
#include "epitaxy/train/safetensors.h"

namespace epitaxy {
namespace {

using Json = nlohmann::json;

struct Workload {
  Model model{Shape{1}};
  CompileOptions options;
  std::int64_t batch = 0, batches = 0, classes = 0;
  TensorSpec inputs, targets;
};

/// Workload A: a small crystal CNN; `dropout` before the last layer.
Model crystal_a(const Shape& input, std::int64_t outputs, float dropout) {
  const auto block = [](std::int64_t channels) { return conv3x3(channels, 1, true, Activation::relu); };
  return sequential(input,
                    {block(32), block(32), layers::MaxPool2d{}, block(64), block(64), layers::MaxPool2d{}, layers::Flatten{},
                     layers::Dense{128, Activation::relu}, layers::Dropout{dropout}, layers::Dense{outputs}},
                    "crystal_a");
}

Workload read_workload(const std::string& folder, bool dropout) {
  std::ifstream file(folder + "/spec.json");
  require(file.good(), "cannot open ", folder, "/spec.json");
  const Json spec = Json::parse(file);
  Workload w;
  const auto dims = spec.at("input").get<std::vector<std::int64_t>>();
  const Shape input{std::span<const std::int64_t>(dims)};
  const auto outputs = spec.at("outputs").get<std::int64_t>();
  const std::string name = spec.at("model");
  ModelOptions shape;
  shape.hidden = spec.value("hidden", std::vector<std::int64_t>{});
  shape.width = spec.value("width", std::int64_t{64});
  w.model = name == "crystal_a" ? crystal_a(input, outputs, dropout ? 0.25f : 0.0f) : make_model(name, input, outputs, shape);
  w.options.loss = parse_loss(spec.at("loss").get<std::string>());
  OptimizerOptions& optimizer = w.options.optimizer;
  optimizer.kind = parse_optimizer(spec.at("optimizer").get<std::string>());
  optimizer.learning_rate = spec.at("learning_rate");
  optimizer.momentum = spec.value("momentum", 0.0f);
  optimizer.weight_decay = spec.value("weight_decay", 0.0f);
  w.options.input_dtype = parse_dtype(spec.at("dtype").get<std::string>());
  if (spec.contains("mean")) {
    w.options.mean.assign(static_cast<std::size_t>(input[-1]), spec.at("mean").get<float>());
    w.options.scale.assign(static_cast<std::size_t>(input[-1]), spec.at("scale").get<float>());
  }
  w.options.seed = 1;
  w.batch = spec.at("batch");
  w.batches = spec.at("batches");
  w.classes = outputs;
  w.inputs = {w.options.input_dtype, input.prepend(w.batch)};
  const Shape& output = w.model.output_shape();
  const bool classes = is_classification(w.options.loss);
  w.targets = {classes ? DType::int32 : DType::fp32, output.prepend(w.batch)};
  if (classes) w.targets.shape = output.rank() == 1 ? Shape{w.batch} : Shape{w.batch, output[0], output[1]};  // a class an image, a pixel
  return w;
}

/// Random images; classes are random for images, bands of brightness for pixels; values are the mean of an item's inputs.
void write_batches(const Workload& w, const std::string& folder) {
  std::ofstream inputs(folder + "/inputs.raw", std::ios::binary), targets(folder + "/targets.raw", std::ios::binary);
  const auto write = [](std::ofstream& file, const auto& values) {
    file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(values[0])));
  };
  const bool pixels = w.targets.shape.rank() > 2, classes = is_classification(w.options.loss);
  const auto size = static_cast<std::size_t>(w.inputs.shape.count() / w.batch);
  for (std::int64_t item = 0; item < w.batch * w.batches; ++item) {
    Random random(7, RandomPurpose::test, static_cast<std::uint32_t>(item));
    std::vector<float> image(size);
    double mean = 0;
    for (float& v : image) mean += v = static_cast<float>(random.bits() >> 17) * 0x1p-15f;  // 15 bits, exact in fp32, uint16 and int16
    if (w.inputs.dtype == DType::uint16) {
      std::vector<std::uint16_t> raw(size);
      std::transform(image.begin(), image.end(), raw.begin(), [](float v) { return static_cast<std::uint16_t>(v * 0x1p15f); });
      write(inputs, raw);
    } else {
      write(inputs, image);
    }
    if (classes) {
      std::vector<std::int32_t> found(pixels ? size / static_cast<std::size_t>(w.inputs.shape[-1]) : 1);
      for (std::size_t i = 0; i < found.size(); ++i)
        found[i] = pixels ? static_cast<std::int32_t>(image[i * size / found.size()] * static_cast<float>(w.classes))
                          : static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(w.classes)));
      write(targets, found);
    } else {
      write(targets, std::vector<float>(static_cast<std::size_t>(w.classes), static_cast<float>(mean / static_cast<double>(size))));
    }
  }
  require(inputs.good() && targets.good(), "cannot write the batches in ", folder);
}

void prepare(const std::string& folder) {
  Workload w = read_workload(folder, true);
  std::ofstream(folder + "/model.json") << w.model.to_json();
  w.options.training = false;
  write_safetensors(folder + "/weights.safetensors", CompiledModel(w.model, w.options).weights());
  write_batches(w, folder);
}

/// The batches of a raw file, one after the other.
std::vector<Tensor> batches(const std::string& path, const TensorSpec& spec) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  require(file.good(), "cannot open ", path);
  const auto bytes = static_cast<std::size_t>(file.tellg());
  require(bytes > 0 && bytes % spec.bytes() == 0, path, " holds ", bytes, " bytes, not a multiple of one batch's ", spec.bytes());
  file.seekg(0);
  std::vector<Tensor> result;
  for (std::size_t i = 0; i < bytes / spec.bytes(); ++i) {
    result.emplace_back(cpu_backend(), spec);
    file.read(static_cast<char*>(result.back().data()), static_cast<std::streamsize>(spec.bytes()));
  }
  return result;
}

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void train(const std::string& folder, const std::map<std::string, std::string>& flags) {
  const auto get = [&](const std::string& key, const std::string& otherwise) { return flags.contains(key) ? flags.at(key) : otherwise; };
  if (const int threads = std::stoi(get("threads", "0")); threads > 0) set_cpu_threads(threads);
  const int shown = std::stoi(get("losses", "0"));
  Workload w = read_workload(folder, shown == 0);
  w.options.device = parse_device(get("device", "cpu"));
  w.options.precision = parse_precision(get("precision", "fp32"));
  DeviceBackend& backend = backend_of(w.options.device);
  const std::size_t free_before = backend.free_memory();
  CompiledModel compiled(w.model, w.options);
  compiled.set_weights(read_safetensors(folder + "/weights.safetensors"));
  const auto inputs = batches(folder + "/inputs.raw", w.inputs), targets = batches(folder + "/targets.raw", w.targets);
  const float rate = w.options.optimizer.learning_rate * (shown > 0 ? 0.1f : 1.0f);  // small steps amplify rounding less
  std::size_t count = 0;
  /// Seconds of `steps` steps, queued one behind the other, until the device has done them.
  const auto run = [&](int steps) {
    const double begin = seconds();
    for (int i = 0; i < steps; ++i, ++count) compiled.train_step(inputs[count % inputs.size()], targets[count % targets.size()], rate);
    backend.synchronize(backend.stream());
    return seconds() - begin;
  };

  Json report{{"batch", w.batch}, {"precision", std::string(name(w.options.precision))}, {"losses", Json::array()}};
  if (shown > 0) {
    run(shown);
    for (const auto& metrics : compiled.take_metrics()) report["losses"].push_back(metrics.loss);
  } else {
    run(std::stoi(get("warmup", "5")));
    const double each = run(2) / 2, budget = std::stod(get("seconds", "5"));
    // On a GPU a turn of many steps is timed at once, so that what the host does between two steps is hidden as it is in training.
    const int turn = w.options.device.kind == DeviceKind::cuda ? std::clamp(static_cast<int>(0.1 / each), 1, 200) : 1;
    std::vector<double> times;
    for (const double begin = seconds(); seconds() - begin < budget || times.size() < 3;) times.push_back(run(turn) / turn);
    const auto metrics = compiled.take_metrics();
    require(std::isfinite(metrics.back().loss), "the loss is no longer finite");
    std::sort(times.begin(), times.end());
    const double median = times[times.size() / 2];
    report.update({{"steps", times.size() * static_cast<std::size_t>(turn)},
                   {"step_ms", 1e3 * median},
                   {"p10_ms", 1e3 * times[times.size() / 10]},
                   {"p90_ms", 1e3 * times[times.size() * 9 / 10]},
                   {"samples_per_s", static_cast<double>(w.batch) / median}});
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  report["host_peak_mib"] = static_cast<double>(usage.ru_maxrss) / 1024;
  report["device_mib"] = static_cast<double>(free_before - std::min(free_before, backend.free_memory())) / 0x1p20;
  report["planned_mib"] = static_cast<double>(compiled.memory().total()) / 0x1p20;
  std::cout << report.dump() << std::endl;
}

int obey(int argc, char** argv) {
  require(argc >= 3 && argc % 2 == 1, "expected: prepare FOLDER, or train FOLDER [--flag value]...");
  std::map<std::string, std::string> flags;
  for (int i = 3; i < argc; i += 2) {
    const std::string flag = argv[i];
    require(flag.starts_with("--"), "expected --flag value, got '", flag, "'");
    flags[flag.substr(2)] = argv[i + 1];
  }
  const std::string command = argv[1];
  require(command == "prepare" || command == "train", "expected prepare or train, got '", command, "'");
  command == "prepare" ? prepare(argv[2]) : train(argv[2], flags);
  return 0;
}

}  // namespace
}  // namespace epitaxy

int main(int argc, char** argv) {
  try {
    return epitaxy::obey(argc, argv);
  } catch (const epitaxy::Error& error) {
    std::fprintf(stderr, "epitaxy_peer: %s\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "epitaxy_peer: %s\n", error.what());
    return 1;
  }
}
