// cuDNN 9's recurrent networks: unpacked batch-major data [N,T,features] with padding, the standard algorithm, one weight space that is
// filled from the parameters before each pass. All scratch comes from the plan, so addresses are the same in every run.
#include "gpu/rnn.h"

#if EPITAXY_HAS_CUDNN

#include <cudnn.h>

#include <array>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "gpu/check.h"
#include "kernels/cast.h"
#include "kernels/rnn_cudnn.h"

namespace epitaxy {

inline void check_call(cudnnStatus_t status, const char* call, const char* file, int line) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 256> more{};
  cudnnGetLastErrorString(more.data(), more.size());
  fail_call(call, file, line, more[0] ? more.data() : "cuDNN gives no reason", cudnnGetErrorString(status));
}

namespace {

/// One handle a device, for the life of the process.
cudnnHandle_t handle() {
  static std::mutex mutex;
  static std::map<int, cudnnHandle_t> handles;
  int device = 0;
  EPITAXY_CHECK(cudaGetDevice(&device));
  const std::lock_guard lock(mutex);
  cudnnHandle_t& found = handles[device];
  if (!found) {
    // cuDNN multiplies by a cuBLAS of its own, which repeats its bits only with a workspace of one fixed size.
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
    EPITAXY_CHECK(cudnnCreate(&found));
  }
  return found;
}

template <class Handle, cudnnStatus_t (*create)(Handle*), cudnnStatus_t (*destroy)(Handle)>
class Descriptor {
 public:
  Descriptor() { EPITAXY_CHECK(create(&handle_)); }
  ~Descriptor() { destroy(handle_); }
  Descriptor(const Descriptor&) = delete;
  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};
using RnnDescriptor = Descriptor<cudnnRNNDescriptor_t, cudnnCreateRNNDescriptor, cudnnDestroyRNNDescriptor>;
using DataDescriptor = Descriptor<cudnnRNNDataDescriptor_t, cudnnCreateRNNDataDescriptor, cudnnDestroyRNNDataDescriptor>;
using TensorDescriptor = Descriptor<cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor>;
using DropoutDescriptor = Descriptor<cudnnDropoutDescriptor_t, cudnnCreateDropoutDescriptor, cudnnDestroyDropoutDescriptor>;

cudnnDataType_t type_of(DType dtype) {
  return dtype == DType::fp32 ? CUDNN_DATA_FLOAT : dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
}

cudaStream_t raw(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

constexpr std::size_t padded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

class CudnnNetwork final : public Prepared {
 public:
  CudnnNetwork(const RnnProblem& problem, const RnnGradients* given)
      : p_(problem), cudnn_(handle()), lengths_(static_cast<std::size_t>(problem.batch)) {
    const CudnnRnn what = cudnn_rnn(p_);
    const auto type = type_of(p_.dtype);
    EPITAXY_CHECK(cudnnSetDropoutDescriptor(dropout_.get(), cudnn_, 0, nullptr, 0, 0));
    const cudnnRNNMode_t cells[] = {CUDNN_RNN_RELU, CUDNN_RNN_TANH, CUDNN_LSTM, CUDNN_GRU};
    const cudnnMathType_t maths[] = {CUDNN_FMA_MATH, CUDNN_DEFAULT_MATH, CUDNN_TENSOR_OP_MATH};
    EPITAXY_CHECK(cudnnSetRNNDescriptor_v8(network_.get(), CUDNN_RNN_ALGO_STANDARD, cells[static_cast<int>(what.cell)],
                                           what.double_bias ? CUDNN_RNN_DOUBLE_BIAS : CUDNN_RNN_NO_BIAS,
                                           what.bidirectional ? CUDNN_BIDIRECTIONAL : CUDNN_UNIDIRECTIONAL, CUDNN_LINEAR_INPUT, type,
                                           CUDNN_DATA_FLOAT, maths[static_cast<int>(what.math)], what.input, what.hidden, what.projection,
                                           what.layers, dropout_.get(), CUDNN_RNN_PADDED_IO_ENABLED));
    std::fill(lengths_.begin(), lengths_.end(), static_cast<std::int32_t>(p_.steps));
    describe_data();
    const auto describe_state = [&](const TensorDescriptor& descriptor, std::int64_t size) {
      const int dims[] = {static_cast<int>(p_.options.layers * p_.directions()), static_cast<int>(p_.batch), static_cast<int>(size)};
      const int strides[] = {dims[1] * dims[2], dims[2], 1};
      EPITAXY_CHECK(cudnnSetTensorNdDescriptor(descriptor.get(), type, 3, dims, strides));
    };
    describe_state(h_, p_.output()), describe_state(c_, p_.hidden());
    EPITAXY_CHECK(cudnnGetRNNWeightSpaceSize(cudnn_, network_.get(), &weight_bytes_));
    mode_ = p_.options.training ? CUDNN_FWD_MODE_TRAINING : CUDNN_FWD_MODE_INFERENCE;
    EPITAXY_CHECK(cudnnGetRNNTempSpaceSizes(cudnn_, network_.get(), mode_, x_.get(), &scratch_bytes_, &reserve_bytes_));

    const std::size_t rows = static_cast<std::size_t>(p_.batch * p_.steps) * size_of(p_.dtype);
    const auto take = [&](std::size_t bytes) {
      const std::size_t at = workspace_bytes_;
      workspace_bytes_ += padded(bytes);
      return at;
    };
    weights_at_ = take(weight_bytes_), scratch_at_ = take(scratch_bytes_);
    if (!given) return;
    gradients_at_ = take(weight_bytes_);
    y_bytes_ = rows * static_cast<std::size_t>(p_.width()), x_bytes_ = rows * static_cast<std::size_t>(p_.input);
    zero_dy_at_ = take(given->y ? 0 : y_bytes_);  // cuDNN wants a dy, and a place for dx
    unused_dx_at_ = take(given->x ? 0 : x_bytes_);
  }

  std::size_t workspace_bytes() const { return workspace_bytes_; }
  std::size_t reserve_bytes() const { return reserve_bytes_; }

  void forward(const RnnArgs& args, std::byte* workspace, Stream stream) {
    begin(args.lengths, args.parameters, workspace, stream);
    EPITAXY_CHECK(cudnnRNNForward(cudnn_, network_.get(), mode_, nullptr, x_.get(), args.x, y_.get(), args.y, h_.get(), args.h0, args.h_n,
                                  c_.get(), args.c0, args.c_n, weight_bytes_, workspace + weights_at_, scratch_bytes_,
                                  workspace + scratch_at_, args.reserve ? reserve_bytes_ : 0, args.reserve));
  }

  void backward(const RnnGradientArgs& args, std::byte* workspace, Stream stream) {
    begin(args.lengths, args.parameters, workspace, stream);
    const void* dy = args.dy;
    if (!dy) {
      dy = workspace + zero_dy_at_;
      EPITAXY_CHECK(cudaMemsetAsync(workspace + zero_dy_at_, 0, y_bytes_, raw(stream)));
    }
    void* dx = args.dx ? args.dx : workspace + unused_dx_at_;
    if (args.lengths) EPITAXY_CHECK(cudaMemsetAsync(dx, 0, x_bytes_, raw(stream)));  // beyond the lengths
    // cuDNN works in the reserve itself, the weights' pass on what the data's leaves. No other node reads it, and the next step's forward
    // pass writes it anew.
    void* reserve = const_cast<void*>(args.reserve);
    EPITAXY_CHECK(cudnnRNNBackwardData_v8(cudnn_, network_.get(), nullptr, y_.get(), args.y, dy, x_.get(), dx, h_.get(), args.h0, args.dh_n,
                                          args.dh0, c_.get(), args.c0, args.dc_n, args.dc0, weight_bytes_, workspace + weights_at_,
                                          scratch_bytes_, workspace + scratch_at_, reserve_bytes_, reserve));
    std::byte* const gradients = workspace + gradients_at_;
    EPITAXY_CHECK(cudaMemsetAsync(gradients, 0, weight_bytes_, raw(stream)));  // cuDNN adds to what is there
    EPITAXY_CHECK(cudnnRNNBackwardWeights_v8(cudnn_, network_.get(), CUDNN_WGRAD_MODE_ADD, nullptr, x_.get(), args.x, h_.get(), args.h0,
                                             y_.get(), args.y, weight_bytes_, gradients, scratch_bytes_, workspace + scratch_at_,
                                             reserve_bytes_, reserve));
    for (const RnnCopy& copy : copies_)
      convert(gradients + copy.space * static_cast<std::int64_t>(size_of(p_.dtype)), p_.dtype, args.gradients[copy.parameter] + copy.offset,
              DType::fp32, copy.count, stream);
  }

 private:
  void describe_data() {
    const std::uint32_t zero = 0;  // of every type
    const auto set = [&](const DataDescriptor& descriptor, std::int64_t size) {
      std::uint32_t fill = zero;
      EPITAXY_CHECK(cudnnSetRNNDataDescriptor(descriptor.get(), type_of(p_.dtype), CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED,
                                              static_cast<int>(p_.steps), static_cast<int>(p_.batch), static_cast<int>(size),
                                              lengths_.data(), &fill));
    };
    set(x_, p_.input), set(y_, p_.width());
  }

  /// Stream, lengths and weight space.
  void begin(const std::int32_t* lengths, const void* const* parameters, std::byte* workspace, Stream stream) {
    EPITAXY_CHECK(cudnnSetStream(cudnn_, raw(stream)));
    if (lengths) {
      EPITAXY_CHECK(cudaMemcpyAsync(lengths_.data(), lengths, lengths_.size() * sizeof(std::int32_t), cudaMemcpyDeviceToHost, raw(stream)));
      EPITAXY_CHECK(cudaStreamSynchronize(raw(stream)));
      check_rnn_lengths(p_, lengths_.data());
      describe_data();
    }
    std::byte* const weights = workspace + weights_at_;
    if (copies_.empty())
      copies_ = cudnn_rnn_copies(p_, [&](std::int32_t pseudo, std::int32_t linear) { return query(weights, pseudo, linear); });
    for (const RnnCopy& copy : copies_) {
      const bool bias = rank_one(copy.parameter);
      const DType from = bias ? DType::fp32 : p_.dtype;
      convert(static_cast<const std::byte*>(parameters[copy.parameter]) + copy.offset * static_cast<std::int64_t>(size_of(from)), from,
              weights + copy.space * static_cast<std::int64_t>(size_of(p_.dtype)), p_.dtype, copy.count, stream);
    }
  }

  bool rank_one(int parameter) const {
    const int which = parameter % p_.parameters();
    return p_.options.bias && (which == 2 || which == 3);
  }

  static void convert(const void* from, DType from_type, void* to, DType to_type, std::int64_t count, Stream stream) {
    if (from_type == to_type)
      EPITAXY_CHECK(cudaMemcpyAsync(to, from, static_cast<std::size_t>(count) * size_of(to_type), cudaMemcpyDeviceToDevice, raw(stream)));
    else
      cast_forward<Cuda>({from, to, count, from_type, to_type}, stream);
  }

  CudnnRnnPart query(const std::byte* weights, std::int32_t pseudo, std::int32_t linear) const {
    const TensorDescriptor matrix, bias;
    void *matrix_at = nullptr, *bias_at = nullptr;
    EPITAXY_CHECK(cudnnGetRNNWeightParams(cudnn_, network_.get(), pseudo, weight_bytes_, weights, linear, matrix.get(), &matrix_at,
                                          bias.get(), &bias_at));
    CudnnRnnPart part;
    const auto read = [&](const TensorDescriptor& descriptor, const void* at, std::int64_t& offset, std::int64_t& rows,
                          std::int64_t& columns) {
      if (!at) return;
      cudnnDataType_t type{};
      int rank = 0, dims[3] = {}, strides[3] = {};
      EPITAXY_CHECK(cudnnGetTensorNdDescriptor(descriptor.get(), 3, &type, &rank, dims, strides));
      offset = (static_cast<const std::byte*>(at) - weights) / static_cast<std::int64_t>(size_of(p_.dtype));
      rows = dims[1], columns = dims[2];
    };
    std::int64_t one = 0;
    read(matrix, matrix_at, part.matrix, part.rows, part.columns);
    read(bias, bias_at, part.bias, part.bias_count, one);
    return part;
  }

  RnnProblem p_;
  cudnnHandle_t cudnn_;
  DropoutDescriptor dropout_;
  RnnDescriptor network_;
  DataDescriptor x_, y_;
  TensorDescriptor h_, c_;
  cudnnForwardMode_t mode_{};
  std::vector<std::int32_t> lengths_;
  std::vector<RnnCopy> copies_;
  std::size_t weight_bytes_ = 0, scratch_bytes_ = 0, reserve_bytes_ = 0, workspace_bytes_ = 0, x_bytes_ = 0, y_bytes_ = 0;
  std::size_t weights_at_ = 0, gradients_at_ = 0, scratch_at_ = 0, zero_dy_at_ = 0, unused_dx_at_ = 0;
};

}  // namespace

std::shared_ptr<Prepared> cuda_prepare_rnn(const RnnProblem& problem, const RnnGradients* given) {
  return std::make_shared<CudnnNetwork>(problem, given);
}
std::size_t cuda_rnn_workspace_bytes(const Prepared& prepared) { return static_cast<const CudnnNetwork&>(prepared).workspace_bytes(); }
std::size_t cuda_rnn_reserve_bytes(const Prepared& prepared) { return static_cast<const CudnnNetwork&>(prepared).reserve_bytes(); }
void cuda_rnn_forward(Prepared& prepared, const RnnArgs& args, void* workspace, Stream stream) {
  static_cast<CudnnNetwork&>(prepared).forward(args, static_cast<std::byte*>(workspace), stream);
}
void cuda_rnn_backward(Prepared& prepared, const RnnGradientArgs& args, void* workspace, Stream stream) {
  static_cast<CudnnNetwork&>(prepared).backward(args, static_cast<std::byte*>(workspace), stream);
}

}  // namespace epitaxy

#else

namespace epitaxy {

std::shared_ptr<Prepared> cuda_prepare_rnn(const RnnProblem& problem, const RnnGradients*) {
  reject(name(problem.options.mode), " on a GPU needs cuDNN, which this build lacks; build where cudnn.h is found, or use --device cpu");
}
std::size_t cuda_rnn_workspace_bytes(const Prepared&) { return 0; }
std::size_t cuda_rnn_reserve_bytes(const Prepared&) { return 0; }
void cuda_rnn_forward(Prepared&, const RnnArgs&, void*, Stream) {}
void cuda_rnn_backward(Prepared&, const RnnGradientArgs&, void*, Stream) {}

}  // namespace epitaxy

#endif
