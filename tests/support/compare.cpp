#include "tests/support/compare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <limits>

#include "epitaxy/dtype_switch.h"
#include "epitaxy/ops/graph.h"

namespace epitaxy::test {

namespace {

constexpr std::size_t kGuard = 256;
constexpr unsigned char kGuardByte = 0xA5;

double get(const Tensor& t, std::int64_t i) {
  switch (t.dtype()) {
    case DType::fp32: return t.as<float>()[i];
    case DType::bf16: return to_float(t.as<BFloat16>()[i]);
    case DType::fp16: return to_float(t.as<Half>()[i]);
    case DType::uint8: return t.as<std::uint8_t>()[i];
    case DType::uint16: return t.as<std::uint16_t>()[i];
    case DType::int32: return t.as<std::int32_t>()[i];
    case DType::int64: return static_cast<double>(t.as<std::int64_t>()[i]);
  }
  return 0;
}

template <class T>
T clamp_to(double v) {
  return static_cast<T>(std::llround(
      std::fmin(std::fmax(v, static_cast<double>(std::numeric_limits<T>::lowest())), static_cast<double>(std::numeric_limits<T>::max()))));
}

void put(const Tensor& t, std::int64_t i, double v) {
  switch (t.dtype()) {
    case DType::fp32: t.as<float>()[i] = static_cast<float>(v); break;
    case DType::bf16: t.as<BFloat16>()[i] = round<BFloat16>(static_cast<float>(v)); break;
    case DType::fp16: t.as<Half>()[i] = round<Half>(static_cast<float>(v)); break;
    case DType::uint8: t.as<std::uint8_t>()[i] = clamp_to<std::uint8_t>(v); break;
    case DType::uint16: t.as<std::uint16_t>()[i] = clamp_to<std::uint16_t>(v); break;
    case DType::int32: t.as<std::int32_t>()[i] = clamp_to<std::int32_t>(v); break;
    case DType::int64: t.as<std::int64_t>()[i] = std::llround(v); break;
  }
}

Context reference_context() { return {&cpu_backend(), {}, true}; }

std::vector<TensorSpec> specs_of(const std::vector<Tensor>& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& tensor : tensors) specs.push_back(tensor.spec());
  return specs;
}

/// Memory with guard bytes on both sides, filled with NaN (0xFF) between them.
struct Guarded {
  Guarded(DeviceBackend& backend, TensorSpec spec)
      : buffer(std::make_shared<Buffer>(backend, spec.bytes() + 2 * kGuard)), view(buffer, kGuard, spec) {
    std::vector<unsigned char> bytes(buffer->bytes(), 0xFF);
    std::memset(bytes.data(), kGuardByte, kGuard);
    std::memset(bytes.data() + kGuard + spec.bytes(), kGuardByte, kGuard);
    backend.copy(buffer->data(), bytes.data(), bytes.size(), backend.stream());
    backend.synchronize(backend.stream());
  }
  bool intact() const {
    std::vector<unsigned char> bytes(buffer->bytes());
    DeviceBackend& backend = buffer->backend();
    backend.copy(bytes.data(), buffer->data(), bytes.size(), backend.stream());
    backend.synchronize(backend.stream());
    for (std::size_t i = 0; i < kGuard; ++i)
      if (bytes[i] != kGuardByte || bytes[bytes.size() - 1 - i] != kGuardByte) return false;
    return true;
  }
  std::shared_ptr<Buffer> buffer;
  Tensor view;
};

}  // namespace

std::vector<Device> devices() {
  std::vector<Device> result{{DeviceKind::cpu, 0}};
#if EPITAXY_HAS_EMULATOR
  result.push_back({DeviceKind::emulated, 0});
#endif
#if EPITAXY_HAS_CUDA
  result.push_back({DeviceKind::cuda, 0});
#endif
  return result;
}

std::string why_absent(Device device) {
  if (device.kind == DeviceKind::cpu) return {};
  try {
    backend_of(device);
    return {};
  } catch (const Error& error) {
    return text("no device: ", error.what());
  }
}

void skip_device(Device device, const std::string& why) {
  if (device.kind != DeviceKind::cuda) return;
  const char* required = std::getenv("EPITAXY_REQUIRE_GPU");
  if (required && std::string_view(required) == "1") {
    ADD_FAILURE() << name(device) << " is required by EPITAXY_REQUIRE_GPU=1: " << why;
    return;
  }
  static struct Count {
    int cases = 0;
    std::string why;
    ~Count() { std::printf("[  SKIPPED ] %d cuda cases: %s\n", cases, why.c_str()); }
  } count;
  ++count.cases;
  count.why = why;
}

Tensor make(TensorSpec spec, Fill fill, std::uint64_t seed) {
  Tensor result(cpu_backend(), spec);
  Random random(seed, RandomPurpose::test);
  for (std::int64_t i = 0; i < result.count(); ++i) {
    double v = fill.low;
    switch (fill.kind) {
      case Fill::Kind::normal: v = (fill.low + fill.high) / 2 + (fill.high - fill.low) / 2 * random.normal(); break;
      case Fill::Kind::uniform: v = random.uniform(fill.low, fill.high); break;
      case Fill::Kind::small_integers:
        v = fill.low + static_cast<double>(random.below(static_cast<std::uint64_t>(fill.high - fill.low) + 1));
        break;
      case Fill::Kind::constant: break;
    }
    put(result, i, v);
  }
  return result;
}

Tensor values(DType dtype, Shape shape, std::span<const double> numbers) {
  Tensor result(cpu_backend(), {dtype, shape});
  require(static_cast<std::size_t>(result.count()) == numbers.size(), "values: ", numbers.size(), " numbers for ", result.spec());
  for (std::int64_t i = 0; i < result.count(); ++i) put(result, i, numbers[static_cast<std::size_t>(i)]);
  return result;
}

Tensor values(DType dtype, Shape shape, std::initializer_list<double> numbers) {
  return values(dtype, shape, std::span(numbers.begin(), numbers.size()));
}

std::vector<double> numbers(const Tensor& tensor) {
  const Tensor host = tensor.device().kind == DeviceKind::cpu ? tensor : copy_to(cpu_backend(), tensor, backend_of(tensor.device()));
  std::vector<double> result;
  for (std::int64_t i = 0; i < host.count(); ++i) result.push_back(get(host, i));
  return result;
}

::testing::AssertionResult close(const Tensor& got, const Tensor& want, double absolute, double relative) {
  if (got.shape() != want.shape()) return ::testing::AssertionFailure() << "shape " << got.shape() << ", expected " << want.shape();
  const auto a = numbers(got), b = numbers(want);
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(a[i] == b[i] || std::fabs(a[i] - b[i]) <= absolute + relative * std::fabs(b[i])))
      return ::testing::AssertionFailure() << "element " << i << " of " << got.spec() << " is " << a[i] << ", expected " << b[i];
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult same(const Tensor& got, const Tensor& want) {
  if (got.spec() != want.spec()) return ::testing::AssertionFailure() << got.spec() << ", expected " << want.spec();
  if (std::memcmp(got.data(), want.data(), got.bytes()) == 0) return ::testing::AssertionSuccess();
  const auto a = numbers(got), b = numbers(want);
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i] != b[i]) return ::testing::AssertionFailure() << "element " << i << " is " << a[i] << ", expected " << b[i];
  return ::testing::AssertionFailure() << "bits differ in zero signs or NaN payloads";
}

::testing::AssertionResult meets_tolerance(const Operation& operation, const std::vector<Tensor>& cpu_inputs,
                                           const std::vector<Tensor>& got, bool allow_zero, bool allow_nan) {
  auto running = std::async(std::launch::async, [&] { return run(operation, cpu_inputs, reference_context()); });
  const auto specs = specs_of(cpu_inputs);
  std::vector<Tensor> magnitude;
  if (operation.tolerance(specs).magnitude == Tolerance::Magnitude::absolute_inputs) {
    std::vector<Tensor> absolute;
    for (const auto& input : cpu_inputs) {
      absolute.push_back(copy_to(cpu_backend(), input, cpu_backend()));
      if (is_floating(input.dtype()))
        for (std::int64_t i = 0; i < input.count(); ++i) put(absolute.back(), i, std::fabs(get(input, i)));
    }
    magnitude = run(operation, absolute, reference_context());  // at the same time: the reference is slow
  }
  const auto want = running.get();
  if (got.size() != want.size()) return ::testing::AssertionFailure() << got.size() << " outputs, expected " << want.size();
  for (std::size_t o = 0; o < want.size(); ++o) {
    if (operation.is_opaque(static_cast<int>(o))) continue;
    if (got[o].spec() != want[o].spec())
      return ::testing::AssertionFailure() << "output " << o << " is " << got[o].spec() << ", expected " << want[o].spec();
    const auto a = numbers(got[o]), b = numbers(want[o]);
    const Tolerance tolerance = operation.tolerance_of(static_cast<int>(o), specs);
    const bool absolute_inputs = tolerance.magnitude == Tolerance::Magnitude::absolute_inputs;
    double largest = 0;
    for (const double v : b) largest = std::isfinite(v) ? std::fmax(largest, std::fabs(v)) : largest;
    const bool zero = std::all_of(b.begin(), b.end(), [](double v) { return v == 0; });
    if (zero && !b.empty() && !allow_zero && is_floating(want[o].dtype()))
      return ::testing::AssertionFailure() << "vacuous: the reference's output " << o << " is all zero";
    const double step = want[o].dtype() == DType::fp16 ? 0x1p-24 : 0.0;  // of subnormals, which have no relative precision
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double scale = absolute_inputs ? get(magnitude[o], static_cast<std::int64_t>(i)) : largest;
      const double allowed = is_floating(want[o].dtype()) ? step + 2.002 * unit_roundoff(want[o].dtype()) * std::fabs(b[i]) +
                                                                tolerance.factor * tolerance.terms * tolerance.math_roundoff * scale
                                                          : 0.0;
      if (std::isnan(b[i]) && !allow_nan)
        return ::testing::AssertionFailure() << "vacuous: element " << i << " of the reference's output " << o << " is NaN";
      const bool same_special = (std::isnan(a[i]) && std::isnan(b[i])) || a[i] == b[i];  // an infinity, or a NaN that is allowed
      if (!(same_special || (std::isfinite(allowed) && std::fabs(a[i] - b[i]) <= allowed)))
        return ::testing::AssertionFailure() << operation.name() << ": output " << o << ", element " << i << " of " << want[o].spec()
                                             << " is " << a[i] << ", expected " << b[i] << " within " << allowed;
    }
  }
  return ::testing::AssertionSuccess();
}

std::vector<Tensor> run_on(Device device, const Operation& operation, const std::vector<Tensor>& cpu_inputs, bool reference) {
  Context context = make_context(device);
  context.reference = reference;
  DeviceBackend& backend = *context.backend;
  const auto specs = specs_of(cpu_inputs);
  std::vector<Tensor> inputs;
  for (const auto& input : cpu_inputs) inputs.push_back(copy_to(backend, input, cpu_backend()));
  const auto prepared = operation.prepare(specs, context);
  const auto workspace_bytes = static_cast<std::int64_t>(operation.workspace_bytes(specs, context, prepared.get()));
  const auto output_specs = operation.outputs(specs);
  std::vector<int> taken(output_specs.size(), -1);  // the input whose memory each output may take over
  bool in_place = false;
  for (std::size_t o = 0; o < taken.size(); ++o) {
    const int i = operation.in_place(static_cast<int>(o));
    if (i < 0 || specs[static_cast<std::size_t>(i)].bytes() != output_specs[o].bytes()) continue;
    taken[o] = i;
    in_place = true;
  }
  std::vector<std::vector<Tensor>> runs;
  for (int repeat = 0; repeat < (in_place ? 3 : 2); ++repeat) {  // the third run is the one in place
    std::vector<Guarded> guarded;
    std::vector<Tensor> outputs;
    for (std::size_t o = 0; o < output_specs.size(); ++o) {
      guarded.emplace_back(backend, output_specs[o]);
      outputs.push_back(guarded.back().view);
      if (repeat < 2 || taken[o] < 0) continue;
      const auto i = static_cast<std::size_t>(taken[o]);
      backend.copy(outputs[o].data(), inputs[i].data(), inputs[i].bytes(), context.stream);
      inputs[i] = outputs[o].reshape(inputs[i].shape());
    }
    guarded.emplace_back(backend, TensorSpec{DType::uint8, {workspace_bytes}});
    operation.run({inputs, outputs, guarded.back().view, prepared.get(), context});
    backend.synchronize(context.stream);
    for (std::size_t i = 0; i < guarded.size(); ++i)
      EXPECT_TRUE(guarded[i].intact()) << operation.name() << " on " << name(device) << " wrote outside "
                                       << (i + 1 == guarded.size() ? "its workspace" : text("output ", i));
    std::vector<Tensor> host;
    for (const auto& output : outputs) host.push_back(copy_to(cpu_backend(), output, backend));
    runs.push_back(std::move(host));
  }
  for (std::size_t repeat = 1; repeat < runs.size(); ++repeat)
    for (std::size_t i = 0; i < runs[0].size(); ++i)
      EXPECT_EQ(std::memcmp(runs[0][i].data(), runs[repeat][i].data(), runs[0][i].bytes()), 0)
          << operation.name() << " on " << name(device) << ": output " << i << " differs "
          << (repeat == 1 ? "between two runs" : "when it is computed in place");
  return runs[0];
}

void check_devices(const Operation& operation, const std::vector<Tensor>& cpu_inputs, bool allow_zero, bool allow_nan) {
  for (const Device device : devices()) {
    SCOPED_TRACE(operation.name() + " on " + name(device));
    if (const std::string why = why_absent(device); !why.empty()) {
      skip_device(device, why);
      continue;
    }
    EXPECT_TRUE(meets_tolerance(operation, cpu_inputs, run_on(device, operation, cpu_inputs), allow_zero, allow_nan));
  }
}

void check_gradient(OperationPtr operation, const std::vector<Tensor>& cpu_inputs, std::vector<int> wanted, int output, double step,
                    double tolerance) {
  const Context context = reference_context();
  Graph graph;
  std::vector<ValueId> inputs;
  for (std::size_t i = 0; i < cpu_inputs.size(); ++i)
    inputs.push_back(graph.add_value(text("input", i), cpu_inputs[i].spec(), Role::parameter));
  const auto outputs = graph.add(operation, inputs);
  const TensorSpec result_spec = graph.spec(outputs[static_cast<std::size_t>(output)]);
  const Tensor weights = result_spec.shape.count() == 1 ? make(result_spec, Fill::constant(1), 0) : make(result_spec, Fill::normal(), 77);
  const ValueId seed = graph.add_value("gradient", result_spec, Role::input);
  std::vector<ValueId> output_gradients(outputs.size(), kNoValue);
  output_gradients[static_cast<std::size_t>(output)] = seed;
  std::unique_ptr<bool[]> wants(new bool[inputs.size()]());
  for (const int i : wanted) wants[static_cast<std::size_t>(i)] = true;
  GradientBuilder builder(graph, 0, output_gradients, {wants.get(), inputs.size()});
  operation->differentiate(builder);

  std::vector<Tensor> tensors(graph.values().size());
  for (std::size_t i = 0; i < inputs.size(); ++i) tensors[static_cast<std::size_t>(inputs[i])] = cpu_inputs[i];
  tensors[static_cast<std::size_t>(seed)] = weights;
  for (const Node& node : graph.nodes()) {
    std::vector<Tensor> arguments;
    for (const ValueId id : node.inputs) arguments.push_back(tensors[static_cast<std::size_t>(id)]);
    const auto results = run(*node.operation, arguments, context);
    for (std::size_t i = 0; i < results.size(); ++i) tensors[static_cast<std::size_t>(node.outputs[i])] = results[i];
  }
  const auto total = [&](const std::vector<Tensor>& arguments) {
    const auto y = numbers(run(*operation, arguments, context)[static_cast<std::size_t>(output)]), w = numbers(weights);
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * w[i];
    return sum;
  };
  for (const int i : wanted) {
    const ValueId id = builder.results()[static_cast<std::size_t>(i)];
    ASSERT_NE(id, kNoValue) << operation->name() << " states no gradient for input " << i;
    const auto stated = numbers(tensors[static_cast<std::size_t>(id)]);
    std::vector<Tensor> moved = cpu_inputs;
    moved[static_cast<std::size_t>(i)] = copy_to(cpu_backend(), cpu_inputs[static_cast<std::size_t>(i)], cpu_backend());
    const Tensor& x = moved[static_cast<std::size_t>(i)];
    ASSERT_EQ(static_cast<std::int64_t>(stated.size()), x.count());
    double largest = 0;
    for (const double v : stated) largest = std::fmax(largest, std::fabs(v));
    EXPECT_GT(largest, 0) << operation->name() << ": the gradient of input " << i << " is all zero";
    for (std::int64_t e = 0; e < x.count(); ++e) {
      const double at = get(x, e);
      put(x, e, at + step);
      const double up_at = get(x, e), up = total(moved);
      put(x, e, at - step);
      const double down_at = get(x, e), down = total(moved);
      put(x, e, at);
      const double slope = (up - down) / (up_at - down_at);
      ASSERT_LE(std::fabs(stated[static_cast<std::size_t>(e)] - slope), tolerance * std::fmax(1.0, largest))
          << operation->name() << ": gradient of input " << i << ", element " << e << " is " << stated[static_cast<std::size_t>(e)]
          << ", differences give " << slope;
    }
  }
}

}  // namespace epitaxy::test
