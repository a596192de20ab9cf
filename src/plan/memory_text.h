// Sizes of memory for people.
#pragma once

#include <string>

namespace epitaxy {

/// "1.5 GiB", "312 MiB".
std::string memory_text(double bytes);

}  // namespace epitaxy
