// oneDNN 2.x and 3.x behind one interface.
#if EPITAXY_HAS_ONEDNN

#include "cpu/onednn.h"

#include "epitaxy/error.h"

namespace epitaxy::onednn {

namespace {

const dnnl::engine& engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& stream() {
  static dnnl::stream stream(engine());
  return stream;
}

dnnl::memory unbound(const Layout& layout) { return {layout, engine(), nullptr}; }

dnnl::primitive_attr attributes(bool relu) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (relu) {
    dnnl::post_ops after;
#if DNNL_VERSION_MAJOR >= 3
    after.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#else
    after.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#endif
    attributes.set_post_ops(after);
  }
  return attributes;
}

constexpr auto kDirect = dnnl::algorithm::convolution_direct;

/// oneDNN counts dilation from 0.
Extents from_zero(Extents dilation) {
  for (auto& step : dilation) step -= 1;
  return dilation;
}

dnnl::convolution_forward::primitive_desc forward(const Convolution& what, const Layout& filter, const Layout& bias) {
  const Extents dilation = from_zero(what.dilation);
#if DNNL_VERSION_MAJOR >= 3
  return {engine(),
          dnnl::prop_kind::forward_training,
          kDirect,
          what.x,
          filter,
          bias,
          what.y,
          what.stride,
          dilation,
          what.padding_begin,
          what.padding_end,
          attributes(what.relu),
          true};
#else
  const dnnl::convolution_forward::desc desc =
      what.bias ? dnnl::convolution_forward::desc(dnnl::prop_kind::forward_training, kDirect, what.x, filter, bias, what.y, what.stride,
                                                  dilation, what.padding_begin, what.padding_end)
                : dnnl::convolution_forward::desc(dnnl::prop_kind::forward_training, kDirect, what.x, filter, what.y, what.stride, dilation,
                                                  what.padding_begin, what.padding_end);
  return {desc, attributes(what.relu), engine(), true};
#endif
}

dnnl::convolution_backward_data::primitive_desc input_gradient(const Convolution& what,
                                                               const dnnl::convolution_forward::primitive_desc& hint) {
  const Extents dilation = from_zero(what.dilation);
#if DNNL_VERSION_MAJOR >= 3
  return {engine(),           kDirect,          what.x, what.filter,       what.y, what.stride, dilation,
          what.padding_begin, what.padding_end, hint,   attributes(false), true};
#else
  return {{kDirect, what.x, what.filter, what.y, what.stride, dilation, what.padding_begin, what.padding_end},
          attributes(false),
          engine(),
          hint,
          true};
#endif
}

dnnl::convolution_backward_weights::primitive_desc filter_gradient(const Convolution& what,
                                                                   const dnnl::convolution_forward::primitive_desc& hint) {
  const Extents dilation = from_zero(what.dilation);
#if DNNL_VERSION_MAJOR >= 3
  return {engine(),           kDirect,          what.x, what.filter,       what.y, what.stride, dilation,
          what.padding_begin, what.padding_end, hint,   attributes(false), true};
#else
  return {{kDirect, what.x, what.filter, what.y, what.stride, dilation, what.padding_begin, what.padding_end},
          attributes(false),
          engine(),
          hint,
          true};
#endif
}

template <class Description>
Kernel describe(const Description& description) {
  Kernel kernel;
  kernel.scratch_bytes = description.scratchpad_desc().get_size();
  kernel.implementation = description.impl_info_str();
  return kernel;
}

}  // namespace

#if DNNL_VERSION_MAJOR >= 3
Extents extents_of(const Layout& layout) { return layout.get_dims(); }
Element element_of(const Layout& layout) { return layout.get_data_type(); }
#else
Extents extents_of(const Layout& layout) { return layout.dims(); }
Element element_of(const Layout& layout) { return layout.data_type(); }
#endif

Element element_of(DType dtype) {
  if (dtype == DType::fp32) return Element::f32;
  if (dtype == DType::bf16) return Element::bf16;
  fail("oneDNN path got ", name(dtype));
}

bool has_bf16() { return dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core; }

Layout layout(const Extents& extents, Element element, const Extents& strides) { return {extents, element, strides}; }
Layout any_layout(const Extents& extents, Element element) { return {extents, element, dnnl::memory::format_tag::any}; }
std::size_t bytes_of(const Layout& layout) { return layout.get_size(); }

std::optional<Kernel> convolution(const Convolution& what) {
  try {
    const Layout bias = what.bias ? Layout({extents_of(what.y)[1]}, kFloat, dnnl::memory::format_tag::a) : Layout();
    // A gradient asks for a forward primitive as a hint; its filter has the activations' type.
    const Layout filter =
        what.direction == Direction::filter_gradient ? any_layout(extents_of(what.filter), element_of(what.x)) : what.filter;
    const auto hint = forward(what, filter, bias);
    if (!hint) return {};
    Kernel kernel;
    if (what.direction == Direction::forward) {
      kernel = describe(hint);
      kernel.primitive = dnnl::convolution_forward(hint);
      kernel.x = hint.src_desc(), kernel.filter = hint.weights_desc(), kernel.y = hint.dst_desc(), kernel.bias = bias;
    } else if (what.direction == Direction::input_gradient) {
      const auto description = input_gradient(what, hint);
      if (!description) return {};
      kernel = describe(description);
      kernel.primitive = dnnl::convolution_backward_data(description);
      kernel.x = description.diff_src_desc(), kernel.filter = description.weights_desc(), kernel.y = description.diff_dst_desc();
    } else {
      const auto description = filter_gradient(what, hint);
      if (!description) return {};
      kernel = describe(description);
      kernel.primitive = dnnl::convolution_backward_weights(description);
      kernel.x = description.src_desc(), kernel.filter = description.diff_weights_desc(), kernel.y = description.diff_dst_desc();
    }
    return kernel;
  } catch (const dnnl::error&) {
    return {};
  }
}

std::optional<Kernel> matmul(const Layout& x, const Layout& filter, const Layout& y, bool bias) {
  try {
    const Layout row = bias ? Layout({1, extents_of(y)[1]}, kFloat, dnnl::memory::format_tag::ab) : Layout();
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::matmul::primitive_desc description =
        bias ? dnnl::matmul::primitive_desc(engine(), x, filter, row, y, attributes(false), true)
             : dnnl::matmul::primitive_desc(engine(), x, filter, y, attributes(false), true);
#else
    const dnnl::matmul::desc desc = bias ? dnnl::matmul::desc(x, filter, row, y) : dnnl::matmul::desc(x, filter, y);
    const dnnl::matmul::primitive_desc description(desc, attributes(false), engine(), true);
#endif
    if (!description) return {};
    Kernel kernel = describe(description);
    kernel.primitive = dnnl::matmul(description);
    kernel.x = x, kernel.filter = filter, kernel.y = y, kernel.bias = row;
    return kernel;
  } catch (const dnnl::error&) {
    return {};
  }
}

Runner::Runner(Kernel kernel, Direction direction)
    : kernel_(std::move(kernel)), x_(unbound(kernel_.x)), filter_(unbound(kernel_.filter)), y_(unbound(kernel_.y)) {
  switch (direction) {
    case Direction::forward: arguments_ = {{DNNL_ARG_SRC, x_}, {DNNL_ARG_WEIGHTS, filter_}, {DNNL_ARG_DST, y_}}; break;
    case Direction::input_gradient: arguments_ = {{DNNL_ARG_DIFF_SRC, x_}, {DNNL_ARG_WEIGHTS, filter_}, {DNNL_ARG_DIFF_DST, y_}}; break;
    case Direction::filter_gradient: arguments_ = {{DNNL_ARG_SRC, x_}, {DNNL_ARG_DIFF_WEIGHTS, filter_}, {DNNL_ARG_DIFF_DST, y_}}; break;
  }
  if (kernel_.bias.get_size()) arguments_[DNNL_ARG_BIAS] = bias_ = unbound(kernel_.bias);
  if (kernel_.scratch_bytes) {
    const Layout bytes({static_cast<dnnl::memory::dim>(kernel_.scratch_bytes)}, Element::u8, dnnl::memory::format_tag::a);
    arguments_[DNNL_ARG_SCRATCHPAD] = scratch_ = unbound(bytes);
  }
}

void Runner::run(const Operands& operands) {
  const auto bind = [](dnnl::memory& memory, const void* address) {
    if (memory && memory.get_data_handle() != address) memory.set_data_handle(const_cast<void*>(address));
  };
  bind(x_, operands.x), bind(filter_, operands.filter), bind(y_, operands.y);
  bind(bias_, operands.bias), bind(scratch_, operands.scratch);
  kernel_.primitive.execute(stream(), arguments_);
}

std::optional<Reorder> Reorder::make(const Layout& from, const Layout& to) {
  try {
    const dnnl::reorder::primitive_desc description(engine(), from, engine(), to, attributes(false), true);
    if (!description) return {};
    Reorder reorder;
    reorder.primitive_ = dnnl::reorder(description);
    reorder.from_ = unbound(from), reorder.to_ = unbound(to);
    reorder.scratch_bytes_ = description.scratchpad_desc().get_size();
    if (reorder.scratch_bytes_) reorder.scratch_ = unbound(description.scratchpad_desc());
    return reorder;
  } catch (const dnnl::error&) {
    return {};
  }
}

void Reorder::run(const void* from, void* to, void* scratch) {
  from_.set_data_handle(const_cast<void*>(from));
  to_.set_data_handle(to);
  std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_FROM, from_}, {DNNL_ARG_TO, to_}};
  if (scratch_) scratch_.set_data_handle(scratch), arguments[DNNL_ARG_SCRATCHPAD] = scratch_;
  primitive_.execute(stream(), arguments);
}

}  // namespace epitaxy::onednn

#endif
