// A model: a graph of layers over one input, described once and compiled for any batch, precision and device.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "epitaxy/nn/layers.h"
#include "epitaxy/ops/augment_images.h"
#include "epitaxy/ops/graph.h"

namespace epitaxy {

/// One trained array of a model. Weights (rank >= 2) decay; biases and normalisation do not.
struct Parameter {
  std::string name;  // "conv1.weight"
  Shape shape;
  enum class Start { drawn, zeros, ones } start = Start::zeros;
  Initializer initializer = Initializer::he_normal;
  std::int64_t fan_in = 0, fan_out = 0;
  bool decays() const { return shape.rank() >= 2; }
};

/// One array that is kept but not trained: running statistics.
struct StateArray {
  std::string name;  // "bn1.running_mean"
  Shape shape;
  float start = 0;
};

class Model {
 public:
  using Id = int;  // a layer's output; 0 is the input
  struct Entry {
    std::string name;
    Layer layer;
    std::vector<Id> inputs;
    Shape output;  // of one item
  };

  /// `input`: shape of one item, [H, W, C] for images, [T, F] for sequences, [F] for tables.
  explicit Model(Shape input, std::string name = "model");
  Id input() const { return 0; }
  /// Appends a layer, checks shapes, answers its output. The last layer added is the model's output. An empty name becomes
  /// "<kind><count>": conv1, conv2, bn1, dense1.
  Id add(Layer layer, Id from, std::string name = {});
  Id add(Layer layer, std::vector<Id> from, std::string name = {});
  /// Appends layers one after the other; answers the last output.
  Id chain(Id from, std::vector<Layer> layers);

  const std::string& name() const { return name_; }
  /// The same model over sequences of their own lengths, from 1 to T, which come with every batch. Rejects layers that would take the
  /// padding beyond them for data.
  Model with_lengths() const;
  bool lengths() const { return lengths_; }
  const Shape& input_shape() const { return input_; }
  const Shape& output_shape() const;
  /// Shape of one item of a layer's output.
  const Shape& shape(Id id) const;
  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<Parameter> parameters() const;
  std::vector<StateArray> states() const;
  std::int64_t parameter_count() const;

  /// Text for model.json, and back. from_json rejects unknown layers and inconsistent shapes.
  std::string to_json() const;
  static Model from_json(const std::string& text);

 private:
  std::string name_;
  Shape input_;
  bool lengths_ = false;
  std::vector<Entry> entries_;
};

/// A model of layers in sequence.
Model sequential(Shape input, std::vector<Layer> layers, std::string name = "sequential");

struct BuildOptions {
  std::int64_t batch = 1;
  Precision precision = Precision::fp32;
  bool training = true;
  std::uint64_t seed = 0;           // of dropout
  DType input_dtype = DType::fp32;  // uint8, uint16 or fp32 as the data come
  bool normalise = true;            // first (x - mean) * scale, per channel or feature
  Augmentation augmentation{};      // training: of the images, before all else
};

/// The forward graph of a model for one batch size.
struct BuiltModel {
  Graph graph;
  ValueId input = kNoValue, mean = kNoValue, scale = kNoValue, output = kNoValue, step = kNoValue;
  ValueId lengths = kNoValue;                                             // int32 [batch], of a model with lengths
  ValueId augment_seed = kNoValue, epoch = kNoValue, samples = kNoValue;  // int64 [1], [1], [batch]: what augmentation draws from
  std::vector<ValueId> parameters, states;                                // in the order of Model::parameters() and states()
  std::vector<int> node_entry;                                            // for each node, the index of its layer in entries(), or -1
};
BuiltModel build(const Model& model, const BuildOptions& options);

/// Initial values of all parameters, fp32, in order; a function of seed alone.
std::vector<Tensor> initial_values(const Model& model, std::uint64_t seed);

/// 784-64-64-1 style: hidden layers with ReLU, then `outputs` without activation. Images are flattened.
Model mlp(Shape input, std::int64_t outputs, std::vector<std::int64_t> hidden = {64, 64});
/// A compact CNN for 28..256 pixel single-channel images.
Model crystalnet(Shape input, std::int64_t outputs);
/// ResNet-18, 34 and 50 (He et al. 2016; 50: bottlenecks, v1.5) with a 3x3 stride-1 stem below 64 pixels, the 7x7 stride-2 stem and max
/// pooling otherwise. Images from 8 x 8.
Model resnet18(Shape input, std::int64_t outputs);
Model resnet34(Shape input, std::int64_t outputs);
Model resnet50(Shape input, std::int64_t outputs);
/// VGG-16 with batch normalisation (Simonyan & Zisserman 2015), convolutions without bias; maps above 7 x 7 are averaged before the head.
/// `hidden`: dense layers of the head, each with dropout 0.5; empty: 4096, 4096 from 128 pixels, 512 below. Images from 32 x 32.
Model vgg(Shape input, std::int64_t outputs, std::vector<std::int64_t> hidden = {});
/// The EBSD network of Jha et al. 2018: convolutions 256-256-512-512-pool-256-256-96-96-pool, dense 8192-2048-outputs. Images from 4 x 4.
Model ebsdnet(Shape input, std::int64_t outputs);

/// Recurrent layers, the last one pooled, then a dense layer. Sequences are [T, F].
struct RecurrentOptions {
  std::vector<std::int64_t> hidden{64};  // of each layer
  bool bidirectional = false;
  float dropout = 0;
  layers::SequencePool pool = layers::SequencePool::last;  // last, mean or attention
};
Model recurrent(RnnMode mode, Shape input, std::int64_t outputs, const RecurrentOptions& options = {});
/// A 1-D CNN for powder diffraction patterns and other spectra [T, C], after Oviedo et al. 2019. Spectra from 16 steps.
Model xrdnet(Shape input, std::int64_t outputs, float dropout = 0);
/// U-Net (Ronneberger et al. 2015) with padding and batch normalisation: [H, W, C] -> [H, W, outputs], a class or value for every pixel.
/// The image is halved up to four times, as long as both sides are even and stay at 4 pixels or more; channels are `width`, doubled at each
/// halving. Images from 8 x 8, sides even.
Model unet(Shape input, std::int64_t outputs, std::int64_t width = 64);

/// What shapes a model chosen by name; a model takes what it knows.
struct ModelOptions {
  std::vector<std::int64_t> hidden;  // mlp, vgg: units of the hidden dense layers; rnn, lstm, gru: of the layers; empty: the model's own
  std::int64_t width = 64;           // unet: channels of the first level
  layers::SequencePool pool = layers::SequencePool::last;  // rnn, lstm, gru
  bool bidirectional = false;                              // rnn, lstm, gru
  float dropout = 0;                                       // rnn, lstm, gru: between the layers; xrdnet: before the last
};
std::span<const std::string_view> model_names();  // of images and tables, then those of sequences
bool is_recurrent(std::string_view model);        // rnn, lstm or gru
bool takes_sequences(std::string_view model);     // [T, F]: the recurrent ones and xrdnet
std::string model_list();                         // the names in one line
/// One of the above by name; rejects an unknown name, listing the known ones.
Model make_model(const std::string& name, Shape input, std::int64_t outputs, const ModelOptions& options = {});

}  // namespace epitaxy
