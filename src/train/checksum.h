// A checksum that every change of one word alters: FNV-1a over 64-bit words (http://www.isthe.com/chongo/tech/comp/fnv).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "epitaxy/tensor.h"

namespace epitaxy {

class Checksum {
 public:
  /// The bytes and how many they are.
  void add(const void* data, std::size_t bytes);
  void add(std::string_view text) { add(text.data(), text.size()); }
  /// Type, shape and values; a tensor that is not there counts too. On the host.
  void add(const Tensor& tensor);
  /// 16 digits.
  std::string text() const;

 private:
  void add_word(std::uint64_t word) { hash_ = (hash_ ^ word) * 0x100000001b3u; }
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

}  // namespace epitaxy
