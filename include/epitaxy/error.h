// The one error type. A user sees what(): one clear line that names the file or argument and the remedy.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace epitaxy {

/// Who has to act. `usage`: the caller passed something wrong (exit code 2); `failure`: the work itself failed (exit code 1).
enum class Fault { usage, failure };

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, Fault fault = Fault::failure) : std::runtime_error(message), fault_(fault) {}
  Fault fault() const noexcept { return fault_; }
  int exit_code() const noexcept { return fault_ == Fault::usage ? 2 : 1; }

 private:
  Fault fault_;
};

/// Joins its arguments with operator<<: text("conv2d: ", shape).
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

/// Throws a failure whose message is the joined parts.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(text(parts...), Fault::failure);
}

/// Throws a usage error whose message is the joined parts.
template <class... Parts>
[[noreturn]] void reject(const Parts&... parts) {
  throw Error(text(parts...), Fault::usage);
}

/// Rejects bad arguments: require(x.rank() == 4, "pool2d: x must be NHWC, got ", x).
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]]
    reject(parts...);
}

}  // namespace epitaxy
