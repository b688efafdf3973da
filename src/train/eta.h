#pragma once
// How long the rest of a run takes: tokens left over a smoothed speed, plus the evaluations left.
#include <cstdint>

namespace moxie::train {

class EtaEstimator {
 public:
  void add_step(int64_t tokens, double seconds);
  void add_evaluation(double seconds) { evaluation_seconds_ = seconds; }
  // 0 until a step is known.
  double seconds_left(double tokens_left, int64_t evaluations_left) const;

 private:
  // Recent steps count most: the sums fade by a factor each step, so the first, slow one is
  // forgotten.
  double tokens_ = 0, seconds_ = 0;
  double evaluation_seconds_ = 0;
};

}  // namespace moxie::train
