#pragma once
// One pool of threads for the whole process. Ours starts in a fraction of the time of a region of
// OpenMP, which asks the operating system to wake threads that are awake.
// Work is split by output, never by reduction, so that results do not depend on the thread count.
#include <cstdint>

namespace moxie {

// Threads that parallel_for uses: set_thread_count(), else MOXIE_THREADS, else the machine's cores.
int thread_count();
void set_thread_count(int count);  // count >= 1; throws kInvalidArgument otherwise

// What parallel_for calls with a range: a reference to it, which costs no memory.
class RangeBody {
 public:
  template <class F>
  RangeBody(const F& f)  // NOLINT(google-explicit-constructor): written where it is called
      : at_(&f), call_([](const void* at, int64_t begin, int64_t end) {
          (*static_cast<const F*>(at))(begin, end);
        }) {}
  void operator()(int64_t begin, int64_t end) const { call_(at_, begin, end); }

 private:
  const void* at_;
  void (*call_)(const void* at, int64_t begin, int64_t end);
};

// Calls body(begin, end) over disjoint ranges that cover [0, count), each at least `grain` long
// (but for the last), on up to thread_count() threads. The first exception is rethrown here.
// A call from inside a range, or while another thread's call is under way, runs on the calling
// thread alone. Throws kIo if the system refuses a thread.
void parallel_for(int64_t count, int64_t grain, RangeBody body);

// As parallel_for, for work that can be cut anywhere at no cost, also into less than `grain`: a
// thread calls body several times, at last with pieces of what others have not come to: the last
// `dealt` sixteenths of each range, 1 to 16 of them, are dealt out so. Cores that share a machine
// with others are not equally fast from one moment to the next.
void parallel_pieces(int64_t count, int64_t grain, RangeBody body, int dealt = 4);

}  // namespace moxie
