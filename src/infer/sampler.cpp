#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace moxie::infer {
namespace {

struct Candidate {
  int32_t id;
  float logit;
  double probability;
};

void normalise(std::vector<Candidate>& list) {
  double total = 0;
  for (Candidate& c : list)
    total += c.probability =
        std::exp(static_cast<double>(c.logit) - static_cast<double>(list[0].logit));
  for (Candidate& c : list) c.probability /= total;
}

void keep_top_p(std::vector<Candidate>& list, double p) {
  double sum = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    sum += list[i].probability;
    if (sum >= p) {
      list.resize(i + 1);
      return;
    }
  }
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
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  std::vector<Candidate> list;
  list.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    list.push_back(
        {static_cast<int32_t>(i), logits[i] / static_cast<float>(options_.temperature), 0});
  }
  const auto by_logit = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  if (options_.top_k > 0 && static_cast<size_t>(options_.top_k) < list.size()) {
    std::partial_sort(list.begin(), list.begin() + options_.top_k, list.end(), by_logit);
    list.resize(static_cast<size_t>(options_.top_k));
  } else {
    std::sort(list.begin(), list.end(), by_logit);
  }
  normalise(list);
  if (options_.top_p < 1) {
    keep_top_p(list, options_.top_p);
    normalise(list);
  }
  if (options_.min_p > 0) {
    const double floor = options_.min_p * list[0].probability;
    std::erase_if(list, [floor](const Candidate& c) { return c.probability < floor; });
    normalise(list);
  }
  double draw = rng_.uniform();
  for (const Candidate& c : list) {
    draw -= c.probability;
    if (draw < 0) return c.id;
  }
  return list.back().id;
}

}  // namespace moxie::infer
