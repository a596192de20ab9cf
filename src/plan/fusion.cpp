#include "epitaxy/plan/fusion.h"

#include <algorithm>
#include <array>
#include <limits>

#include "plan/fusion_rules.h"

namespace epitaxy {

namespace {

constexpr std::array<std::string_view, kFusions> kNames{"concat+conv", "conv+add",     "conv+relu",   "conv+statistics",
                                                        "dense+relu",  "bn+relu+pool", "bn+add+relu", "bn+relu",
                                                        "bn+add",      "dgrad+add",    "dgrad+relu",  "dgrad+bn"};
constexpr int kFirstBackward = static_cast<int>(Fusion::dgrad_add);

double bytes_of(const Graph& graph, const Node& node) { return node.operation->cost(graph.specs(node.inputs)).bytes; }

/// The place of the replacement in the order of nodes: that of the last member, or of the first where something between them reads the
/// result; -1 where neither does.
int place_of(const Graph& graph, const Uses& uses, const Rewrite& rewrite) {
  const auto is_member = [&](int n) { return std::find(rewrite.members.begin(), rewrite.members.end(), n) != rewrite.members.end(); };
  int first_reader = std::numeric_limits<int>::max(), last_producer = -1;
  for (const Node& node : rewrite.replacement) {
    for (const ValueId id : node.outputs)
      if (static_cast<std::size_t>(id) < uses.readers.size())
        for (const int n : uses.readers[static_cast<std::size_t>(id)])
          if (!is_member(n)) first_reader = std::min(first_reader, n);
    for (const ValueId id : node.inputs)
      if (graph.value(id).role == Role::intermediate && static_cast<std::size_t>(id) < uses.producer.size())
        if (const int n = uses.producer[static_cast<std::size_t>(id)]; !is_member(n)) last_producer = std::max(last_producer, n);
  }
  if (first_reader > rewrite.members.back()) return rewrite.members.back();
  return last_producer < rewrite.members.front() ? rewrite.members.front() : -1;
}

void apply(Graph& graph, const Rewrite& rewrite, int place) {
  std::vector<Node> nodes;
  for (int n = 0; n < static_cast<int>(graph.nodes().size()); ++n) {
    if (n == place) nodes.insert(nodes.end(), rewrite.replacement.begin(), rewrite.replacement.end());
    if (std::find(rewrite.members.begin(), rewrite.members.end(), n) == rewrite.members.end())
      nodes.push_back(graph.nodes()[static_cast<std::size_t>(n)]);
  }
  graph.set_nodes(std::move(nodes));
}

/// On a CPU convolutions have no such epilogues (reading again only moves elsewhere), and pooling on its own is faster.
bool pays(Fusion fusion, Device device) {
  return device.kind != DeviceKind::cpu || (fusion != Fusion::conv_statistics && fusion != Fusion::concat_conv &&
                                            fusion != Fusion::bn_relu_pool && static_cast<int>(fusion) < kFirstBackward);
}

/// Makes the rewrites first, first + 1, ... last - 1 of the set.
std::vector<FusedNode> rewrite(Graph& graph, FusionSet fusions, int first, int last, std::span<const ValueId> kept, Device device) {
  std::vector<FusedNode> made;
  Uses uses = graph.uses();
  for (int i = first; i < last; ++i) {
    const auto fusion = static_cast<Fusion>(i);
    if (!fusions.contains(fusion) || !pays(fusion, device)) continue;
    for (int n = 0; n < static_cast<int>(graph.nodes().size()); ++n) {
      const auto found = match(fusion, {graph, uses, kept}, n);
      const int place = found ? place_of(graph, uses, *found) : -1;
      if (place < 0) continue;
      FusedNode& fused = made.emplace_back(FusedNode{fusion, found->replacement[0].name, {}, 0});
      for (const int member : found->members) {
        const Node& node = graph.nodes()[static_cast<std::size_t>(member)];
        fused.merged.push_back({node.name, node.operation->name()});
        fused.bytes_saved += bytes_of(graph, node);
      }
      for (const Node& node : found->replacement) fused.bytes_saved -= bytes_of(graph, node);
      apply(graph, *found, place);
      uses = graph.uses();
      --n;  // another node stands here now
    }
  }
  return made;
}

}  // namespace

std::string_view name(Fusion fusion) { return kNames[static_cast<std::size_t>(fusion)]; }

FusionSet parse_fusions(std::span<const std::string> words) {
  if (words.size() == 1 && (words[0] == "on" || words[0] == "true")) return FusionSet::all();
  if (words.size() == 1 && (words[0] == "off" || words[0] == "false" || words[0] == "none")) return FusionSet::none();
  FusionSet set = FusionSet::none();
  for (const auto& word : words) {
    const auto at = std::find(kNames.begin(), kNames.end(), word);
    if (at == kNames.end()) {
      std::string known;
      for (const auto& one : kNames) known += text(known.empty() ? "" : ", ", one);
      reject("unknown fusion '", word, "': on, off, or some of ", known);
    }
    set = set.with(static_cast<Fusion>(at - kNames.begin()));
  }
  return set;
}

std::vector<std::string> words_of(FusionSet fusions) {
  if (fusions == FusionSet::all()) return {"on"};
  if (fusions == FusionSet::none()) return {"off"};
  std::vector<std::string> words;
  for (int i = 0; i < kFusions; ++i)
    if (fusions.contains(static_cast<Fusion>(i))) words.emplace_back(kNames[static_cast<std::size_t>(i)]);
  return words;
}

std::vector<FusedNode> fuse(Graph& graph, FusionSet fusions, std::span<const ValueId> kept, Device device) {
  return rewrite(graph, fusions, 0, kFirstBackward, kept, device);
}

std::vector<FusedNode> fuse_backward(Graph& graph, FusionSet fusions, std::span<const ValueId> kept, Device device) {
  return rewrite(graph, fusions, kFirstBackward, kFusions, kept, device);
}

}  // namespace epitaxy
