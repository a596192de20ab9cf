// What the data tests share: temporary folders, hand-made files, and the one line that an error gives.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "epitaxy/error.h"
#include "epitaxy/tensor.h"

namespace epitaxy::test {

/// A folder that is removed with its contents.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "epitaxy-data-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("cannot make a temporary folder");
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string path(const std::string& name = "") const { return name.empty() ? path_.string() : (path_ / name).string(); }
  /// Writes a file, with the folders above it; returns its path.
  std::string write(const std::string& name, const std::string& contents) const {
    if (name.find('/') != std::string::npos) std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << contents;
    return path(name);
  }

 private:
  std::filesystem::path path_;
};

inline std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string fixture(const std::string& name) { return std::string(EPITAXY_FIXTURES) + "/" + name; }

/// Path below EPITAXY_TEST_DATA, or "" where that is not set.
inline std::string real_data(const std::string& name) {
  const char* folder = std::getenv("EPITAXY_TEST_DATA");
  return folder && *folder ? std::string(folder) + "/" + name : std::string();
}

/// The message of the Error that `action` throws: one line. Adds a test failure where there is none, or another exception.
template <class Action>
std::string error_of(Action&& action, Fault fault) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault() == Fault::usage, fault == Fault::usage) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  } catch (const std::exception& other) {
    ADD_FAILURE() << "not an Error: " << other.what();
    return "";
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

inline ::testing::AssertionResult mentions(const std::string& message, std::initializer_list<std::string> words) {
  for (const auto& word : words)
    if (message.find(word) == std::string::npos) return ::testing::AssertionFailure() << "'" << word << "' is not in: " << message;
  return ::testing::AssertionSuccess();
}

template <class T>
std::vector<T> values_of(const Tensor& tensor) {
  const auto span = tensor.span<T>();
  return {span.begin(), span.end()};
}

/// An IDX file: magic, sizes, bytes.
inline std::string idx_bytes(unsigned char type, const std::vector<std::uint32_t>& sizes, const std::string& values) {
  std::string bytes{'\0', '\0', static_cast<char>(type), static_cast<char>(sizes.size())};
  for (const std::uint32_t size : sizes)
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(size >> shift);
  return bytes + values;
}

}  // namespace epitaxy::test

#define NEEDS_REAL_DATA(path) \
  if ((path).empty()) GTEST_SKIP() << "skipped: EPITAXY_TEST_DATA is not set"
