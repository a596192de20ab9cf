// Cases of the convolution: small ones at every edge for the tests, layers of real networks for the benchmark.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "epitaxy/ops/conv2d.h"

namespace epitaxy::test {

struct Conv2dCase {
  std::string name;
  std::int64_t n, h, w, c, k, r, s;
  Conv2dOptions options;
  Shape x() const { return {n, h, w, c - options.second_channels}; }
  Shape x2() const { return {n, h, w, options.second_channels}; }
  Shape filter() const { return {k, r, s, c / options.groups}; }
  friend std::ostream& operator<<(std::ostream& out, const Conv2dCase& one) { return out << one.name; }
};

/// Short for options: padding on all sides, stride, dilation, mode.
inline Conv2dOptions conv_options(std::int64_t padding, std::int64_t stride = 1, std::int64_t dilation = 1,
                                  PaddingMode mode = PaddingMode::zeros, std::int64_t groups = 1) {
  Conv2dOptions options;
  options.padding = {padding, padding, padding, padding};
  options.stride = {stride, stride};
  options.dilation = {dilation, dilation};
  options.padding_mode = {mode, mode};
  options.groups = groups;
  return options;
}

inline std::vector<Conv2dCase> conv2d_cases() {
  constexpr auto kZeros = PaddingMode::zeros, kPeriodic = PaddingMode::periodic;
  Conv2dOptions uneven;
  uneven.stride = {2, 3}, uneven.dilation = {2, 1}, uneven.padding = {0, 3, 2, 1};
  Conv2dOptions mixed = uneven;  // rows wrap, columns meet zeros
  mixed.padding_mode = {kPeriodic, kZeros};
  Conv2dOptions columns = conv_options(1, 2);
  columns.padding_mode = {kZeros, kPeriodic};
  Conv2dOptions far = conv_options(1, 1, 1, kPeriodic);  // wraps several times, differently on each side
  far.padding = {7, 4, 3, 11};
  Conv2dOptions far_strided = far;  // and the image is no multiple of the stride
  far_strided.stride = {2, 3};
  return {
      {"smallest", 1, 1, 1, 1, 1, 1, 1, {}},
      {"3x3", 2, 6, 5, 8, 16, 3, 3, conv_options(1)},
      {"first layer 3x3", 2, 9, 9, 1, 8, 3, 3, conv_options(1)},
      {"first layer 7x7 stride 2", 1, 15, 13, 1, 16, 7, 7, conv_options(3, 2)},
      {"three channels", 1, 7, 7, 3, 5, 3, 3, conv_options(1)},
      {"1x1", 3, 5, 5, 16, 24, 1, 1, {}},
      {"1x1 stride 2", 2, 7, 6, 16, 8, 1, 1, conv_options(0, 2)},
      {"odd channels 5x5", 1, 8, 7, 7, 9, 5, 5, conv_options(2)},
      {"3x3 stride 2", 2, 9, 8, 16, 16, 3, 3, conv_options(1, 2)},
      {"dilation 2", 1, 9, 9, 8, 8, 3, 3, conv_options(2, 1, 2)},
      {"uneven", 2, 9, 8, 8, 8, 3, 2, uneven},
      {"uneven, rows periodic", 2, 9, 8, 8, 8, 3, 2, mixed},
      {"2 groups", 1, 6, 6, 32, 16, 3, 3, conv_options(1, 1, 1, kZeros, 2)},
      {"depthwise", 2, 6, 6, 6, 6, 3, 3, conv_options(1, 1, 1, kZeros, 6)},
      {"odd groups, periodic, stride 2", 1, 6, 6, 6, 9, 3, 3, conv_options(1, 2, 1, kPeriodic, 3)},
      {"periodic", 2, 6, 5, 8, 8, 3, 3, conv_options(1, 1, 1, kPeriodic)},
      {"first layer periodic 5x5", 1, 8, 8, 1, 8, 5, 5, conv_options(2, 1, 1, kPeriodic)},
      {"columns periodic, stride 2", 1, 7, 7, 8, 8, 3, 3, columns},
      {"wraps more than once", 1, 3, 4, 8, 8, 3, 3, far},
      {"wraps more than once, strided", 1, 3, 4, 8, 8, 3, 3, far_strided},
      {"tile edge", 1, 9, 15, 72, 68, 1, 1, {}},  // 135 pixels, one more than two tiles of 64 and than one of 128; 68 columns
  };
}

/// First layers (one to four channels) and depthwise layers at the edges of their own kernels.
inline std::vector<Conv2dCase> conv2d_special_cases() {
  constexpr auto kZeros = PaddingMode::zeros, kPeriodic = PaddingMode::periodic;
  Conv2dOptions apart = conv_options(0, 3);  // windows that do not touch
  Conv2dOptions uneven;
  uneven.stride = {1, 2}, uneven.dilation = {2, 3}, uneven.padding = {0, 3, 2, 5}, uneven.padding_mode = {kZeros, kPeriodic};
  Conv2dOptions epilogue = conv_options(1);
  epilogue.residual = epilogue.statistics = true, epilogue.activation = Activation::relu;
  Conv2dOptions depthwise = conv_options(1, 1, 1, kZeros, 16);
  depthwise.residual = depthwise.statistics = true, depthwise.activation = Activation::relu;
  Conv2dOptions wider = conv_options(2, 1, 1, kPeriodic, 8);  // more pixels out than in
  return {
      {"first: lines longer than a tile", 1, 3, 150, 1, 8, 3, 3, conv_options(1)},
      {"first: tiles over several images", 3, 7, 9, 1, 72, 3, 3, epilogue},
      {"first: long windows", 1, 11, 9, 3, 16, 7, 7, conv_options(3, 2)},
      {"first: two channels, apart", 2, 13, 14, 2, 8, 2, 2, apart},
      {"first: four channels, uneven", 1, 9, 8, 4, 8, 3, 2, uneven},
      {"first: narrow", 2, 70, 1, 1, 8, 5, 1, conv_options(2, 1, 1, kPeriodic)},
      {"depthwise: epilogue", 2, 9, 7, 16, 16, 3, 3, depthwise},
      {"depthwise: stride 2", 1, 9, 10, 8, 8, 3, 3, conv_options(1, 2, 1, kZeros, 8)},
      {"depthwise: 5x5 periodic", 1, 6, 7, 8, 8, 5, 5, conv_options(2, 1, 1, kPeriodic, 8)},
      {"depthwise: periodic, larger output", 1, 5, 6, 8, 8, 3, 3, wider},
      {"depthwise: dilation 2, odd channels", 1, 9, 9, 5, 5, 3, 2, conv_options(2, 1, 2, kZeros, 5)},
      {"depthwise: many channels", 1, 3, 3, 264, 264, 3, 3, conv_options(1, 1, 1, kZeros, 264)},
  };
}

/// Epilogues and second inputs.
inline std::vector<Conv2dCase> conv2d_fused_cases() {
  const auto with = [](Conv2dOptions options, bool residual, bool statistics, std::int64_t second) {
    options.residual = residual, options.statistics = statistics, options.second_channels = second;
    if (residual) options.activation = Activation::relu;
    return options;
  };
  const Conv2dOptions same = conv_options(1);
  return {
      {"residual", 2, 6, 5, 8, 16, 3, 3, with(same, true, false, 0)},
      {"residual, odd channels", 1, 7, 6, 5, 7, 3, 3, with(same, true, true, 0)},
      {"statistics of two tiles", 1, 12, 13, 8, 24, 1, 1, with({}, false, true, 0)},
      {"statistics of groups", 1, 6, 6, 16, 32, 3, 3, with(conv_options(1, 1, 1, PaddingMode::zeros, 2), true, true, 0)},
      {"two inputs", 2, 6, 5, 24, 16, 3, 3, with(same, false, false, 16)},
      {"two inputs, all", 1, 12, 11, 24, 16, 3, 3, with(same, true, true, 8)},
      {"two inputs, odd, periodic", 1, 7, 6, 5, 7, 3, 3, with(conv_options(1, 1, 1, PaddingMode::periodic), true, false, 2)},
      {"two inputs, stride 2", 2, 7, 6, 40, 8, 3, 3, with(conv_options(1, 2), false, true, 8)},
      {"two inputs, split off a multiple of 4", 1, 6, 6, 8, 8, 3, 3, with(same, false, false, 3)},
  };
}

/// Layers of crystal CNNs, ResNet-50 and U-Net at training size.
inline std::vector<Conv2dCase> conv2d_layers(std::int64_t batch) {
  return {
      {"first 7x7/2 224 1->64", batch, 224, 224, 1, 64, 7, 7, conv_options(3, 2)},
      {"first 3x3 64 1->32", batch, 64, 64, 1, 32, 3, 3, conv_options(1)},
      {"3x3 56 64->64", batch, 56, 56, 64, 64, 3, 3, conv_options(1)},
      {"3x3 28 128->128", batch, 28, 28, 128, 128, 3, 3, conv_options(1)},
      {"3x3 14 256->256", batch, 14, 14, 256, 256, 3, 3, conv_options(1)},
      {"3x3 7 512->512", batch, 7, 7, 512, 512, 3, 3, conv_options(1)},
      {"1x1 56 64->256", batch, 56, 56, 64, 256, 1, 1, {}},
      {"1x1 14 1024->256", batch, 14, 14, 1024, 256, 1, 1, {}},
      {"3x3/2 56 128->128", batch, 56, 56, 128, 128, 3, 3, conv_options(1, 2)},
      {"1x1/2 56 256->512", batch, 56, 56, 256, 512, 1, 1, conv_options(0, 2)},
  };
}

}  // namespace epitaxy::test
