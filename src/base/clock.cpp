#include "base/clock.h"

#include <unistd.h>

#include <cstdio>
#include <ctime>

namespace moxie {

// VmHWM, not getrusage's ru_maxrss: that one also counts what the parent held when it forked.
uint64_t peak_rss_bytes() {
  uint64_t kib = 0;
  if (FILE* file = std::fopen("/proc/self/status", "r")) {
    char line[256];
    while (kib == 0 && std::fgets(line, sizeof line, file) != nullptr) {
      if (std::sscanf(line, "VmHWM: %lu kB", &kib) != 1) kib = 0;
    }
    std::fclose(file);
  }
  return kib * 1024;
}

HeldMemory held_memory() {
  uint64_t total = 0, resident = 0, shared = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%lu %lu %lu", &total, &resident, &shared) != 3) resident = shared = 0;
    std::fclose(file);
  }
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return {(resident - shared) * page, shared * page};
}

std::string utc_timestamp() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace moxie
