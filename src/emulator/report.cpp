// Words for what went wrong.
#include <map>

#include "emulator/scheduler.h"
#include "epitaxy/error.h"

namespace epitaxy::emulated {

const char* name(Meeting kind) {
  switch (kind) {
    case Meeting::none: return "nothing";
    case Meeting::syncthreads: return "__syncthreads";
    case Meeting::syncthreads_count: return "__syncthreads_count";
    case Meeting::syncthreads_and: return "__syncthreads_and";
    case Meeting::syncthreads_or: return "__syncthreads_or";
    case Meeting::syncwarp: return "__syncwarp";
    case Meeting::shuffle: return "__shfl_sync";
    case Meeting::ballot: return "__ballot_sync";
    case Meeting::all: return "__all_sync";
    case Meeting::any: return "__any_sync";
    case Meeting::match_any: return "__match_any_sync";
    case Meeting::reduce_add: return "__reduce_add_sync";
    case Meeting::reduce_min:
    case Meeting::reduce_min_signed: return "__reduce_min_sync";
    case Meeting::reduce_max:
    case Meeting::reduce_max_signed: return "__reduce_max_sync";
    case Meeting::reduce_and: return "__reduce_and_sync";
    case Meeting::reduce_or: return "__reduce_or_sync";
    case Meeting::reduce_xor: return "__reduce_xor_sync";
    case Meeting::ldmatrix_x2: return "ldmatrix.x2";
    case Meeting::ldmatrix_x2_trans: return "ldmatrix.x2.trans";
    case Meeting::ldmatrix_x4: return "ldmatrix.x4";
    case Meeting::ldmatrix_x4_trans: return "ldmatrix.x4.trans";
    case Meeting::mma_bf16: return "mma.sync bf16";
    case Meeting::mma_fp16: return "mma.sync fp16";
    case Meeting::mma_tf32: return "mma.sync tf32";
    case Meeting::stmatrix_x2: return "stmatrix.x2";
    case Meeting::stmatrix_x2_trans: return "stmatrix.x2.trans";
    case Meeting::stmatrix_x4: return "stmatrix.x4";
    case Meeting::stmatrix_x4_trans: return "stmatrix.x4.trans";
    case Meeting::wgmma: return "wgmma";
    case Meeting::wgmma_fence: return "wgmma.fence";
    case Meeting::wgmma_commit: return "wgmma.commit_group";
    case Meeting::wgmma_wait: return "wgmma.wait_group";
    case Meeting::setmaxnreg: return "setmaxnreg";
    case Meeting::elect: return "elect.sync";
    case Meeting::mbarrier: return "mbarrier wait";
    case Meeting::named_barrier: return "bar.sync";
  }
  return "?";
}

std::string describe(Site site) {
  std::string_view file = site.file ? site.file : "?";
  if (const auto slash = file.rfind('/'); slash != std::string_view::npos) file.remove_prefix(slash + 1);
  return text(file, ":", site.line);
}

std::string describe(const Thread& thread) {
  return text("thread (", thread.index.x, ",", thread.index.y, ",", thread.index.z, ") of block (", blockIdx.x, ",", blockIdx.y, ",",
              blockIdx.z, ")");
}

// "deadlock in block (0,0,0) of 64 threads: threads 0-15 wait in __syncthreads at a.cu:7; threads 16-63 have returned; ..."
std::string Scheduler::describe_deadlock() const {
  const Muted muted;
  std::map<std::string, std::vector<int>> groups;
  for (int i = 0; i < count_; ++i) {
    const Thread& one = crew_->threads[static_cast<std::size_t>(i)];
    if (one.finished) {
      groups["have returned"].push_back(i);
    } else if (one.meeting == Meeting::mbarrier) {
      groups[text("wait in mbarrier_wait for parity ", one.parity, " at ", describe(one.site), " (",
                  describe_barrier(crew_->shared, one.barrier), ")")]
          .push_back(i);
    } else if (one.mask && one.meeting >= Meeting::syncwarp) {
      groups[text("wait in ", name(one.meeting), " of lanes 0x", std::hex, one.mask, std::dec, " at ", describe(one.site))].push_back(i);
    } else {
      groups[text("wait in ", name(one.meeting), " at ", describe(one.site))].push_back(i);
    }
  }
  std::string words = text("deadlock in block (", blockIdx.x, ",", blockIdx.y, ",", blockIdx.z, ") of ", count_, " threads:");
  for (const auto& [what, threads] : groups) {
    words += " threads ";
    for (std::size_t first = 0; first < threads.size();) {
      std::size_t last = first;
      while (last + 1 < threads.size() && threads[last + 1] == threads[last] + 1) ++last;
      words += (first ? "," : "") + std::to_string(threads[first]) + (last > first ? "-" + std::to_string(threads[last]) : "");
      first = last + 1;
    }
    words += " " + what + ";";
  }
  return words + " every thread that a barrier or a mask names must reach it";
}

}  // namespace epitaxy::emulated
