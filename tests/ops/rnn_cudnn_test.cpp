// What cuDNN is told of a recurrent network, without a GPU: descriptor, weight space, lengths.
#include "kernels/rnn_cudnn.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace epitaxy {
namespace {

TEST(CudnnRnn, Descriptor) {
  const RnnProblem lstm{{.mode = RnnMode::lstm, .hidden = 64, .layers = 2, .bidirectional = true, .projection = 16}, DType::bf16, 8, 20, 5};
  EXPECT_EQ(cudnn_rnn(lstm), (CudnnRnn{CudnnRnn::Cell::lstm, CudnnRnn::Math::tensor, true, true, DType::bf16, 5, 64, 16, 2}));
  const RnnProblem gru{{.mode = RnnMode::gru, .hidden = 7, .bias = false}, DType::fp32, 8, 20, 3};
  EXPECT_EQ(cudnn_rnn(gru), (CudnnRnn{CudnnRnn::Cell::gru, CudnnRnn::Math::fma, false, false, DType::fp32, 3, 7, 7, 1}));
  RnnProblem other = gru;
  other.options.tf32 = true, other.options.mode = RnnMode::rnn_tanh;
  EXPECT_EQ(cudnn_rnn(other).math, CudnnRnn::Math::tf32);
  EXPECT_EQ(cudnn_rnn(other).cell, CudnnRnn::Cell::tanh);
  other.options.mode = RnnMode::rnn_relu, other.dtype = DType::fp16;
  EXPECT_EQ(cudnn_rnn(other).math, CudnnRnn::Math::tensor);  // tf32 is a way of multiplying fp32
  EXPECT_EQ(cudnn_rnn(other).cell, CudnnRnn::Cell::relu);
  other.batch = std::int64_t{1} << 31;
  EXPECT_THROW(cudnn_rnn(other), Error);
}

/// A weight space as cuDNN might lay it out: every pseudo-layer's matrices, then all biases, with `gap` elements between any two parts.
class Space {
 public:
  Space(const RnnProblem& p, std::int64_t gap) {
    const std::int64_t gates = p.gates(), H = p.hidden(), P = p.output();
    const auto take = [&](std::int64_t count) {
      const std::int64_t at = end_;
      end_ += count + gap;
      return at;
    };
    for (std::int64_t pseudo = 0; pseudo < p.options.layers * p.directions(); ++pseudo) {
      const std::int64_t input = p.input_of(pseudo / p.directions());
      for (std::int64_t linear = 0; linear < 2 * gates; ++linear) {
        const std::int64_t columns = linear < gates ? input : P;
        parts_[{pseudo, linear}] = {take(H * columns), H, columns, -1, 0};
      }
      if (p.options.projection) parts_[{pseudo, 8}] = {take(P * H), P, H, -1, 0};
    }
    for (std::int64_t pseudo = 0; p.options.bias && pseudo < p.options.layers * p.directions(); ++pseudo)
      for (std::int64_t linear = 0; linear < 2 * gates; ++linear) {
        parts_[{pseudo, linear}].bias = take(H);
        parts_[{pseudo, linear}].bias_count = H;
      }
  }
  CudnnRnnPart operator()(std::int32_t pseudo, std::int32_t linear) const { return parts_.at({pseudo, linear}); }
  std::int64_t end() const { return end_; }

 private:
  std::map<std::pair<std::int64_t, std::int64_t>, CudnnRnnPart> parts_;
  std::int64_t end_ = 0;
};

TEST(CudnnRnn, NeighboursAreOneCopy) {
  const RnnProblem p{{.mode = RnnMode::lstm, .hidden = 4}, DType::fp32, 2, 3, 5};
  const std::vector<RnnCopy> want{{0, 0, 0, 80}, {2, 0, 144, 16}, {1, 0, 80, 64}, {3, 0, 160, 16}};
  EXPECT_EQ(cudnn_rnn_copies(p, Space(p, 0)), want);
  const auto apart = cudnn_rnn_copies(p, Space(p, 3));
  ASSERT_EQ(apart.size(), 16u);
  EXPECT_EQ(apart[1], (RnnCopy{0, 20, 23, 20}));         // the forget gate of weight_ih
  EXPECT_EQ(apart[4], (RnnCopy{2, 0, 8 * 3 + 144, 4}));  // the input gate of bias_ih
}

/// Every element of every parameter has one place of its own in the weight space.
TEST(CudnnRnn, CopiesCoverEveryParameterOnce) {
  for (const RnnMode mode : {RnnMode::rnn_tanh, RnnMode::rnn_relu, RnnMode::lstm, RnnMode::gru})
    for (const bool rich : {false, true})
      for (const std::int64_t gap : {0, 2}) {
        RnnProblem p{{.mode = mode, .hidden = 3, .bias = rich}, DType::fp32, 2, 3, 5};
        if (rich) p.options.layers = 2, p.options.bidirectional = true, p.options.projection = mode == RnnMode::lstm ? 2 : 0;
        const auto parameters = rnn_parameters(p.options, p.input);
        std::set<std::pair<int, std::int64_t>> elements;
        std::set<std::int64_t> places;
        for (const RnnCopy& copy : cudnn_rnn_copies(p, Space(p, gap)))
          for (std::int64_t i = 0; i < copy.count; ++i) {
            EXPECT_TRUE(elements.insert({copy.parameter, copy.offset + i}).second);
            EXPECT_TRUE(places.insert(copy.space + i).second);
          }
        std::size_t total = 0;
        for (std::size_t i = 0; i < parameters.size(); ++i) {
          total += static_cast<std::size_t>(parameters[i].shape.count());
          EXPECT_TRUE(elements.contains({static_cast<int>(i), parameters[i].shape.count() - 1})) << parameters[i].name;
        }
        EXPECT_EQ(elements.size(), total);
      }
}

TEST(CudnnRnn, RefusesOtherShapes) {
  const RnnProblem p{{.mode = RnnMode::gru, .hidden = 4}, DType::fp32, 2, 3, 5};
  const Space space(p, 0);
  const auto with = [&](auto change) {
    return [&space, change](std::int32_t pseudo, std::int32_t linear) {
      CudnnRnnPart part = space(pseudo, linear);
      change(part);
      return part;
    };
  };
  EXPECT_NO_THROW(cudnn_rnn_copies(p, with([](CudnnRnnPart&) {})));
  EXPECT_THROW(cudnn_rnn_copies(p, with([](CudnnRnnPart& part) { std::swap(part.rows, part.columns); })), Error);
  EXPECT_THROW(cudnn_rnn_copies(p, with([](CudnnRnnPart& part) { part.matrix = -1; })), Error);
  EXPECT_THROW(cudnn_rnn_copies(p, with([](CudnnRnnPart& part) { part.bias_count = 5; })), Error);
}

TEST(CudnnRnn, Lengths) {
  const RnnProblem p{{.mode = RnnMode::gru, .hidden = 4, .lengths = true}, DType::fp32, 3, 6, 5};
  const std::int32_t good[] = {6, 1, 3}, zero[] = {6, 0, 3}, longer[] = {6, 1, 7};
  EXPECT_NO_THROW(check_rnn_lengths(p, good));
  EXPECT_NO_THROW(check_rnn_lengths(p, nullptr));
  EXPECT_THROW(check_rnn_lengths(p, zero), Error);  // cuDNN refuses it too
  EXPECT_THROW(check_rnn_lengths(p, longer), Error);
}

}  // namespace
}  // namespace epitaxy
