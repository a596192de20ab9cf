// Shapes of contiguous tensors, outermost dimension first.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <span>

namespace epitaxy {

/// Up to 6 dimensions, each >= 0. Images are {N, H, W, C}, filters {K, R, S, C/groups}, tables {N, features}.
class Shape {
 public:
  static constexpr int kMaxRank = 6;
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const { return rank_; }
  /// Dimension i; negative counts from the end. Rejects an index out of range.
  std::int64_t operator[](int i) const;
  void set(int i, std::int64_t size);
  /// Product of the dimensions; 1 for rank 0.
  std::int64_t count() const;
  /// This shape with `size` in front.
  Shape prepend(std::int64_t size) const;
  /// This shape without its first dimension.
  Shape tail() const;
  std::span<const std::int64_t> dims() const { return {dims_.data(), static_cast<std::size_t>(rank_)}; }
  bool operator==(const Shape& other) const = default;

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

std::ostream& operator<<(std::ostream& out, const Shape& shape);  // [2, 32, 32, 1]

}  // namespace epitaxy
