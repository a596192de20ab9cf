// A tensor is a view: address, element type, shape. Contiguous, outermost dimension first (NHWC, KRSC).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "epitaxy/device.h"
#include "epitaxy/dtype.h"
#include "epitaxy/error.h"
#include "epitaxy/shape.h"

namespace epitaxy {

struct TensorSpec {
  DType dtype = DType::fp32;
  Shape shape;
  std::size_t bytes() const { return size_of(dtype) * static_cast<std::size_t>(shape.count()); }
  bool operator==(const TensorSpec&) const = default;
};

std::ostream& operator<<(std::ostream& out, const TensorSpec& spec);  // fp32 [2, 3]

/// Memory owned on one device, freed with its last owner. Alignment 256 bytes.
class Buffer {
 public:
  Buffer(DeviceBackend& backend, std::size_t bytes);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  DeviceBackend& backend() const { return backend_; }

 private:
  DeviceBackend& backend_;
  std::byte* data_;
  std::size_t bytes_;
};

class Tensor {
 public:
  Tensor() = default;
  /// A view of memory that somebody else keeps alive.
  Tensor(void* data, TensorSpec spec, Device device) : data_(data), spec_(spec), device_(device) {}
  /// A tensor that owns new memory on the backend's device; contents undefined.
  Tensor(DeviceBackend& backend, TensorSpec spec);
  /// A view at a byte offset into a buffer, which it keeps alive.
  Tensor(std::shared_ptr<Buffer> buffer, std::size_t offset, TensorSpec spec);

  void* data() const { return data_; }
  /// The elements as T; rejects a T that is not the dtype.
  template <class T>
  T* as() const {
    require(dtype_of<T>() == spec_.dtype, "tensor is ", spec_, ", accessed as ", name(dtype_of<T>()));
    return static_cast<T*>(data_);
  }
  /// as<T>() with a length, for host code.
  template <class T>
  std::span<T> span() const {
    return {as<T>(), static_cast<std::size_t>(count())};
  }
  const TensorSpec& spec() const { return spec_; }
  DType dtype() const { return spec_.dtype; }
  const Shape& shape() const { return spec_.shape; }
  std::int64_t dim(int i) const { return spec_.shape[i]; }
  std::int64_t count() const { return spec_.shape.count(); }
  std::size_t bytes() const { return spec_.bytes(); }
  Device device() const { return device_; }
  explicit operator bool() const { return data_ != nullptr; }
  /// The same memory with another shape of the same count.
  Tensor reshape(Shape shape) const;
  /// Items [first, first + count) of the outermost dimension.
  Tensor slice(std::int64_t first, std::int64_t count) const;

 private:
  std::shared_ptr<Buffer> owner_;
  void* data_ = nullptr;
  TensorSpec spec_;
  Device device_;
};

/// A new tensor on `to` with the contents of `from`, which lies on `from_backend`; synchronous.
Tensor copy_to(DeviceBackend& to, const Tensor& from, DeviceBackend& from_backend);

}  // namespace epitaxy
