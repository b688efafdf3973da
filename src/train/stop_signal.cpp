#include "train/stop_signal.h"

#include <unistd.h>

#include <atomic>

namespace moxie::train {
namespace {

std::atomic<int> signals_seen{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may touch only these");

void on_signal(int number) {
  if (signals_seen.fetch_add(1) > 0) ::_exit(128 + number);
}

}  // namespace

StopSignal::StopSignal() {
  signals_seen = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, &previous_int_);
  ::sigaction(SIGTERM, &action, &previous_term_);
}

StopSignal::~StopSignal() {
  ::sigaction(SIGINT, &previous_int_, nullptr);
  ::sigaction(SIGTERM, &previous_term_, nullptr);
}

bool StopSignal::requested() {
  return signals_seen.load() > 0;
}

}  // namespace moxie::train
