// Fusion: which nodes merge, which may not, and that results do not change.
#include "epitaxy/plan/fusion.h"

#include <algorithm>

#include "epitaxy/ops/activation.h"
#include "epitaxy/ops/add.h"
#include "epitaxy/ops/conv2d.h"
#include "epitaxy/plan/compiled_model.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

std::vector<std::string> operations(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes()) names.push_back(node.operation->name());
  return names;
}

int count(const std::vector<FusedNode>& fusions, Fusion kind) {
  return static_cast<int>(std::count_if(fusions.begin(), fusions.end(), [&](const FusedNode& one) { return one.fusion == kind; }));
}

/// x [2,8,8,4] and a 3x3 convolution of it with bias.
struct SmallGraph {
  Graph graph;
  ValueId x = graph.add_value("x", {DType::fp32, {2, 8, 8, 4}}, Role::input);
  ValueId w = graph.add_value("w", {DType::fp32, {4, 3, 3, 4}}, Role::parameter);
  ValueId b = graph.add_value("b", {DType::fp32, {4}}, Role::parameter);
  ValueId y = graph.add(conv2d({.padding = {1, 1, 1, 1}}), {x, w, b}, "conv")[0];
};

TEST(Fusion, ActivationJoinsItsConvolution) {
  SmallGraph g;
  const ValueId r = g.graph.add(activation(Activation::relu), {g.y}, "relu")[0];
  const auto fusions = fuse(g.graph, FusionSet::all(), {}, {});
  ASSERT_EQ(fusions.size(), 1u);
  EXPECT_EQ(fusions[0].node, "conv");
  ASSERT_EQ(fusions[0].merged.size(), 2u);
  EXPECT_EQ(fusions[0].merged[1].node, "relu");
  EXPECT_EQ(fusions[0].bytes_saved, 2.0 * 2 * 8 * 8 * 4 * 4);  // the convolution's result is neither written nor read
  ASSERT_EQ(g.graph.nodes().size(), 1u);
  EXPECT_EQ(g.graph.nodes()[0].outputs[0], r);  // values keep their ids
  EXPECT_EQ(conv2d_options(*g.graph.nodes()[0].operation)->activation, Activation::relu);
}

TEST(Fusion, AValueThatOthersReadStays) {
  {
    SmallGraph g;  // read twice
    const ValueId r = g.graph.add(activation(Activation::relu), {g.y})[0];
    g.graph.add(add(), {g.y, r});
    EXPECT_EQ(count(fuse(g.graph, FusionSet::all(), {}, {}), Fusion::conv_relu), 0);
    EXPECT_EQ(g.graph.nodes().size(), 3u);
  }
  {
    SmallGraph g;  // read after the run
    g.graph.add(activation(Activation::relu), {g.y});
    const ValueId kept[] = {g.y};
    EXPECT_TRUE(fuse(g.graph, FusionSet::all(), kept, {}).empty());
  }
  {
    SmallGraph g;  // added to itself
    g.graph.add(add(), {g.y, g.y});
    EXPECT_TRUE(fuse(g.graph, FusionSet::all(), {}, {}).empty());
  }
}

TEST(Fusion, WaitsForTheOtherOperand) {
  SmallGraph g;  // the residual is computed after the convolution it joins
  const ValueId later = g.graph.add(activation(Activation::tanh), {g.x}, "later")[0];
  const ValueId sum = g.graph.add(add(), {g.y, later}, "sum")[0];
  const ValueId r = g.graph.add(activation(Activation::relu), {sum}, "relu")[0];
  const auto fusions = fuse(g.graph, FusionSet::all(), {}, {});
  EXPECT_EQ(count(fusions, Fusion::conv_add), 1);
  EXPECT_EQ(count(fusions, Fusion::conv_relu), 1);
  EXPECT_EQ(operations(g.graph), (std::vector<std::string>{"tanh", "conv2d"}));
  EXPECT_EQ(g.graph.nodes()[1].outputs[0], r);
  EXPECT_EQ(g.graph.nodes()[1].inputs.back(), later);
}

TEST(Fusion, WordsReadBack) {
  const std::string on[] = {"on"}, off[] = {"off"}, some[] = {"bn+relu", "conv+relu"}, wrong[] = {"bn"};
  EXPECT_EQ(parse_fusions(on), FusionSet::all());
  EXPECT_EQ(parse_fusions(off), FusionSet::none());
  const FusionSet two = parse_fusions(some);
  EXPECT_TRUE(two.contains(Fusion::bn_relu) && two.contains(Fusion::conv_relu) && !two.contains(Fusion::bn_add));
  EXPECT_EQ(parse_fusions(words_of(two)), two);
  EXPECT_THROW(parse_fusions(wrong), Error);
}

TEST(Graph, RewritesAreChecked) {
  SmallGraph g;
  g.graph.add(activation(Activation::relu), {g.y});
  std::vector<Node> nodes = g.graph.nodes();
  std::swap(nodes[0], nodes[1]);
  EXPECT_THROW(g.graph.set_nodes(nodes), Error);  // reads before it is computed
  nodes = g.graph.nodes();
  nodes.push_back(nodes[0]);
  EXPECT_THROW(g.graph.set_nodes(nodes), Error);  // computed twice
  nodes = g.graph.nodes();
  nodes[1].outputs[0] = g.w;
  EXPECT_THROW(g.graph.set_nodes(nodes), Error);  // another shape
  EXPECT_EQ(g.graph.nodes().size(), 2u);
}

/// Every block reads its input twice, and but for the first block's it comes from a ReLU with a stored mask; inside, every convolution
/// but the first reads a normalised map.
TEST(Fusion, GradientsOfResidualNetworks) {
  CompileOptions options;
  options.device = {DeviceKind::emulated, 0};
  options.precision = Precision::bf16;
  for (const auto& [name, blocks, inside] : {std::tuple{"resnet18", 8, 1}, std::tuple{"resnet50", 16, 2}}) {
    SCOPED_TRACE(name);
    if (!why_absent(options.device).empty()) GTEST_SKIP() << why_absent(options.device);
    const Model model = make_model(name, {64, 64, 1}, 5);
    const FusionReport report = plan_fusions(model, options, 2);
    EXPECT_EQ(count(report.fusions, Fusion::dgrad_add), blocks);
    EXPECT_EQ(count(report.fusions, Fusion::dgrad_relu), blocks - 1);
    EXPECT_EQ(count(report.fusions, Fusion::dgrad_bn), blocks - 1 + inside * blocks);
    double saved = 0;
    for (const FusedNode& one : report.fusions) {
      if (one.fusion >= Fusion::dgrad_add) {
        EXPECT_GE(one.bytes_saved, 0) << one.node;
      }
      saved += one.bytes_saved;
    }
    EXPECT_GT(saved, 0);
    options.fusion = FusionSet::none().with(Fusion::dgrad_bn);  // without stored masks joined, those of the blocks' outputs stay
    EXPECT_EQ(count(plan_fusions(model, options, 2).fusions, Fusion::dgrad_relu), 0);
    options.fusion = FusionSet::all();
  }
}

struct Trained {
  std::vector<StepMetrics> metrics;
  Tensor predictions;
  std::vector<NamedTensor> weights;
  std::vector<FusedNode> fusions;
};

Trained train(const Model& model, FusionSet fusion, Precision precision, Device device) {
  CompileOptions options;
  options.device = device;
  options.precision = precision;
  options.input_dtype = DType::uint8;
  options.mean = {120};
  options.scale = {0.01f};
  options.fusion = fusion;
  const std::int64_t batch = 3, size = model.input_shape()[0];
  CompiledModel compiled(model, options);
  const Tensor images = make({DType::uint8, {batch, size, size, 1}}, Fill::uniform(0, 255), 1),
               targets = make({DType::int32, {batch}}, Fill::integers(0, 4), 2);
  for (int step = 0; step < 2; ++step) compiled.train_step(images, targets, 1e-3f);
  return {compiled.take_metrics(), compiled.predict(images), compiled.weights(), plan_fusions(model, options, batch).fusions};
}

void expect_alike(const Trained& plain, const Trained& fused) {
  for (std::size_t i = 0; i < plain.metrics.size(); ++i) EXPECT_EQ(plain.metrics[i].loss, fused.metrics[i].loss) << i;
  EXPECT_TRUE(same(plain.predictions, fused.predictions));
  for (std::size_t i = 0; i < plain.weights.size(); ++i)
    EXPECT_TRUE(same(plain.weights[i].tensor, fused.weights[i].tensor)) << plain.weights[i].name;
}

TEST(Fusion, TrainsBitwiseAlikeOnTheCpu) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a build for TSan has no oneDNN, and the reference's loops would take many minutes";
#else
  for (const auto& [name, size] : {std::pair{"crystalnet", 16}, std::pair{"resnet18", 16}, std::pair{"resnet50", 8}}) {
    SCOPED_TRACE(name);
    const Model model = make_model(name, {size, size, 1}, 5);
    const Trained plain = train(model, FusionSet::none(), Precision::fp32, {}), fused = train(model, FusionSet::all(), Precision::fp32, {});
    EXPECT_TRUE(plain.fusions.empty());
    EXPECT_GT(count(fused.fusions, Fusion::bn_relu), 0);
    EXPECT_EQ(count(fused.fusions, Fusion::bn_add_relu), name == std::string("resnet18") ? 8 : name == std::string("resnet50") ? 16 : 0);
    expect_alike(plain, fused);
  }
#endif
}

/// A bottleneck block, one with a strided shortcut, and a basic block, narrow.
Model residual_blocks() {
  using layers::Activate, layers::BatchNorm;
  Model model({12, 12, 1}, "residual");
  Model::Id x = model.chain(model.input(), {conv3x3(8, 1, false), BatchNorm{}, Activate{}});
  const auto join = [&](Model::Id a, Model::Id b) { return model.add(Activate{}, model.add(layers::Add{}, {a, b})); };
  x = join(model.chain(x, {conv1x1(4, 1, false), BatchNorm{}, Activate{}, conv3x3(4, 1, false), BatchNorm{}, Activate{},
                           conv1x1(8, 1, false), BatchNorm{}}),
           x);
  const Model::Id shortcut = model.chain(x, {conv1x1(16, 2, false), BatchNorm{}});
  x = join(model.chain(x, {conv1x1(8, 1, false), BatchNorm{}, Activate{}, conv3x3(16, 2, false), BatchNorm{}}), shortcut);
  x = join(model.chain(x, {conv3x3(16, 1, false), BatchNorm{}, Activate{}, conv3x3(16, 1, false), BatchNorm{}}), x);
  model.chain(x, {layers::GlobalAveragePool{}, layers::Dense{5}});
  return model;
}

/// Gradients added and masked where the convolution stores them, to the last bit; with their sums taken there, to rounding.
TEST(Fusion, GradientsOfResidualBlocksTrainAlike) {
  for (const Device device : devices()) {
    if (device.kind == DeviceKind::cpu) continue;
    if (const std::string why = why_absent(device); !why.empty()) {
      skip_device(device, why);
      continue;
    }
    const Model model = residual_blocks();
    FusionSet set = FusionSet::none().with(Fusion::bn_relu).with(Fusion::bn_add_relu);
    const Trained plain = train(model, set, Precision::fp32, device);
    set = set.with(Fusion::dgrad_add).with(Fusion::dgrad_relu);
    const Trained masked = train(model, set, Precision::fp32, device);
    EXPECT_EQ(count(masked.fusions, Fusion::dgrad_add), 3);
    EXPECT_EQ(count(masked.fusions, Fusion::dgrad_relu), 2);
    expect_alike(plain, masked);
    const Trained reduced = train(model, set.with(Fusion::dgrad_bn), Precision::fp32, device);
    EXPECT_EQ(count(reduced.fusions, Fusion::dgrad_bn), 3 + 4);  // the blocks' inputs, and inside them
    EXPECT_EQ(plain.metrics[0].loss, reduced.metrics[0].loss);   // the first forward pass is the same
    EXPECT_NEAR(plain.metrics[1].loss, reduced.metrics[1].loss, 1e-4);
  }
}

/// A small network in which everything can be fused.
Model many_kinds() {
  Model model({8, 8, 1}, "kinds");
  Model::Id x = model.chain(model.input(), {conv3x3(8, 1, true), layers::Activate{}, conv3x3(8, 1, false), layers::BatchNorm{}});
  Model::Id y = model.chain(x, {conv3x3(8, 1, false), layers::BatchNorm{}});
  x = model.add(layers::Activate{}, model.add(layers::Add{}, {y, x}));
  y = model.chain(x, {conv3x3(8, 1, false), layers::BatchNorm{}});
  x = model.add(layers::Add{}, {x, y});
  y = model.chain(x, {conv3x3(8, 1, true)});
  x = model.add(layers::Activate{}, model.add(layers::Add{}, {y, x}));
  x = model.add(layers::Concat{}, {x, model.chain(x, {conv1x1(4), layers::Activate{Activation::tanh}})});
  x = model.chain(x, {conv3x3(8, 1, false), layers::BatchNorm{}, layers::Activate{}, layers::MaxPool2d{}});
  layers::Conv2d depthwise = conv3x3(8, 1, false);
  depthwise.options.groups = 8;
  depthwise.options.padding_mode = {PaddingMode::periodic, PaddingMode::periodic};
  x = model.chain(x, {depthwise, layers::BatchNorm{}, layers::Activate{}});
  model.chain(x, {conv3x3(8, 1, false), layers::BatchNorm{}, layers::Activate{}, layers::GlobalAveragePool{}, layers::Dense{8},
                  layers::Activate{}, layers::Dense{5}});
  return model;
}

/// Of its backward graph: values that a convolution and something else read, of which a ReLU made two; one more ReLU lies between two
/// convolutions. Normalised are three of the values read twice, and the depthwise convolution's.
constexpr int kAdds = 4, kMasks = 3, kReductions = 4;

class FusionOn : public ::testing::TestWithParam<Device> {};

TEST_P(FusionOn, KeepsTheBitsWhereSumsKeepTheirOrder) {
  if (const std::string why = why_absent(GetParam()); !why.empty()) {
    skip_device(GetParam(), why);
    GTEST_SKIP() << why;
  }
  const Model model = many_kinds();
  // Without oneDNN the CPU convolves in double and rounds once, after the residual.
  const bool rounds_once = GetParam().kind == DeviceKind::cpu && !EPITAXY_HAS_ONEDNN;
  FusionSet exact = rounds_once ? FusionSet::none() : FusionSet::none().with(Fusion::conv_add);
  for (const Fusion one :
       {Fusion::conv_relu, Fusion::dense_relu, Fusion::bn_add_relu, Fusion::bn_relu, Fusion::bn_add, Fusion::dgrad_add, Fusion::dgrad_relu})
    exact = exact.with(one);
  const Trained plain = train(model, FusionSet::none(), Precision::fp32, GetParam());
  const Trained fused = train(model, exact, Precision::fp32, GetParam());
  EXPECT_EQ(count(fused.fusions, Fusion::conv_add), rounds_once ? 0 : 1);
  EXPECT_EQ(count(fused.fusions, Fusion::conv_relu), rounds_once ? 1 : 2);  // one of them after the residual
  EXPECT_EQ(count(fused.fusions, Fusion::dense_relu), 1);
  EXPECT_EQ(count(fused.fusions, Fusion::bn_add_relu), 1);
  EXPECT_EQ(count(fused.fusions, Fusion::bn_relu), 3);
  EXPECT_EQ(count(fused.fusions, Fusion::bn_add), 1);
  EXPECT_EQ(count(fused.fusions, Fusion::dgrad_add), GetParam().kind == DeviceKind::cpu ? 0 : kAdds);
  EXPECT_EQ(count(fused.fusions, Fusion::dgrad_relu), GetParam().kind == DeviceKind::cpu ? 0 : kMasks);
  expect_alike(plain, fused);
}

/// Gradients masked and reduced where the convolution stores them, against the same without: sums in another order.
TEST_P(FusionOn, GradientsReducedByTheConvolutionTrainAlike) {
  if (const std::string why = why_absent(GetParam()); !why.empty()) {
    skip_device(GetParam(), why);
    GTEST_SKIP() << why;
  }
  FusionSet set = FusionSet::none().with(Fusion::bn_relu).with(Fusion::bn_add_relu).with(Fusion::bn_add);
  const Trained plain = train(many_kinds(), set, Precision::fp32, GetParam());
  for (const Fusion one : {Fusion::dgrad_add, Fusion::dgrad_relu, Fusion::dgrad_bn}) set = set.with(one);
  const Trained fused = train(many_kinds(), set, Precision::fp32, GetParam());
  EXPECT_EQ(count(fused.fusions, Fusion::dgrad_bn), GetParam().kind == DeviceKind::cpu ? 0 : kReductions);
  EXPECT_EQ(plain.metrics[0].loss, fused.metrics[0].loss);  // the first forward pass is the same
  EXPECT_NEAR(plain.metrics[1].loss, fused.metrics[1].loss, 1e-4);
}

TEST_P(FusionOn, EverythingFusedStartsFromTheSameLoss) {
  if (const std::string why = why_absent(GetParam()); !why.empty()) {
    skip_device(GetParam(), why);
    GTEST_SKIP() << why;
  }
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const Trained plain = train(many_kinds(), FusionSet::none(), precision, GetParam());
    const Trained fused = train(many_kinds(), FusionSet::all(), precision, GetParam());
    EXPECT_EQ(count(fused.fusions, Fusion::conv_statistics), GetParam().kind == DeviceKind::cpu ? 0 : 6);
    EXPECT_EQ(count(fused.fusions, Fusion::bn_relu_pool), GetParam().kind == DeviceKind::cpu ? 0 : 1);
    EXPECT_EQ(count(fused.fusions, Fusion::concat_conv), GetParam().kind == DeviceKind::cpu ? 0 : 1);
    EXPECT_NEAR(plain.metrics[0].loss, fused.metrics[0].loss, precision == Precision::fp32 ? 1e-5 : 0.03);
  }
}

std::string device_name(const ::testing::TestParamInfo<Device>& one) {
  return one.param.kind == DeviceKind::cuda ? "cuda" : name(one.param);
}
INSTANTIATE_TEST_SUITE_P(Devices, FusionOn, ::testing::ValuesIn(devices()), device_name);

}  // namespace
}  // namespace epitaxy::test
