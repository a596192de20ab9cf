#include "epitaxy/tensor.h"

#include <ostream>

namespace epitaxy {

std::ostream& operator<<(std::ostream& out, const TensorSpec& spec) { return out << name(spec.dtype) << ' ' << spec.shape; }

Buffer::Buffer(DeviceBackend& backend, std::size_t bytes)
    : backend_(backend), data_(static_cast<std::byte*>(backend.allocate(bytes))), bytes_(bytes) {}

Buffer::~Buffer() { backend_.free(data_); }

Tensor::Tensor(DeviceBackend& backend, TensorSpec spec) : Tensor(std::make_shared<Buffer>(backend, spec.bytes()), 0, spec) {}

Tensor::Tensor(std::shared_ptr<Buffer> buffer, std::size_t offset, TensorSpec spec)
    : owner_(std::move(buffer)), data_(owner_->data() + offset), spec_(spec), device_(owner_->backend().device()) {
  require(offset + spec.bytes() <= owner_->bytes(), "tensor ", spec, " at byte ", offset, " exceeds a buffer of ", owner_->bytes());
}

Tensor Tensor::reshape(Shape shape) const {
  require(shape.count() == count(), "cannot reshape ", spec_, " to ", shape);
  Tensor result = *this;
  result.spec_.shape = shape;
  return result;
}

Tensor Tensor::slice(std::int64_t first, std::int64_t count) const {
  require(spec_.shape.rank() > 0 && first >= 0 && count >= 0 && first + count <= dim(0), "items [", first, ", ", first + count, ") of ",
          spec_);
  Tensor result = *this;
  result.data_ = static_cast<std::byte*>(data_) + static_cast<std::size_t>(first * shape().tail().count()) * size_of(dtype());
  result.spec_.shape.set(0, count);
  return result;
}

Tensor copy_to(DeviceBackend& to, const Tensor& from, DeviceBackend& from_backend) {
  Tensor result(to, from.spec());
  DeviceBackend& mover = to.device().kind == DeviceKind::cpu ? from_backend : to;  // the one that knows the other's memory
  from_backend.synchronize(from_backend.stream());
  mover.copy(result.data(), from.data(), from.bytes(), mover.stream());
  mover.synchronize(mover.stream());
  return result;
}

}  // namespace epitaxy
