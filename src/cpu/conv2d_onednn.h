// Convolutions of every kind on oneDNN's direct algorithm.
#pragma once

#if EPITAXY_HAS_ONEDNN

#include <memory>
#include <optional>

#include "cpu/conv2d_border.h"
#include "cpu/onednn.h"

namespace epitaxy {

class OnednnConv2d {
 public:
  /// Null where oneDNN has only its reference implementation. Made for the number of threads set at this moment.
  static std::unique_ptr<OnednnConv2d> make(Conv2dPass pass, const Conv2dProblem& problem);
  std::size_t workspace_bytes() const { return workspace_bytes_; }
  void run(const Conv2dArgs& args, std::byte* workspace);

 private:
  /// One operand's way between the caller's memory and the primitive: [caller] - converted or wrapped -> [staged] - reordered -> [used].
  struct Route {
    DType type = DType::fp32;  // the caller's
    DType staged_type = DType::fp32;
    std::int64_t count = 0;  // elements staged
    bool staged = false;
    bool bordered = false;  // staged with the periodic border
    std::optional<onednn::Reorder> reorder;
    std::size_t staged_at = 0, reordered_at = 0;  // places in the workspace
  };

  OnednnConv2d(Conv2dPass pass, const Conv2dProblem& problem, const onednn::Kernel& kernel, onednn::Direction direction)
      : pass_(pass), problem_(problem), border_(periodic_border(problem)), runner_(kernel, direction) {}
  std::size_t place(std::size_t bytes);
  bool plan(Route& route, DType caller, const onednn::Layout& plain, const onednn::Layout& used, DType compute, std::int64_t count,
            bool bordered, bool to_caller);
  const void* enter(Route& route, const void* data, std::byte* workspace);
  void* result_address(const Route& route, void* result, std::byte* workspace) const;
  void leave(Route& route, void* result, const void* residual, std::byte* workspace);

  Conv2dPass pass_;
  Conv2dProblem problem_;
  Border border_;
  onednn::Runner runner_;
  std::optional<onednn::Runner> fused_;  // with ReLU, where the problem has it
  Route x_, filter_, y_;
  std::size_t scratch_at_ = 0, workspace_bytes_ = 0;
};

}  // namespace epitaxy

#endif
