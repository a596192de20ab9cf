// Recurrent networks against PyTorch, where python3 has it: the same weights, inputs, lengths and states, fp32; outputs, last states and
// all gradients to 1e-5.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "epitaxy/ops/rnn.h"
#include "tests/support/compare.h"

namespace epitaxy::test {
namespace {

/// Prints, for every configuration, its name and then "<array> <count> <numbers>", and "end".
constexpr const char* kProgram = R"(
import sys
try:
    import torch
except ImportError:
    print("no torch"); sys.exit(0)
print("torch", torch.__version__)
torch.manual_seed(3)
torch.set_num_threads(1)
def show(name, t):
    v = t.detach().reshape(-1).tolist()
    print(name, len(v), " ".join(repr(x) for x in v))
def run(mode, layers, both, projection, bias, ragged, states):
    n, t, i, h = 4, 5, 3, 6
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(mode, torch.nn.RNN)
    more = {"proj_size": projection} if projection else {"nonlinearity": mode[4:]} if mode.startswith("rnn") else {}
    net = kind(i, h, layers, batch_first=True, bidirectional=both, bias=bias, **more)
    places = layers * (2 if both else 1)
    x = torch.randn(n, t, i, requires_grad=True)
    first = [torch.randn(places, n, s, requires_grad=True) for s in ([projection or h] + ([h] if mode == "lstm" else []))] if states else []
    lengths = torch.tensor([3, 5, 1, 4])
    print("case", mode, layers, int(both), projection, int(bias), int(ragged), int(states))
    given = None if not states else tuple(first) if mode == "lstm" else first[0]
    if ragged:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, last = net(packed, given)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=t)
    else:
        y, last = net(x, given)
    outputs = [y] + (list(last) if mode == "lstm" else [last])
    dys = [torch.randn_like(o) for o in outputs]
    torch.autograd.backward(outputs, dys)
    show("x", x)
    for k, s in enumerate(first): show("state%d" % k, s)
    for k, p in enumerate(net.parameters()): show("parameter%d" % k, p)
    for k, o in enumerate(outputs): show("output%d" % k, o)
    for k, d in enumerate(dys): show("dy%d" % k, d)
    show("dx", x.grad)
    for k, s in enumerate(first): show("dstate%d" % k, s.grad)
    for k, p in enumerate(net.parameters()): show("dparameter%d" % k, p.grad)
    print("end")
for mode in ("rnn_tanh", "rnn_relu", "lstm", "gru"):
    for layers, both, bias, ragged, states in ((1, 0, 1, 0, 0), (2, 0, 0, 1, 1), (2, 1, 1, 1, 1), (3, 1, 1, 0, 1)):
        run(mode, layers, bool(both), 0, bool(bias), bool(ragged), bool(states))
run("lstm", 2, True, 4, True, True, True)
run("lstm", 1, False, 2, False, False, True)
)";

struct Case {
  RnnOptions options;
  std::map<std::string, std::vector<double>> arrays;
  Tensor get(const std::string& name, Shape shape) const { return values(DType::fp32, shape, arrays.at(name)); }
};

RnnMode mode_of(const std::string& text) {
  for (const RnnMode mode : {RnnMode::rnn_tanh, RnnMode::rnn_relu, RnnMode::lstm, RnnMode::gru})
    if (name(mode) == text) return mode;
  throw Error("unknown mode " + text);
}

/// PyTorch's answers; empty, with the reason, where there is no PyTorch.
std::vector<Case> answers(std::string& why) {
  const char* chosen = std::getenv("EPITAXY_PYTHON");
  const std::string stem = ::testing::TempDir() + text("rnn_torch_", getpid()), program = stem + ".py", output = stem + ".txt";
  std::ofstream(program) << kProgram;
  std::string line;
  std::ifstream file;
  for (const std::string& python : chosen ? std::vector<std::string>{chosen} : std::vector<std::string>{"python3", "/usr/bin/python3"}) {
    const int status = std::system((python + " " + program + " > " + output + " 2>/dev/null").c_str());
    file = std::ifstream(output);
    std::getline(file, line);
    if (status == 0 && line.rfind("torch", 0) == 0) break;
    line.clear();
  }
  std::remove(program.c_str()), std::remove(output.c_str());
  if (line.empty()) {
    why = "no python3 here has torch (EPITAXY_PYTHON names one that has)";
    return {};
  }
  std::vector<Case> cases;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    if (name == "case") {
      std::string mode;
      int layers, both, projection, bias, ragged, states;
      words >> mode >> layers >> both >> projection >> bias >> ragged >> states;
      cases.push_back({{.mode = mode_of(mode),
                        .hidden = 6,
                        .layers = layers,
                        .bidirectional = both == 1,
                        .projection = projection,
                        .bias = bias == 1,
                        .lengths = ragged == 1,
                        .initial = states == 1},
                       {}});
    } else if (name != "end") {
      std::size_t count = 0;
      words >> count;
      std::vector<double> numbers(count);
      for (double& number : numbers) words >> number;
      cases.back().arrays[name] = numbers;
    }
  }
  return cases;
}

TEST(RnnTorch, Agrees) {
  std::string why;
  const auto cases = answers(why);
  if (cases.empty()) GTEST_SKIP() << why;
  ASSERT_EQ(cases.size(), 18u);
  for (const Case& c : cases) {
    SCOPED_TRACE(rnn(c.options)->name() + ", " + rnn(c.options)->details());
    const RnnOptions& o = c.options;
    const std::int64_t places = o.layers * (o.bidirectional ? 2 : 1), output = o.projection ? o.projection : o.hidden;
    std::vector<Tensor> inputs{c.get("x", {4, 5, 3})};
    if (o.lengths) inputs.push_back(values(DType::int32, {4}, {3, 5, 1, 4}));
    if (o.initial) inputs.push_back(c.get("state0", {places, 4, output}));
    if (o.initial && o.mode == RnnMode::lstm) inputs.push_back(c.get("state1", {places, 4, o.hidden}));
    const auto parameters = rnn_parameters(o, 3);
    for (std::size_t i = 0; i < parameters.size(); ++i) inputs.push_back(c.get(text("parameter", i), parameters[i].shape));
    ASSERT_FALSE(c.arrays.contains(text("parameter", parameters.size())));
    for (const bool reference : {true, false}) {
      SCOPED_TRACE(reference ? "reference" : "fast");
      const auto results = run_on({}, *rnn(o), inputs, reference);
      auto more = inputs;
      more.push_back(results[0]), more.push_back(results.back());
      for (std::size_t i = 0; i + 1 < results.size(); ++i) {
        EXPECT_TRUE(close(results[i], c.get(text("output", i), results[i].shape()), 1e-5)) << "output " << i;
        more.push_back(c.get(text("dy", i), results[i].shape()));
      }
      const bool lstm = o.mode == RnnMode::lstm;
      const auto gradients = run_on({}, *rnn_gradient(o, {.y = true, .h_n = true, .c_n = lstm, .x = true}), more, reference);
      std::vector<std::string> names{"dx"};
      if (o.initial) names.push_back("dstate0");
      if (o.initial && lstm) names.push_back("dstate1");
      for (std::size_t i = 0; i < parameters.size(); ++i) names.push_back(text("dparameter", i));
      ASSERT_EQ(gradients.size(), names.size());
      for (std::size_t i = 0; i < names.size(); ++i)
        EXPECT_TRUE(close(gradients[i], c.get(names[i], gradients[i].shape()), 1e-5, 1e-5)) << names[i];
    }
  }
}

}  // namespace
}  // namespace epitaxy::test
