#include "base/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace moxie {
namespace {

// The number after `key` in a file of lines "key number ...", 0 where there is none.
uint64_t number_after(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string name, rest;
  uint64_t value = 0;
  while (file >> name >> value && std::getline(file, rest)) {
    if (name == key) return value;
  }
  return 0;
}

// What is left of the group's limit, files that can be dropped counted as left.
uint64_t left_of_group() {
  std::string group;
  std::getline(std::ifstream("/proc/self/cgroup"), group);  // "0::/path"
  group = "/sys/fs/cgroup" + group.substr(std::min<size_t>(3, group.size())) + "/";
  uint64_t limit = 0, used = 0;
  if (!(std::ifstream(group + "memory.max") >> limit)) return std::numeric_limits<uint64_t>::max();
  std::ifstream(group + "memory.current") >> used;
  const std::string statistics = group + "memory.stat";
  used -= std::min(
      used, number_after(statistics, "inactive_file") + number_after(statistics, "active_file"));
  return limit - std::min(limit, used);
}

}  // namespace

uint64_t machine_memory() {
  return number_after("/proc/meminfo", "MemTotal:") << 10;
}

void release_freed_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

uint64_t available_memory() {
  return std::min(number_after("/proc/meminfo", "MemAvailable:") << 10, left_of_group());
}

}  // namespace moxie
