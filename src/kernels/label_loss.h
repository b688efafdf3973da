#pragma once
// What a row's label makes of its cross-entropy once the sums over all other logits are known: the
// label is kept apart from these, because p - 1 at the label is what training ends with, and beside
// p's own rounding, or that of the matrix it is multiplied with, nothing would be left of it.
#include <cmath>

namespace moxie::kernels {

struct LabelLoss {
  double loss;     // logsumexp(l) - l[label]
  double share;    // factor / sum of exp(l - top)
  float gradient;  // factor (softmax(l)[label] - 1)
};
// `others`: sum of exp(l - top) of all but the label; top is near the largest logit or above.
inline LabelLoss label_loss(double others, float chosen, float top, float factor) {
  const double beyond = others + std::expm1(static_cast<double>(chosen) - top);  // of the sum: 1
  const double total = 1 + beyond;
  return {std::log1p(beyond) + (static_cast<double>(top) - chosen), factor / total,
          static_cast<float>(-factor * others / total)};
}

}  // namespace moxie::kernels
