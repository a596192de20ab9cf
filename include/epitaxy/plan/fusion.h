// Fusion: rewrites that make one operation of neighbours in the graph, so that what passes between them is never written to memory.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "epitaxy/ops/graph.h"

namespace epitaxy {

/// The rewrites, in the order in which they are tried.
enum class Fusion : std::uint8_t {
  concat_conv,      // concat+conv: a convolution reads two images instead of their concatenation
  conv_add,         // conv+add: a residual is added where the convolution stores its result
  conv_relu,        // conv+relu: ReLU is applied there
  conv_statistics,  // conv+statistics: batch normalisation's statistics are taken there
  dense_relu,       // dense+relu
  bn_relu_pool,     // bn+relu+pool: normalisation, ReLU and max pooling in one pass
  bn_add_relu,      // bn+add+relu: normalisation, residual and ReLU in one pass, forward and backward
  bn_relu,          // bn+relu
  bn_add,           // bn+add
  dgrad_add,        // dgrad+add: in the backward graph, a convolution's input gradient adds what its input has from its other readers
  dgrad_relu,       // dgrad+relu: it is cut off there where the ReLU before the convolution was closed
  dgrad_bn,         // dgrad+bn: the sums that batch normalisation's backward pass starts from are taken there
};
inline constexpr int kFusions = 12;
/// "bn+relu".
std::string_view name(Fusion fusion);

/// Which rewrites may be made; all by default.
class FusionSet {
 public:
  FusionSet() = default;
  static FusionSet all() { return {}; }
  static FusionSet none() { return FusionSet(0); }
  bool contains(Fusion fusion) const { return bits_ >> static_cast<int>(fusion) & 1; }
  FusionSet with(Fusion fusion) const { return FusionSet(bits_ | 1u << static_cast<int>(fusion)); }
  bool operator==(const FusionSet&) const = default;

 private:
  explicit FusionSet(std::uint32_t bits) : bits_(bits) {}
  std::uint32_t bits_ = (1u << kFusions) - 1;
};
/// {"on"}, {"off"}, or names; rejects anything else, listing the names.
FusionSet parse_fusions(std::span<const std::string> words);
/// What parse_fusions reads.
std::vector<std::string> words_of(FusionSet fusions);

struct NodeLabel {
  std::string node, operation;  // "stage1.bn", "batch_norm_apply"
};

/// One rewrite that was made.
struct FusedNode {
  Fusion fusion;
  std::string node;               // the name of what stands there now
  std::vector<NodeLabel> merged;  // what stood there
  double bytes_saved = 0;         // of traffic, by Operation::cost; what a forward rewrite saves in the backward pass is not counted
};

/// Rewrites a forward graph, before its gradient is taken, where that pays on the device: conv+statistics, concat+conv and bn+relu+pool do
/// not on a CPU. Values in `kept` are read by others than the graph's nodes and stay.
std::vector<FusedNode> fuse(Graph& graph, FusionSet fusions, std::span<const ValueId> kept, Device device);
/// Rewrites the backward graph, after the gradient was taken, likewise: dgrad+... . They do not pay on a CPU.
std::vector<FusedNode> fuse_backward(Graph& graph, FusionSet fusions, std::span<const ValueId> kept, Device device);

}  // namespace epitaxy
