// The one place that talks to oneDNN, whose 2.x and 3.x interfaces differ in how a primitive is described.
#pragma once

#if EPITAXY_HAS_ONEDNN

#include <oneapi/dnnl/dnnl.hpp>

#include <optional>
#include <string>

#include "epitaxy/dtype.h"

namespace epitaxy::onednn {

using Layout = dnnl::memory::desc;  // extents, element type and order in memory of one operand
using Extents = dnnl::memory::dims;
using Element = dnnl::memory::data_type;

inline constexpr Element kFloat = Element::f32;

/// fp32 or bf16; other types have no place in a primitive here.
Element element_of(DType dtype);
/// Whether bf16 products run in hardware or by oneDNN's AVX-512 emulation; below AVX-512 oneDNN has no bf16 primitives.
bool has_bf16();
/// The layout of memory with these strides; without strides, one that the primitive may choose.
Layout layout(const Extents& extents, Element element, const Extents& strides);
Layout any_layout(const Extents& extents, Element element);
Extents extents_of(const Layout& layout);
Element element_of(const Layout& layout);
std::size_t bytes_of(const Layout& layout);

enum class Direction { forward, input_gradient, filter_gradient };

/// Extents in oneDNN's order whatever the layout: x NCHW, filter KCRS (GKCRS where grouped), y NKPQ.
struct Convolution {
  Direction direction = Direction::forward;
  Layout x, filter, y;
  bool bias = false, relu = false;  // forward only
  Extents stride, dilation;         // dilation 1 means dense, as everywhere in Epitaxy
  Extents padding_begin, padding_end;
};

/// A compiled primitive and the layouts it wants. Operands are named as in Convolution; a product is y = x filter.
struct Kernel {
  dnnl::primitive primitive;
  Layout x, filter, y, bias;
  std::size_t scratch_bytes = 0;
  std::string implementation;  // "brgconv:avx512_core"
};

/// Nothing where oneDNN cannot do it.
std::optional<Kernel> convolution(const Convolution& what);
/// y [m,n] = x [m,k] filter [k,n] + bias [1,n], all plain.
std::optional<Kernel> matmul(const Layout& x, const Layout& filter, const Layout& y, bool bias);

/// Addresses for one run; null where the primitive has no such operand.
struct Operands {
  const void* x = nullptr;
  const void* filter = nullptr;
  const void* y = nullptr;
  const void* bias = nullptr;
  void* scratch = nullptr;
};

/// Binds addresses to a kernel and runs it. Keeps the memory objects, whose making costs more than a small product.
class Runner {
 public:
  Runner(Kernel kernel, Direction direction);
  const Kernel& kernel() const { return kernel_; }
  void run(const Operands& operands);

 private:
  Kernel kernel_;
  dnnl::memory x_, filter_, y_, bias_, scratch_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

/// Copies between layouts, converting fp32 and bf16.
class Reorder {
 public:
  /// Nothing where oneDNN cannot do it.
  static std::optional<Reorder> make(const Layout& from, const Layout& to);
  std::size_t scratch_bytes() const { return scratch_bytes_; }
  void run(const void* from, void* to, void* scratch);

 private:
  dnnl::primitive primitive_;
  dnnl::memory from_, to_, scratch_;
  std::size_t scratch_bytes_ = 0;
};

}  // namespace epitaxy::onednn

#endif
