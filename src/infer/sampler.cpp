#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "kernels/rowwise.h"

namespace moxie::infer {
namespace {

struct Candidate {
  int32_t id;
  float logit;
};

// The first of the largest logits.
int32_t largest(std::span<const float> logits) {
  const float top = kernels::row_kernels<float>().max(logits.data(), std::ssize(logits));
  const auto at = std::find(logits.begin(), logits.end(), top);
  return at == logits.end() ? 0 : static_cast<int32_t>(at - logits.begin());
}

// The vocabulary from the likeliest token down (the lower id first on a tie), sorted only as far as
// it is asked for: few tokens carry almost all of the probability, and a vocabulary is long.
class Ranking {
 public:
  Ranking(std::span<const float> logits, double temperature)
      : logits_(logits),
        temperature_(temperature),
        top_(kernels::row_kernels<float>().max(logits.data(), std::ssize(logits))) {}

  // exp((logit - top) / temperature) of the token at `rank`: its probability, not normalised.
  double weight(size_t rank) {
    while (rank >= sorted_.size()) extend();
    return weight_of(sorted_[rank].logit);
  }
  int32_t id(size_t rank) const { return sorted_[rank].id; }
  size_t size() const { return logits_.size(); }

  double total_weight() const {
    constexpr size_t kPiece = 4096;  // a sum over a large vocabulary in f32 loses digits
    std::vector<float> scaled(std::min(kPiece, logits_.size()));
    double total = 0;
    for (size_t begin = 0; begin < logits_.size(); begin += kPiece) {
      const size_t count = std::min(kPiece, logits_.size() - begin);
      for (size_t i = 0; i < count; ++i) {
        scaled[i] = (logits_[begin + i] - top_) / static_cast<float>(temperature_);
      }
      total += static_cast<double>(kernels::row_kernels<float>().exp_sum(
          scaled.data(), 0, scaled.data(), static_cast<int64_t>(count)));
    }
    return total;
  }

 private:
  double weight_of(float logit) const {
    return std::exp((static_cast<double>(logit) - static_cast<double>(top_)) / temperature_);
  }

  // Sorts what lies between the last bound and a lower one.
  void extend() {
    const bool is_last = reach_ > 1e4;  // beyond, exp gives 0: all that is left
    const double next = 2 * reach_;
    const size_t before = sorted_.size();
    for (size_t i = 0; i < logits_.size(); ++i) {
      const double depth = static_cast<double>(top_) - static_cast<double>(logits_[i]);
      const bool is_new = !(depth <= covered_);
      if (is_new && (is_last || depth <= next * temperature_)) {
        sorted_.push_back({static_cast<int32_t>(i), logits_[i]});
      }
    }
    std::stable_sort(sorted_.begin() + static_cast<std::ptrdiff_t>(before), sorted_.end(),
                     [](const Candidate& a, const Candidate& b) { return a.logit > b.logit; });
    covered_ = next * temperature_;
    reach_ = next;
  }

  std::span<const float> logits_;
  double temperature_;
  float top_;
  std::vector<Candidate> sorted_;
  double reach_ = 3, covered_ = -1;  // how far below the top it is sorted, in temperatures
};

// How many of the ranks below `count` a limit keeps: `keeps` says whether the next one stays.
template <class Keeps>
size_t prefix(size_t count, Keeps keeps) {
  size_t kept = 0;
  while (kept < count && keeps(kept)) ++kept;
  return kept;
}

double sum_of(Ranking& ranking, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += ranking.weight(i);
  return sum;
}

}  // namespace

int32_t Sampler::pick(std::span<float> logits, std::span<const int32_t> history) {
  if (options_.repetition_penalty != 1) {
    const auto penalty = static_cast<float>(options_.repetition_penalty);
    for (const int32_t id : std::set<int32_t>(history.begin(), history.end())) {
      if (static_cast<size_t>(id) >= logits.size()) continue;
      float& logit = logits[static_cast<size_t>(id)];
      logit = logit > 0 ? logit / penalty : logit * penalty;
    }
  }
  if (options_.temperature == 0) {
    return largest(logits);
  }
  Ranking ranking(logits, options_.temperature);
  size_t count = ranking.size();
  if (options_.top_k > 0) count = std::min(count, static_cast<size_t>(options_.top_k));
  double total = count < ranking.size() ? sum_of(ranking, count) : ranking.total_weight();
  if (options_.top_p < 1) {
    double sum = 0;  // of those before
    count = std::max<size_t>(1, prefix(count, [&](size_t rank) {
                               const bool stays = sum < options_.top_p * total;
                               if (stays) sum += ranking.weight(rank);
                               return stays;
                             }));
    total = sum_of(ranking, count);
  }
  if (options_.min_p > 0) {
    const double floor = options_.min_p * ranking.weight(0);
    count = prefix(count, [&](size_t rank) { return ranking.weight(rank) >= floor; });
    total = sum_of(ranking, count);
  }
  double draw = rng_.uniform() * total;
  for (size_t rank = 0; rank + 1 < count; ++rank) {
    draw -= ranking.weight(rank);
    if (draw < 0) return ranking.id(rank);
  }
  ranking.weight(count - 1);
  return ranking.id(count - 1);
}

}  // namespace moxie::infer
