#pragma once
// While one of these lives, SIGINT and SIGTERM ask for a stop that the loop honours between two
// micro-batches; a second signal ends the process at once with 128 + its number. The handlers that
// were there before come back when it goes. One at a time.
#include <csignal>

namespace moxie::train {

class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  static bool requested();

 private:
  struct sigaction previous_int_ {
  }, previous_term_{};
};

}  // namespace moxie::train
