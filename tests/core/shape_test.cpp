// Shapes: sizes, negative indices, limits.
#include "epitaxy/shape.h"

#include <gtest/gtest.h>

#include <sstream>
#include <vector>

#include "epitaxy/error.h"

namespace epitaxy {
namespace {

TEST(Shape, CountsAndIndexes) {
  const Shape shape{2, 3, 5};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.count(), 30);
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape[-1], 5);
  EXPECT_EQ(Shape{}.count(), 1);
  EXPECT_EQ((Shape{4, 0, 7}).count(), 0);
}

TEST(Shape, PrependAndTail) {
  EXPECT_EQ((Shape{3, 4}).prepend(2), (Shape{2, 3, 4}));
  EXPECT_EQ((Shape{2, 3, 4}).tail(), (Shape{3, 4}));
  EXPECT_EQ((Shape{2}).tail(), Shape{});
  EXPECT_NE((Shape{2, 1}), (Shape{2}));
  Shape shape{2, 3};
  shape.set(1, 9);
  EXPECT_EQ(shape, (Shape{2, 9}));
}

TEST(Shape, Prints) {
  std::ostringstream out;
  out << Shape{2, 32, 32, 1} << Shape{};
  EXPECT_EQ(out.str(), "[2, 32, 32, 1][]");
}

TEST(Shape, Rejects) {
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1, 1}), Error);
  EXPECT_THROW((Shape{2, -1}), Error);
  const Shape shape{2, 3};
  EXPECT_THROW(shape[2], Error);
  EXPECT_THROW(shape[-3], Error);
  EXPECT_THROW(Shape{}.tail(), Error);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1}).prepend(1), Error);
  EXPECT_THROW((void)(Shape{std::int64_t{1} << 40, std::int64_t{1} << 40}).count(), Error);
}

}  // namespace
}  // namespace epitaxy
