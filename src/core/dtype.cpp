#include "epitaxy/dtype.h"

#include <array>

#include "epitaxy/error.h"

namespace epitaxy {

namespace {
constexpr std::array<std::string_view, 7> kDTypes{"fp32", "bf16", "fp16", "uint8", "uint16", "int32", "int64"};
constexpr std::array<std::string_view, 4> kPrecisions{"fp32", "tf32", "bf16", "fp16"};

template <class Enum, std::size_t N>
Enum parse(const std::array<std::string_view, N>& names, std::string_view wanted, const char* what) {
  for (std::size_t i = 0; i < N; ++i)
    if (names[i] == wanted) return static_cast<Enum>(i);
  std::string known;
  for (const auto& one : names) known += (known.empty() ? "" : ", ") + std::string(one);
  reject("unknown ", what, " '", wanted, "': one of ", known);
}
}  // namespace

std::string_view name(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)]; }
DType parse_dtype(std::string_view name) { return parse<DType>(kDTypes, name, "dtype"); }
std::string_view name(Precision precision) { return kPrecisions[static_cast<std::size_t>(precision)]; }
Precision parse_precision(std::string_view name) { return parse<Precision>(kPrecisions, name, "precision"); }

}  // namespace epitaxy
