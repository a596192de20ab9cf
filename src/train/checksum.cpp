#include "train/checksum.h"

#include <cstdio>
#include <cstring>

namespace epitaxy {

void Checksum::add(const void* data, std::size_t bytes) {
  const auto* at = static_cast<const std::uint8_t*>(data);
  add_word(bytes);
  for (std::size_t left = bytes; left > 0;) {
    std::uint64_t word = 0;
    const std::size_t count = left < sizeof(word) ? left : sizeof(word);
    std::memcpy(&word, at, count);
    add_word(word);
    at += count, left -= count;
  }
}

void Checksum::add(const Tensor& tensor) {
  add(tensor ? epitaxy::text(tensor.spec()) : std::string());
  if (tensor) add(tensor.data(), tensor.bytes());
}

std::string Checksum::text() const {
  char digits[17];
  std::snprintf(digits, sizeof(digits), "%016llx", static_cast<unsigned long long>(hash_));
  return digits;
}

}  // namespace epitaxy
