#include "plan/execution.h"

namespace epitaxy {

struct Execution::Captured {};

Execution::Execution(const Plan& plan, const Context& context) : plan_(plan), context_(context) {}
Execution::~Execution() = default;

void Execution::run() {
  plan_.run();
  ++runs_;
}

struct Feed::Slots {};

Feed::Feed(const Context& context) : context_(context) {}
Feed::~Feed() = default;
void Feed::reserve(std::size_t, std::size_t) {}

void Feed::send(const Tensor& input, const Tensor& to_input) {
  context_.backend->copy(to_input.data(), input.data(), input.bytes(), context_.stream);
  context_.backend->synchronize(context_.stream);
}

void Feed::send(const Tensor& input, const Tensor& to_input, const Tensor& target, const Tensor& to_target, float learning_rate,
                const Tensor& to_learning_rate) {
  context_.backend->copy(to_target.data(), target.data(), target.bytes(), context_.stream);
  context_.backend->copy(to_learning_rate.data(), &learning_rate, sizeof learning_rate, context_.stream);
  send(input, to_input);
}

std::size_t Feed::bytes() const { return 0; }
std::size_t Feed::bytes_for(const Context&, std::size_t) { return 0; }

}  // namespace epitaxy
