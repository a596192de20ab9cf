// Data sets, value ranges, normalisation, twins.
#include "epitaxy/data/dataset.h"

#include <cmath>

#include "epitaxy/data/normalise.h"
#include "epitaxy/data/twins.h"
#include "files.h"

namespace epitaxy::test {

template <class T>
Tensor tensor_of(Shape shape, const std::vector<T>& values) {
  Tensor tensor(cpu_backend(), {dtype_of<T>(), shape});
  std::copy(values.begin(), values.end(), tensor.as<T>());
  return tensor;
}

Dataset small() {
  Dataset data;
  data.inputs = tensor_of<std::uint8_t>({3, 1, 2, 1}, {1, 2, 3, 4, 5, 6});
  data.targets = tensor_of<std::int32_t>({3}, {0, 1, 0});
  data.class_names = {"a", "b"};
  data.names = {"x", "y", "z"};
  data.source = "small";
  return data;
}

TEST(Dataset, SubsetKeepsOrderAndEverythingElse) {
  const Dataset part = subset(small(), std::vector<std::int64_t>{2, 1, 2});
  EXPECT_EQ(values_of<std::uint8_t>(part.inputs), (std::vector<std::uint8_t>{5, 6, 3, 4, 5, 6}));
  EXPECT_EQ(values_of<std::int32_t>(part.targets), (std::vector<std::int32_t>{0, 1, 0}));
  EXPECT_EQ(part.names, (std::vector<std::string>{"z", "y", "z"}));
  EXPECT_EQ(part.class_names, small().class_names);
  error_of([] { subset(small(), std::vector<std::int64_t>{3}); }, Fault::usage);
}

TEST(Dataset, ClassesAreMatchedByName) {
  Dataset data = small();
  const Tensor before = data.targets;
  match_classes(data, {"b", "c", "a"});
  EXPECT_EQ(values_of<std::int32_t>(data.targets), (std::vector<std::int32_t>{2, 0, 2}));
  EXPECT_EQ(values_of<std::int32_t>(before), (std::vector<std::int32_t>{0, 1, 0})) << "shared memory must stay";
  EXPECT_EQ(class_counts(data), (std::vector<std::int64_t>{1, 0, 2}));
  Dataset other = small();
  EXPECT_TRUE(mentions(error_of([&] { match_classes(other, {"a", "c"}); }, Fault::usage), {"'b'", "2 classes", "a, c"}));
}

TEST(Dataset, RangeByHistogram) {
  Dataset data;
  std::vector<std::uint16_t> values;
  for (int i = 0; i < 1001; ++i) values.push_back(static_cast<std::uint16_t>(60 * ((i * 5) % 1001)));
  data.inputs = tensor_of<std::uint16_t>({1, 7, 143, 1}, values);
  EXPECT_EQ(image_range(data).low, 0);
  EXPECT_EQ(image_range(data).high, 60000);
  EXPECT_EQ(image_range(data, 1, 99).low, 600);
  EXPECT_EQ(image_range(data, 1, 99).high, 59400);
  std::vector<float> real;
  for (const auto value : values) real.push_back(static_cast<float>(value) / 1000 - 30);
  data.inputs = tensor_of<float>({1, 7, 143, 1}, real);
  EXPECT_EQ(image_range(data).low, -30);
  EXPECT_EQ(image_range(data).high, 30);
  EXPECT_NEAR(image_range(data, 1, 99).low, -29.4, 60 / 65536.0);
  EXPECT_NEAR(image_range(data, 1, 99).high, 29.4, 60 / 65536.0);
}

TEST(Normalise, PerChannel) {
  Dataset data;
  data.inputs = tensor_of<std::uint8_t>({1, 2, 2, 3}, {0, 7, 10, 2, 7, 20, 4, 7, 30, 6, 7, 40});
  const Normalisation minmax = fit_normalisation(data, NormaliseKind::minmax);
  EXPECT_EQ(minmax.mean, (std::vector<float>{0, 7, 10}));
  EXPECT_EQ(minmax.scale, (std::vector<float>{1.0f / 6, 1, 1.0f / 30}));
  const auto scaled = values_of<float>(normalise(minmax, data.inputs));
  EXPECT_FLOAT_EQ(scaled[9], 1.0f);
  EXPECT_EQ(scaled[10], 0.0f) << "a constant channel becomes zero";
  EXPECT_FLOAT_EQ(scaled[5], 1.0f / 3);
  const Normalisation standard = fit_normalisation(data, NormaliseKind::standardise);
  EXPECT_FLOAT_EQ(standard.mean[0], 3);
  EXPECT_FLOAT_EQ(standard.scale[0], static_cast<float>(1 / std::sqrt(5.0)));
  EXPECT_EQ(standard.scale[1], 1.0f);
  EXPECT_EQ(values_of<float>(normalise(fit_normalisation(data, NormaliseKind::none), data.inputs))[8], 30.0f);
  EXPECT_TRUE(mentions(error_of([&] { normalise(minmax, data.inputs.reshape({12, 1})); }, Fault::usage), {"3 channels"}));
}

TEST(Normalise, LargeOffsetsKeepTheirSpread) {
  Dataset data;
  data.task = Task::regression;
  data.inputs = tensor_of<float>({4, 1}, {1e6f, 1e6f + 1, 1e6f + 2, 1e6f + 3});
  data.targets = tensor_of<float>({4, 1}, {10, 20, 30, 40});
  Normalisation fitted = fit_normalisation(data, NormaliseKind::standardise, true);
  EXPECT_FLOAT_EQ(fitted.scale[0], static_cast<float>(1 / std::sqrt(1.25)));
  Tensor targets = tensor_of<float>({4, 1}, {10, 20, 30, 40});
  normalise_targets(fitted, targets);
  EXPECT_FLOAT_EQ(targets.as<float>()[3], static_cast<float>(15 / std::sqrt(125.0)));
  restore_targets(fitted, targets);
  EXPECT_FLOAT_EQ(targets.as<float>()[3], 40);
}

TEST(Normalise, Names) {
  for (const auto kind : {NormaliseKind::none, NormaliseKind::minmax, NormaliseKind::standardise})
    EXPECT_EQ(parse_normalise(name(kind)), kind);
  EXPECT_TRUE(mentions(error_of([] { parse_normalise("zscore"); }, Fault::usage), {"zscore", "minmax"}));
}

TEST(Twins, AreFoundByBytes) {
  Dataset test = small(), train = small();
  train.inputs = tensor_of<std::uint8_t>({4, 1, 2, 1}, {9, 9, 5, 6, 1, 2, 5, 6});
  EXPECT_EQ(find_twins(test, train), (std::vector<std::int64_t>{0, 2}));
  EXPECT_EQ(count_twins(test, train), 2);
  train.inputs = train.inputs.reshape({4, 2, 1, 1});
  EXPECT_EQ(count_twins(test, train), 0) << "other shapes have no twins";
}

}  // namespace epitaxy::test
