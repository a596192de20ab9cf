#include "epitaxy/shape.h"

#include <ostream>

#include "epitaxy/error.h"

namespace epitaxy {

Shape::Shape(std::span<const std::int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  require(dims.size() <= kMaxRank, "a shape has at most ", kMaxRank, " dimensions, got ", dims.size());
  for (int i = 0; i < rank_; ++i) set(i, dims[static_cast<std::size_t>(i)]);
}

std::int64_t Shape::operator[](int i) const {
  const int at = i < 0 ? i + rank_ : i;
  require(at >= 0 && at < rank_, "dimension ", i, " of shape ", *this);
  return dims_[static_cast<std::size_t>(at)];
}

void Shape::set(int i, std::int64_t size) {
  require(i >= 0 && i < rank_, "dimension ", i, " of a shape of rank ", rank_);
  require(size >= 0, "a dimension cannot be negative: ", size);
  dims_[static_cast<std::size_t>(i)] = size;
}

std::int64_t Shape::count() const {
  std::int64_t product = 1;
  for (const auto size : dims())
    require(!__builtin_mul_overflow(product, size, &product), "shape ", *this, " has more elements than 64 bits count");
  return product;
}

Shape Shape::prepend(std::int64_t size) const {
  require(rank_ < kMaxRank, "a shape has at most ", kMaxRank, " dimensions");
  Shape result;
  result.rank_ = rank_ + 1;
  result.set(0, size);
  for (int i = 0; i < rank_; ++i) result.set(i + 1, (*this)[i]);
  return result;
}

Shape Shape::tail() const {
  require(rank_ > 0, "a shape of rank 0 has no tail");
  return Shape(dims().subspan(1));
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (int i = 0; i < shape.rank(); ++i) out << (i ? ", " : "") << shape[i];
  return out << ']';
}

}  // namespace epitaxy
