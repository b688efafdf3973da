#include "train/eta.h"

namespace moxie::train {
namespace {
constexpr double kFade = 0.9;
}  // namespace

void EtaEstimator::add_step(int64_t tokens, double seconds) {
  tokens_ = kFade * tokens_ + static_cast<double>(tokens);
  seconds_ = kFade * seconds_ + seconds;
}

double EtaEstimator::seconds_left(double tokens_left, int64_t evaluations_left) const {
  if (tokens_ <= 0 || tokens_left < 0) return 0;
  return tokens_left * seconds_ / tokens_ +
         static_cast<double>(evaluations_left) * evaluation_seconds_;
}

}  // namespace moxie::train
