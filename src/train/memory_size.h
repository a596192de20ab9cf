// Sizes of memory as people write them.
#pragma once

#include <cstdint>
#include <string>

#include "plan/memory_text.h"

namespace epitaxy {

/// Bytes: "500M", "4G", "1.5GiB", "1048576". K, M, G and T are powers of 1024.
std::uint64_t parse_memory_size(const std::string& text);
}  // namespace epitaxy
