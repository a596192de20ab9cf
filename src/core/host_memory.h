// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <string>

namespace epitaxy {

/// The least of what the machine has available, what the control groups of this process leave (containers, batch systems; versions 1 and
/// 2) and what remains of its address space (ulimit -v), in bytes. `root` stands before /proc and /sys, for tests.
std::uint64_t host_free_memory(const std::string& root = "");

}  // namespace epitaxy
