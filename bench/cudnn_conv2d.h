// cuDNN's fastest engine for a convolution, by exhaustive search through the backend API: what ours is timed against. Used by the benchmark
// alone. Candidates are the configurations that heuristics A, B and fallback name and every engine with its default settings; each that
// builds, fits the workspace and keeps the arithmetic asked for is timed, the best ones again.
#pragma once

#include <cudnn.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "bench/gpu_timer.h"
#include "kernels/conv2d.h"

namespace epitaxy::bench {

inline void check(cudnnStatus_t status) {
  if (status != CUDNN_STATUS_SUCCESS) fail("cuDNN: ", cudnnGetErrorString(status));
}

/// A backend descriptor: set attributes, then finalize.
class CudnnDescriptor {
 public:
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t made = nullptr;
    check(cudnnBackendCreateDescriptor(type, &made));
    descriptor_ = std::shared_ptr<void>(made, [](void* d) { cudnnBackendDestroyDescriptor(d); });
  }
  cudnnBackendDescriptor_t get() const { return descriptor_.get(); }
  template <class T>
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::vector<T> values) {
    check(cudnnBackendSetAttribute(get(), name, type, static_cast<std::int64_t>(values.size()), values.data()));
    return *this;
  }
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::vector{value.get()});
  }
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, bool value) {
    check(cudnnBackendSetAttribute(get(), name, CUDNN_TYPE_BOOLEAN, 1, &value));
    return *this;
  }
  CudnnDescriptor& finalize() {
    check(cudnnBackendFinalize(get()));
    return *this;
  }
  bool finalized() { return cudnnBackendFinalize(get()) == CUDNN_STATUS_SUCCESS; }
  template <class T>
  std::vector<T> read(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t most) const {
    std::vector<T> values(static_cast<std::size_t>(most));
    std::int64_t count = 0;
    check(cudnnBackendGetAttribute(get(), name, type, most, &count, values.data()));
    values.resize(static_cast<std::size_t>(std::min(count, most)));
    return values;
  }

 private:
  std::shared_ptr<void> descriptor_;
};

class CudnnConv2d {
 public:
  /// NHWC, zero padding. `inputs` and `output` are those of the operation (conv2d: x, w[, bias][, residual]; its gradients: dy, w or x,
  /// dy); the filter gradient is written in the data's type, which is less to write than ours.
  CudnnConv2d(Conv2dPass pass, const Conv2dProblem& problem, const std::vector<const void*>& inputs, void* output, cudaStream_t stream)
      : pass_(pass), problem_(problem), timer_(stream) {
    check(cudnnCreate(&handle_));
    check(cudnnSetStream(handle_, stream));
    bench::check(cudaMalloc(&workspace_, kWorkspace), "cudaMalloc");
    build_graph();
    for (std::size_t i = 0; i < inputs.size(); ++i) bind(static_cast<std::int64_t>(i), const_cast<void*>(inputs[i]));
    bind(kOutput, output);
    search();
  }
  ~CudnnConv2d() {
    cudaFree(workspace_);
    cudnnDestroy(handle_);
  }
  CudnnConv2d(const CudnnConv2d&) = delete;
  CudnnConv2d& operator=(const CudnnConv2d&) = delete;

  void run() { check(cudnnBackendExecute(handle_, best_.plan->get(), best_.pack->get())); }
  int configurations() const { return configurations_; }
  bool deterministic() const { return best_.deterministic; }

 private:
  static constexpr std::int64_t kOutput = 100, kWorkspace = std::int64_t{1} << 30;
  struct Candidate {
    std::shared_ptr<CudnnDescriptor> engine, configuration, plan, pack;
    bool deterministic = true;
    double seconds = 1e30;
  };

  void bind(std::int64_t id, void* pointer) {
    ids_.push_back(id);
    pointers_.push_back(pointer);
  }
  cudnnDataType_t data() const {
    return problem_.dtype == DType::fp32 ? CUDNN_DATA_FLOAT : problem_.dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
  }

  /// Dimensions N, C, H, W with C innermost; virtual tensors are fp32 and never stored.
  CudnnDescriptor tensor(std::int64_t id, const std::array<std::int64_t, 4>& d, cudnnDataType_t type, bool is_virtual = false) const {
    CudnnDescriptor made(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    made.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, std::vector{id})
        .set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, std::vector{type})
        .set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, std::vector<std::int64_t>(d.begin(), d.end()))
        .set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, std::vector<std::int64_t>{d[1] * d[2] * d[3], 1, d[1] * d[3], d[1]})
        .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, std::vector<std::int64_t>{16})
        .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, is_virtual);
    return made.finalize();
  }

  CudnnDescriptor pointwise(cudnnPointwiseMode_t mode, const CudnnDescriptor& x, const CudnnDescriptor* b, const CudnnDescriptor& y) const {
    CudnnDescriptor kind(CUDNN_BACKEND_POINTWISE_DESCRIPTOR), made(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    kind.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, std::vector{mode})
        .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, std::vector{CUDNN_DATA_FLOAT})
        .finalize();
    made.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kind).set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b) made.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
    return made.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y).finalize();
  }

  void build_graph() {
    const Conv2dProblem& d = problem_;
    const std::array<std::int64_t, 4> image{d.n, d.c, d.h, d.w}, output{d.n, d.k, d.p, d.q}, filter{d.k, d.group_inputs(), d.r, d.s};
    CudnnDescriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const auto pair = [&](cudnnBackendAttributeName_t name, std::int64_t vertical, std::int64_t horizontal) {
      convolution.set(name, CUDNN_TYPE_INT64, std::vector{vertical, horizontal});
    };
    convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, std::vector{CUDNN_DATA_FLOAT})
        .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, std::vector{CUDNN_CROSS_CORRELATION})
        .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, std::vector<std::int64_t>{2});
    pair(CUDNN_ATTR_CONVOLUTION_DILATIONS, d.dilation[0], d.dilation[1]);
    pair(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, d.stride[0], d.stride[1]);
    pair(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, d.padding[0], d.padding[2]);
    pair(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, d.padding[1], d.padding[3]);
    convolution.finalize();

    std::vector<CudnnDescriptor> operations;
    const auto scale = [&](CudnnDescriptor& made, cudnnBackendAttributeName_t alpha, cudnnBackendAttributeName_t beta) {
      made.set(alpha, CUDNN_TYPE_FLOAT, std::vector{1.0f}).set(beta, CUDNN_TYPE_FLOAT, std::vector{0.0f});
    };
    if (pass_ == Conv2dPass::forward) {
      const bool relu = d.activation == Activation::relu;
      int steps = d.bias + d.residual + relu;  // pointwise operations still to come; the last writes the output
      std::int64_t next = kOutput + 1;
      const auto result = [&] { return steps == 0 ? tensor(kOutput, output, data()) : tensor(next++, output, CUDNN_DATA_FLOAT, true); };
      CudnnDescriptor made(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR), y = result();
      made.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, tensor(0, image, data()))
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, tensor(1, filter, data()))
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
      scale(made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA);
      operations.push_back(made.finalize());
      std::int64_t input = 2;
      const auto append = [&](cudnnPointwiseMode_t mode, const CudnnDescriptor* b) {
        --steps;
        const CudnnDescriptor z = result();
        operations.push_back(pointwise(mode, y, b, z));
        y = z;
      };
      if (d.bias) {
        const CudnnDescriptor b = tensor(input++, {1, d.k, 1, 1}, CUDNN_DATA_FLOAT);
        append(CUDNN_POINTWISE_ADD, &b);
      }
      if (d.residual) {
        const CudnnDescriptor b = tensor(input++, output, data());
        append(CUDNN_POINTWISE_ADD, &b);
      }
      if (relu) append(CUDNN_POINTWISE_RELU_FWD, nullptr);
    } else if (pass_ == Conv2dPass::input_gradient) {
      CudnnDescriptor made(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
      made.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, convolution)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, tensor(0, output, data()))
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, tensor(1, filter, data()))
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, tensor(kOutput, image, data()));
      scale(made, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA);
      operations.push_back(made.finalize());
    } else {
      CudnnDescriptor made(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
      made.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, convolution)
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, tensor(0, image, data()))
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, tensor(1, output, data()))
          .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, tensor(kOutput, filter, data()));
      scale(made, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA);
      operations.push_back(made.finalize());
    }
    std::vector<cudnnBackendDescriptor_t> list;
    for (const auto& operation : operations) list.push_back(operation.get());
    graph_ = std::make_shared<CudnnDescriptor>(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    graph_->set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, std::vector{handle_})
        .set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, list)
        .finalize();
  }

  std::vector<Candidate> named_by(cudnnBackendHeurMode_t mode) const {
    CudnnDescriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, *graph_).set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, std::vector{mode});
    if (!heuristic.finalized()) return {};
    std::int64_t count = 0;
    check(cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr));
    std::vector<Candidate> found(static_cast<std::size_t>(count));
    std::vector<cudnnBackendDescriptor_t> list;
    for (auto& one : found) {
      one.configuration = std::make_shared<CudnnDescriptor>(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
      list.push_back(one.configuration->get());
    }
    if (count > 0)
      check(cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count,
                                     list.data()));
    found.resize(static_cast<std::size_t>(count));
    return found;
  }

  std::vector<Candidate> every_engine() const {
    const auto count = graph_->read<std::int64_t>(CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, CUDNN_TYPE_INT64, 1)[0];
    std::vector<Candidate> found;
    for (std::int64_t i = 0; i < count; ++i) {
      Candidate one;
      one.engine = std::make_shared<CudnnDescriptor>(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
      one.engine->set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, *graph_).set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, std::vector{i});
      if (!one.engine->finalized()) continue;
      one.configuration = std::make_shared<CudnnDescriptor>(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
      one.configuration->set(CUDNN_ATTR_ENGINECFG_ENGINE, *one.engine);
      if (one.configuration->finalized()) found.push_back(one);
    }
    return found;
  }

  /// Whether the engine keeps the arithmetic; notes whether it is deterministic.
  bool accepts(Candidate& one) const {
    const CudnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    std::int64_t count = 0;
    cudnnBackendDescriptor_t raw = engine.get();
    check(cudnnBackendGetAttribute(one.configuration->get(), CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &raw));
    bool strict = true;
    for (const auto note : engine.read<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                                                    CUDNN_NUMERICAL_NOTE_TYPE_COUNT)) {
      if (note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) one.deterministic = false;
      const bool rounds = note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE || note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS;
      if (rounds && problem_.dtype == DType::fp32 && !problem_.tf32) strict = false;
      if (note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) strict = false;
    }
    return strict;
  }

  bool build_plan(Candidate& one) const {
    one.plan = std::make_shared<CudnnDescriptor>(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    one.plan->set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, std::vector{handle_})
        .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, *one.configuration);
    if (!one.plan->finalized()) return false;
    if (one.plan->read<std::int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1)[0] > kWorkspace) return false;
    one.pack = std::make_shared<CudnnDescriptor>(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    one.pack->set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, ids_)
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers_)
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, std::vector{workspace_})
        .finalize();
    return cudnnBackendExecute(handle_, one.plan->get(), one.pack->get()) == CUDNN_STATUS_SUCCESS;
  }

  double fastest_of(const Candidate& one, int times) {
    double best = 1e30;
    for (int i = 0; i < times; ++i)
      best = std::min(best, timer_.seconds([&] { check(cudnnBackendExecute(handle_, one.plan->get(), one.pack->get())); }));
    return best;
  }

  void search() {
    std::vector<Candidate> all;
    for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK})
      for (auto& one : named_by(mode)) all.push_back(std::move(one));
    for (auto& one : every_engine()) all.push_back(std::move(one));
    std::vector<Candidate> working;
    for (auto& one : all) {
      if (!accepts(one) || !build_plan(one)) continue;
      one.seconds = fastest_of(one, 3);
      working.push_back(std::move(one));
    }
    configurations_ = static_cast<int>(working.size());
    if (working.empty()) fail("cuDNN has no engine for this convolution");
    const auto faster = [](const Candidate& a, const Candidate& b) { return a.seconds < b.seconds; };
    std::sort(working.begin(), working.end(), faster);
    working.resize(std::min<std::size_t>(working.size(), 5));
    for (auto& one : working) one.seconds = fastest_of(one, 10);
    best_ = *std::min_element(working.begin(), working.end(), faster);
  }

  Conv2dPass pass_;
  Conv2dProblem problem_;
  GpuTimer timer_;
  void* workspace_ = nullptr;
  cudnnHandle_t handle_{};
  std::shared_ptr<CudnnDescriptor> graph_;
  std::vector<std::int64_t> ids_;
  std::vector<void*> pointers_;
  Candidate best_;
  int configurations_ = 0;
};

}  // namespace epitaxy::bench
