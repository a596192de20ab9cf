// Convolution on oneDNN: nhwc activations as they are, the filter reordered to what the primitive wants.
//
// fp32 and bf16 run in their own type. fp16 (which oneDNN's CPU primitives lack) and bf16 below AVX-512 are converted to fp32, computed
// there and rounded once. Periodic axes are computed on a copy with its borders filled; its gradient is folded back in one order.
// The algorithm is the direct one: "auto" would pick Winograd for a first layer of one channel, where it is an order of magnitude slower.
// oneDNN's fused ReLU is max(x, 0), which turns NaN into 0 and would hide a diverged network. It runs only after a scan has found every
// input finite, which costs 1-2% of the convolution; otherwise ReLU follows on its own and NaN stays NaN.
#if EPITAXY_HAS_ONEDNN

#include "cpu/conv2d_onednn.h"

#include <atomic>

#include "cpu/conv2d_epilogue.h"
#include "cpu/parallel.h"
#include "kernels/activation.h"
#include "kernels/cast.h"

namespace epitaxy {

namespace {

using namespace onednn;

struct PlainLayouts {
  Layout x, filter, y;
};

PlainLayouts plain_layouts(const Conv2dProblem& d, const Border& border, DType x, DType filter, DType y) {
  const std::int64_t h = d.h + border.top + border.bottom, w = d.w + border.left + border.right, c = d.group_inputs();
  PlainLayouts plain;
  plain.x = layout({d.n, d.c, h, w}, element_of(x), {h * w * d.c, 1, w * d.c, d.c});
  plain.y = layout({d.n, d.k, d.p, d.q}, element_of(y), {d.p * d.q * d.k, 1, d.q * d.k, d.k});
  if (d.groups == 1)
    plain.filter = layout({d.k, c, d.r, d.s}, element_of(filter), {d.r * d.s * c, 1, d.s * c, c});
  else
    plain.filter = layout({d.groups, d.group_outputs(), c, d.r, d.s}, element_of(filter),
                          {d.group_outputs() * d.r * d.s * c, d.r * d.s * c, 1, d.s * c, c});
  return plain;
}

/// No infinity, no NaN: no exponent is all ones.
template <class Word>
bool all_finite(const Word* words, Word exponent, std::int64_t count) {
  std::atomic<bool> finite = true;
  parallel_for(count, [&](std::int64_t first, std::int64_t last) {
    Word found = 0;
    for (std::int64_t i = first; i < last; ++i) found = static_cast<Word>(found | ((words[i] & exponent) == exponent));
    if (found) finite = false;
  });
  return finite;
}

bool all_finite(const void* data, DType dtype, std::int64_t count) {
  if (dtype == DType::fp32) return all_finite(static_cast<const std::uint32_t*>(data), std::uint32_t{0x7f800000}, count);
  return all_finite(static_cast<const std::uint16_t*>(data), static_cast<std::uint16_t>(dtype == DType::bf16 ? 0x7f80 : 0x7c00), count);
}

bool is_slow(const Kernel& kernel) { return kernel.implementation.starts_with("ref"); }

}  // namespace

std::size_t OnednnConv2d::place(std::size_t bytes) {
  const std::size_t at = workspace_bytes_;
  workspace_bytes_ += (bytes + 63) / 64 * 64;
  return at;
}

bool OnednnConv2d::plan(Route& route, DType caller, const Layout& plain, const Layout& used, DType compute, std::int64_t count,
                        bool bordered, bool to_caller) {
  route.type = caller, route.staged_type = compute, route.count = count, route.bordered = bordered;
  route.staged = bordered || caller != compute;
  if (route.staged) route.staged_at = place(size_of(compute) * static_cast<std::size_t>(count));
  if (plain == used) return true;
  route.reorder = to_caller ? Reorder::make(used, plain) : Reorder::make(plain, used);
  if (!route.reorder) return false;
  route.reordered_at = place(bytes_of(used));
  return true;
}

std::unique_ptr<OnednnConv2d> OnednnConv2d::make(Conv2dPass pass, const Conv2dProblem& d) {
  const Border border = periodic_border(d);
  const bool to_x = pass == Conv2dPass::input_gradient, to_filter = pass == Conv2dPass::filter_gradient;
  const DType compute = d.dtype == DType::bf16 && has_bf16() ? DType::bf16 : DType::fp32;
  // Folding the border back adds numbers up: they stay fp32 until then. A filter gradient always is.
  const DType x_type = to_x && border.any() ? DType::fp32 : compute, filter_type = to_filter ? DType::fp32 : compute;
  // So is a sum that a residual will be added to.
  const DType y_type = d.residual ? DType::fp32 : compute;
  const PlainLayouts plain = plain_layouts(d, border, x_type, filter_type, y_type);

  Convolution what;
  what.direction = to_x ? Direction::input_gradient : to_filter ? Direction::filter_gradient : Direction::forward;
  what.x = plain.x, what.y = plain.y;
  what.filter = any_layout(extents_of(plain.filter), element_of(filter_type));
  what.bias = d.bias;
  what.stride = {d.stride[0], d.stride[1]}, what.dilation = {d.dilation[0], d.dilation[1]};
  const auto zeros = [&](std::size_t side) { return d.padding_mode[side / 2] == PaddingMode::zeros ? d.padding[side] : 0; };
  what.padding_begin = {zeros(0), zeros(2)}, what.padding_end = {zeros(1), zeros(3)};

  std::optional<Kernel> kernel = convolution(what);
  if (!kernel || is_slow(*kernel)) {  // odd channel counts: blocked activations, which oneDNN pads
    what.x = any_layout(extents_of(plain.x), element_of(x_type)), what.y = any_layout(extents_of(plain.y), element_of(y_type));
    kernel = convolution(what);
  }
  if (!kernel || is_slow(*kernel)) return nullptr;

  std::unique_ptr<OnednnConv2d> made(new OnednnConv2d(pass, d, *kernel, what.direction));
  if (d.activation == Activation::relu && !d.residual) {
    what.relu = true;
    const auto fused = convolution(what);
    if (fused && fused->x == kernel->x && fused->filter == kernel->filter && fused->y == kernel->y)
      made->fused_.emplace(*fused, what.direction);
  }
  const std::int64_t pixels = d.n * (d.h + border.top + border.bottom) * (d.w + border.left + border.right);
  const bool ok = made->plan(made->x_, d.dtype, plain.x, kernel->x, x_type, pixels * d.c, border.any(), to_x) &&
                  made->plan(made->filter_, to_filter ? DType::fp32 : d.dtype, plain.filter, kernel->filter, filter_type,
                             d.k * d.r * d.s * d.group_inputs(), false, to_filter) &&
                  made->plan(made->y_, d.dtype, plain.y, kernel->y, y_type, d.output_pixels() * d.k, false, pass == Conv2dPass::forward);
  if (!ok) return nullptr;
  std::size_t scratch = std::max(kernel->scratch_bytes, made->fused_ ? made->fused_->kernel().scratch_bytes : 0);
  for (const Route* route : {&made->x_, &made->filter_, &made->y_})
    if (route->reorder) scratch = std::max(scratch, route->reorder->scratch_bytes());
  made->scratch_at_ = made->place(scratch);
  return made;
}

/// Brings an input to the primitive.
const void* OnednnConv2d::enter(Route& route, const void* data, std::byte* workspace) {
  if (route.staged) {
    void* to = workspace + route.staged_at;
    if (route.bordered)
      wrap(problem_, border_, data, route.type, to, route.staged_type);
    else
      cast_forward<Host>({data, to, route.count, route.type, route.staged_type}, {});
    data = to;
  }
  if (!route.reorder) return data;
  route.reorder->run(data, workspace + route.reordered_at, workspace + scratch_at_);
  return workspace + route.reordered_at;
}

/// Where the primitive writes a result.
void* OnednnConv2d::result_address(const Route& route, void* result, std::byte* workspace) const {
  return route.reorder ? workspace + route.reordered_at : route.staged ? workspace + route.staged_at : result;
}

/// Brings a result to the caller, with the residual where there is one.
void OnednnConv2d::leave(Route& route, void* result, const void* residual, std::byte* workspace) {
  void* staged = route.staged ? workspace + route.staged_at : result;
  if (route.reorder) route.reorder->run(workspace + route.reordered_at, staged, workspace + scratch_at_);
  if (residual) {
    const bool relu = problem_.activation == Activation::relu;
    add_residual(static_cast<const float*>(staged), residual, result, route.count, route.type, relu);
    return;
  }
  if (!route.staged) return;
  if (route.bordered)
    unwrap(problem_, border_, static_cast<const float*>(staged), result, route.type);
  else
    cast_forward<Host>({staged, result, route.count, route.staged_type, route.type}, {});
}

void OnednnConv2d::run(const Conv2dArgs& args, std::byte* workspace) {
  Operands operands;
  operands.scratch = workspace + scratch_at_;
  operands.bias = args.bias;
  Route& out = pass_ == Conv2dPass::forward ? y_ : pass_ == Conv2dPass::input_gradient ? x_ : filter_;
  const auto address = [&](Route& route, const void* data) {
    return &route == &out ? result_address(route, args.result, workspace) : enter(route, data, workspace);
  };
  operands.x = address(x_, args.x), operands.filter = address(filter_, args.filter), operands.y = address(y_, args.dy);
  const Conv2dProblem& d = problem_;
  const bool relu = d.activation == Activation::relu;
  const bool fuse = relu && fused_ && all_finite(args.filter, d.dtype, d.k * d.r * d.s * d.group_inputs()) &&
                    (!d.bias || all_finite(args.bias, DType::fp32, d.k)) && all_finite(args.x, d.dtype, d.n * d.h * d.w * d.c);
  (fuse ? *fused_ : runner_).run(operands);
  leave(out, args.result, args.residual, workspace);
  if (relu && !fuse && !d.residual)
    activation_forward<Host>({args.result, nullptr, args.result, d.output_pixels() * d.k, d.dtype, Activation::relu, 0.0f}, {});
}

}  // namespace epitaxy

#endif
