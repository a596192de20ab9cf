// Epitaxy's side of the comparison with PyTorch: trains one workload on given batches from given weights and prints one JSON line.
//   A: crystal CNN, 1x64x64, 7 classes, cross entropy, Adam, batch 64      C: 784-64-64-1, mean squared error, Adam, batch 32
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>

#include "cpu/threads.h"
#include "epitaxy/plan/compiled_model.h"
#include "epitaxy/train/safetensors.h"

namespace epitaxy {
namespace {

struct Workload {
  Model model;
  LossKind loss;
  std::int64_t batch;
};

layers::Conv2d block(std::int64_t channels) { return conv3x3(channels, 1, true, Activation::relu); }

Workload workload(const std::string& name, float dropout) {
  if (name == "A") {
    std::vector<Layer> list{block(32), block(32),           layers::MaxPool2d{}, block(64),
                            block(64), layers::MaxPool2d{}, layers::Flatten{},   layers::Dense{128, Activation::relu}};
    if (dropout > 0) list.push_back(layers::Dropout{dropout});
    list.push_back(layers::Dense{7});
    return {sequential({64, 64, 1}, std::move(list), "A"), LossKind::softmax_cross_entropy, 64};
  }
  require(name == "C", "--workload is A or C, got '", name, "'");
  return {mlp({784}, 1, {64, 64}), LossKind::mean_squared_error, 32};
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

void compare(const std::map<std::string, std::string>& flags) {
  const auto get = [&](const std::string& key, const std::string& otherwise) { return flags.contains(key) ? flags.at(key) : otherwise; };
  const std::string name = get("workload", "A"), data = get("data", ".");
  if (const int threads = std::stoi(get("threads", "0")); threads > 0) set_cpu_threads(threads);
  const int shown = std::stoi(get("losses", "0"));
  const Workload work = workload(name, shown > 0 ? 0.0f : std::stof(get("dropout", "0.25")));
  CompileOptions options;
  options.loss = work.loss;
  options.device = parse_device(get("device", "cpu"));
  options.precision = parse_precision(get("precision", "fp32"));
  options.seed = 1;
  CompiledModel compiled(work.model, options);
  if (flags.contains("write-weights")) return write_safetensors(flags.at("write-weights"), compiled.weights());
  compiled.set_weights(read_safetensors(data + "/weights.safetensors"));

  const Shape targets = is_classification(work.loss) ? Shape{work.batch} : work.model.output_shape().prepend(work.batch);
  const auto inputs = batches(data + "/inputs.raw", {DType::fp32, work.model.input_shape().prepend(work.batch)});
  const auto wanted = batches(data + "/targets.raw", {is_classification(work.loss) ? DType::int32 : DType::fp32, targets});
  const float rate = options.optimizer.learning_rate;
  const auto step = [&](std::size_t i) { compiled.train_step(inputs[i % inputs.size()], wanted[i % wanted.size()], rate); };

  std::size_t count = 0;
  std::vector<double> times;
  const int warmup = std::stoi(get("warmup", "5"));
  for (int i = 0; i < (shown > 0 ? shown : warmup); ++i) step(count++);
  const auto metrics = compiled.take_metrics();
  if (shown == 0) {
    const double budget = std::stod(get("seconds", "5"));
    const bool queued = options.device.kind == DeviceKind::cuda;  // a step returns before the device has done it
    const double begin = seconds();
    for (double last = begin; last - begin < budget || times.size() < 3;) {
      step(count++);
      if (queued) compiled.take_metrics();
      const double now = seconds();
      times.push_back(now - last);
      last = now;
    }
  }
  const auto after = compiled.take_metrics();
  std::sort(times.begin(), times.end());
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::cout.precision(9);
  std::cout << "{\"workload\": \"" << name << "\", \"precision\": \"" << epitaxy::name(options.precision) << "\", \"batch\": " << work.batch
            << ", \"steps\": " << times.size();
  if (!times.empty()) {
    const double median = times[times.size() / 2];
    std::cout << ", \"step_ms\": " << 1e3 * median << ", \"p10_ms\": " << 1e3 * times[times.size() / 10]
              << ", \"p90_ms\": " << 1e3 * times[times.size() * 9 / 10]
              << ", \"samples_per_s\": " << static_cast<double>(work.batch) / median;
  }
  std::cout << ", \"peak_mib\": " << static_cast<double>(usage.ru_maxrss) / 1024 << ", \"losses\": [";
  for (std::size_t i = 0; shown > 0 && i < metrics.size(); ++i) std::cout << (i ? ", " : "") << metrics[i].loss;
  std::cout << "]}" << std::endl;
  require(after.empty() || after.back().loss == after.back().loss, "the loss became NaN");
}

}  // namespace
}  // namespace epitaxy

int main(int argc, char** argv) {
  try {
    std::map<std::string, std::string> flags;
    for (int i = 1; i < argc; i += 2) {
      const std::string flag = argv[i];
      epitaxy::require(flag.starts_with("--") && i + 1 < argc, "expected --flag value, got '", flag, "'");
      flags[flag.substr(2)] = argv[i + 1];
    }
    epitaxy::compare(flags);
    return 0;
  } catch (const epitaxy::Error& error) {
    std::fprintf(stderr, "epitaxy_peer: %s\n", error.what());
    return error.exit_code();
  }
}
