#include "core/host_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

namespace epitaxy {

namespace {

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

/// The number behind `key` in a file of "key number" lines; with an empty key the number that the file holds. None for "max".
std::optional<std::uint64_t> number_in(const std::string& path, const std::string& key = "") {
  std::ifstream in(path);
  std::string word, rest;
  std::uint64_t value = 0;
  if (key.empty()) return in >> value ? std::optional(value) : std::nullopt;
  while (in >> word && std::getline(in, rest))
    if (word == key) return std::istringstream(rest) >> value ? std::optional(value) : std::nullopt;
  return {};
}

std::uint64_t left_of(std::uint64_t limit, std::uint64_t used) { return limit > used ? limit - used : 0; }

struct GroupFiles {
  std::string folder;
  const char *limit, *usage, *reclaimable;
};

/// What a control group and those above it leave. File pages that the kernel drops on demand count as free.
std::uint64_t group_memory(const GroupFiles& files, std::string group) {
  std::uint64_t free = kNoLimit;
  for (;;) {
    const std::string folder = files.folder + (group == "/" ? "" : group) + "/";
    const auto limit = number_in(folder + files.limit), usage = number_in(folder + files.usage);
    if (limit && usage) {
      const std::uint64_t cache = number_in(folder + "memory.stat", files.reclaimable).value_or(0);
      free = std::min(free, left_of(*limit, left_of(*usage, cache)));
    }
    if (group.empty() || group == "/") return free;
    group.resize(group.find_last_of('/') == std::string::npos ? 0 : group.find_last_of('/'));
  }
}

std::uint64_t groups_memory(const std::string& root) {
  std::uint64_t free = kNoLimit;
  std::ifstream in(root + "/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {  // number:controllers:group, of version 2 without controllers
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",", group = line.substr(second + 1);
    if (controllers == ",,")
      free = std::min(free, group_memory({root + "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"}, group));
    else if (controllers.find(",memory,") != std::string::npos)
      free = std::min(
          free,
          group_memory({root + "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}, group));
  }
  return free;
}

std::uint64_t address_space(const std::string& root) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kNoLimit;
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return left_of(limit.rlim_cur, number_in(root + "/proc/self/statm").value_or(0) * page);
}

}  // namespace

std::uint64_t host_free_memory(const std::string& root) {
  const auto available = number_in(root + "/proc/meminfo", "MemAvailable:");
  const std::uint64_t machine =
      available ? *available * 1024
                : static_cast<std::uint64_t>(::sysconf(_SC_AVPHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return std::min({machine, groups_memory(root), address_space(root)});
}

}  // namespace epitaxy
