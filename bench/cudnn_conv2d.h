// cuDNN's fastest deterministic convolution for a problem: what ours is timed against. Used by the benchmark alone.
#pragma once

#include <cudnn.h>

#include <array>
#include <string>

#include "bench/gpu_timer.h"
#include "kernels/conv2d.h"

namespace epitaxy::bench {

class CudnnConv2d {
 public:
  /// Zero padding, the same on opposite sides. NHWC; the filter gradient comes in the data's type.
  CudnnConv2d(Conv2dPass pass, const Conv2dProblem& d, const void* x, const void* filter, const void* dy, void* result, cudaStream_t stream)
      : pass_(pass), x_(x), filter_(filter), dy_(dy), result_(result) {
    check(cudnnCreate(&handle_));
    check(cudnnSetStream(handle_, stream));
    check(cudnnCreateTensorDescriptor(&image_));
    check(cudnnCreateTensorDescriptor(&output_));
    check(cudnnCreateFilterDescriptor(&weights_));
    check(cudnnCreateConvolutionDescriptor(&convolution_));
    const cudnnDataType_t type = d.dtype == DType::fp32 ? CUDNN_DATA_FLOAT : d.dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
    const auto i = [](std::int64_t v) { return static_cast<int>(v); };
    check(cudnnSetTensor4dDescriptor(image_, CUDNN_TENSOR_NHWC, type, i(d.n), i(d.c), i(d.h), i(d.w)));
    check(cudnnSetTensor4dDescriptor(output_, CUDNN_TENSOR_NHWC, type, i(d.n), i(d.k), i(d.p), i(d.q)));
    check(cudnnSetFilter4dDescriptor(weights_, type, CUDNN_TENSOR_NHWC, i(d.k), i(d.group_inputs()), i(d.r), i(d.s)));
    check(cudnnSetConvolution2dDescriptor(convolution_, i(d.padding[0]), i(d.padding[2]), i(d.stride[0]), i(d.stride[1]), i(d.dilation[0]),
                                          i(d.dilation[1]), CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    check(cudnnSetConvolutionGroupCount(convolution_, i(d.groups)));
    check(cudnnSetConvolutionMathType(convolution_, d.dtype == DType::fp32 && !d.tf32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH));
    bench::check(cudaMalloc(&workspace_, kWorkspace), "cudaMalloc");
    choose();
  }
  ~CudnnConv2d() {
    cudaFree(workspace_);
    cudnnDestroyConvolutionDescriptor(convolution_);
    cudnnDestroyFilterDescriptor(weights_);
    cudnnDestroyTensorDescriptor(output_);
    cudnnDestroyTensorDescriptor(image_);
    cudnnDestroy(handle_);
  }
  CudnnConv2d(const CudnnConv2d&) = delete;
  CudnnConv2d& operator=(const CudnnConv2d&) = delete;

  void run() {
    constexpr float kOne = 1, kZero = 0;
    switch (pass_) {
      case Conv2dPass::forward:
        return check(cudnnConvolutionForward(handle_, &kOne, image_, x_, weights_, filter_, convolution_, forward_, workspace_, kWorkspace,
                                             &kZero, output_, result_));
      case Conv2dPass::input_gradient:
        return check(cudnnConvolutionBackwardData(handle_, &kOne, weights_, filter_, output_, dy_, convolution_, data_, workspace_,
                                                  kWorkspace, &kZero, image_, result_));
      case Conv2dPass::filter_gradient:
        return check(cudnnConvolutionBackwardFilter(handle_, &kOne, image_, x_, output_, dy_, convolution_, filter_algorithm_, workspace_,
                                                    kWorkspace, &kZero, weights_, result_));
    }
  }

 private:
  static constexpr std::size_t kWorkspace = std::size_t{1} << 30;
  static void check(cudnnStatus_t status) {
    if (status != CUDNN_STATUS_SUCCESS) fail("cuDNN: ", cudnnGetErrorString(status));
  }
  /// The first of the results, fastest first, that works, is deterministic and keeps the arithmetic that was asked for.
  template <class Result, std::size_t kCount>
  auto best(const std::array<Result, kCount>& found, int count) const {
    cudnnMathType_t asked{};
    check(cudnnGetConvolutionMathType(convolution_, &asked));
    for (int i = 0; i < count; ++i) {
      const Result& one = found[static_cast<std::size_t>(i)];
      const bool strict = asked != CUDNN_FMA_MATH || one.mathType == CUDNN_FMA_MATH;
      if (one.status == CUDNN_STATUS_SUCCESS && one.determinism == CUDNN_DETERMINISTIC && strict) return one;
    }
    fail("cuDNN has no deterministic algorithm for this convolution");
  }
  void choose() {
    int count = 0;
    if (pass_ == Conv2dPass::forward) {
      std::array<cudnnConvolutionFwdAlgoPerf_t, 16> found{};
      check(cudnnFindConvolutionForwardAlgorithmEx(handle_, image_, x_, weights_, filter_, convolution_, output_, result_, 16, &count,
                                                   found.data(), workspace_, kWorkspace));
      const auto chosen = best(found, count);
      forward_ = chosen.algo;
      check(cudnnSetConvolutionMathType(convolution_, chosen.mathType));
    } else if (pass_ == Conv2dPass::input_gradient) {
      std::array<cudnnConvolutionBwdDataAlgoPerf_t, 16> found{};
      check(cudnnFindConvolutionBackwardDataAlgorithmEx(handle_, weights_, filter_, output_, dy_, convolution_, image_, result_, 16, &count,
                                                        found.data(), workspace_, kWorkspace));
      const auto chosen = best(found, count);
      data_ = chosen.algo;
      check(cudnnSetConvolutionMathType(convolution_, chosen.mathType));
    } else {
      std::array<cudnnConvolutionBwdFilterAlgoPerf_t, 16> found{};
      check(cudnnFindConvolutionBackwardFilterAlgorithmEx(handle_, image_, x_, output_, dy_, convolution_, weights_, result_, 16, &count,
                                                          found.data(), workspace_, kWorkspace));
      const auto chosen = best(found, count);
      filter_algorithm_ = chosen.algo;
      check(cudnnSetConvolutionMathType(convolution_, chosen.mathType));
    }
  }

  Conv2dPass pass_;
  const void *x_, *filter_, *dy_;
  void *result_, *workspace_ = nullptr;
  cudnnHandle_t handle_{};
  cudnnTensorDescriptor_t image_{}, output_{};
  cudnnFilterDescriptor_t weights_{};
  cudnnConvolutionDescriptor_t convolution_{};
  cudnnConvolutionFwdAlgo_t forward_{};
  cudnnConvolutionBwdDataAlgo_t data_{};
  cudnnConvolutionBwdFilterAlgo_t filter_algorithm_{};
};

}  // namespace epitaxy::bench
