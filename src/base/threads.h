#pragma once
// One pool of threads for the whole process: OpenMP's, which oneDNN uses too.
// Work is split by output, never by reduction, so that results do not depend on the thread count.
#include <cstdint>
#include <functional>

namespace moxie {

// Threads that parallel_for uses: set_thread_count(), else MOXIE_THREADS, else the machine's cores.
int thread_count();
void set_thread_count(int count);  // count >= 1; throws kInvalidArgument otherwise

// Calls body(begin, end) over disjoint ranges that cover [0, count), each at least `grain` long
// (but for the last), on up to thread_count() threads. The first exception is rethrown here.
// A call from inside a parallel region runs on the calling thread alone.
void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

}  // namespace moxie
