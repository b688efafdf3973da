#pragma once
// Memory of the machine, in bytes.
#include <cstdint>

namespace moxie {

uint64_t machine_memory();
// What a process can still take without the system having to swap or kill: what the kernel counts
// as available, and no more than is left of the control group's limit (cgroup v2), as in a
// container.
uint64_t available_memory();

// Gives the system what the process has freed and its allocator kept.
void release_freed_memory();

}  // namespace moxie
