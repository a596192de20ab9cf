#include "gpu/check.h"

#include <cstring>

#include "epitaxy/error.h"

namespace epitaxy {

void fail_call(const char* call, const char* file, int line, const char* what, const char* code) {
  const char* name = std::strrchr(file, '/');
  fail("CUDA call ", call, " failed at ", name ? name + 1 : file, ":", line, ": ", what, " (", code, ")");
}

}  // namespace epitaxy
