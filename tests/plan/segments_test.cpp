// Which parts of a plan a CUDA graph may hold: all of it, but for recurrent networks that read lengths on the host.
#include <gtest/gtest.h>

#include "epitaxy/plan/compiled_model.h"
#include "plan/execution.h"

namespace epitaxy {
namespace {

using layers::Rnn;
using layers::SequencePool;

Model two_layers() {
  return sequential({6, 3}, {Rnn{.hidden = 4, .layers = 2, .dropout = 0.5f, .pool = SequencePool::mean}, layers::Dense{2}});
}

std::vector<Segment> of(const Model& model, bool training) {
  CompiledModel compiled(model, {});
  const Graph& graph = (training ? compiled.training_plan(4) : compiled.evaluation_plan(4)).graph();
  std::vector<Segment> segments = segments_of(graph);
  EXPECT_EQ(segments.front().first, 0u);
  EXPECT_EQ(segments.back().last, graph.nodes().size());
  for (std::size_t s = 0; s < segments.size(); ++s) {
    if (s > 0) {
      EXPECT_EQ(segments[s].first, segments[s - 1].last);
      EXPECT_NE(segments[s].captured, segments[s - 1].captured);
    }
    for (std::size_t n = segments[s].first; n < segments[s].last; ++n) {
      const std::string name = graph.nodes()[n].operation->name();
      EXPECT_EQ(segments[s].captured, name != "lstm" && name != "lstm_gradient") << name;
    }
  }
  return segments;
}

TEST(Segments, OneWithoutLengths) {
  for (const bool training : {false, true}) {
    CompiledModel compiled(two_layers(), {});
    const Graph& graph = (training ? compiled.training_plan(4) : compiled.evaluation_plan(4)).graph();
    EXPECT_EQ(segments_of(graph), (std::vector<Segment>{{0, graph.nodes().size(), true}}));
  }
}

/// The recurrent operations run between graphs: lstm (first of all nodes), dropout, lstm, the head and its gradients, lstm_gradient, ...
TEST(Segments, LengthsCutThemAtTheRecurrentOperations) {
  EXPECT_EQ(of(two_layers().with_lengths(), true).size(), 8u);
  EXPECT_EQ(of(two_layers().with_lengths(), false).size(), 2u) << "without dropout one operation for both layers";
  EXPECT_TRUE(segments_of(Graph()).empty());
}

}  // namespace
}  // namespace epitaxy
