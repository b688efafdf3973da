#include "kernels/softmax_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/label_loss.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kLanes = 16;    // partial sums of SoftmaxRows
constexpr float kNever = -1e30f;  // a logit that adds nothing: finite, as a factor of it shall be

// What is known of all rows, by bands of 32.
struct State {
  State(int64_t bands, int64_t tile_count)
      : most(Tensor::empty({bands * kBandLines}, DType::kF32)),
        total(Tensor::zeros({bands * kBandLines * kLanes}, DType::kF32)),
        chosen(Tensor::zeros({bands * kBandLines}, DType::kF32)),
        relative(Tensor::empty({bands * tile_count * kBandLines}, DType::kF32)),
        tiles(tile_count) {
    for (float& value : most.span<float>()) value = -std::numeric_limits<float>::infinity();
  }
  SoftmaxRows band(int64_t i) const {
    return {most.data<float>() + i * kBandLines, total.data<float>() + i * kBandLines * kLanes};
  }
  float* relative_of(int64_t i, int64_t j) const {
    return relative.data<float>() + (i * tiles + j) * kBandLines;
  }
  // Its share is of exponentials relative to the row's most.
  LabelLoss loss_of(int64_t row, float factor) const {
    double others = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane)
      others += static_cast<double>(total.data<float>()[row * kLanes + lane]);
    const float own = most.data<float>()[row], label = chosen.data<float>()[row];
    const float top = std::max(own, label);
    const double behind = std::exp(static_cast<double>(own) - top);
    LabelLoss loss = label_loss(others * behind, label, top, factor);
    loss.share *= behind;
    return loss;
  }

  Tensor most, total;  // of all but the label
  Tensor chosen;       // the label's logit
  Tensor relative;     // [bands, tiles, 32]: to what a block's exponentials are
  int64_t tiles;
};

// Takes the labels that stand in block j out of its sums, 32 x 32 numbers; their logits are kept.
void take_labels(const int64_t* labels, int64_t count, int64_t j, float factor, float* sums,
                 float* chosen) {
  for (int64_t r = 0; r < count; ++r) {
    if (labels[r] / kBandLines != j) continue;
    float& sum = sums[r * kBandLines + labels[r] % kBandLines];
    chosen[r] = factor * sum;
    sum = kNever;
  }
}

// Exponentials of a band become gradients; shares: see LabelLoss.
void finish(const State& state, int64_t i, const double* shares, int64_t count,
            PackedRows& gradient) {
  const SoftmaxRows rows = state.band(i);
  for (int64_t j = 0; j < state.tiles; ++j) {
    const float* relative = state.relative_of(i, j);
    float factors[kBandLines] = {};
    for (int64_t r = 0; r < count; ++r) {
      const float top = rows.most[r];
      const float behind = relative[r] == top ? 1.0f : std::exp(relative[r] - top);
      factors[r] = static_cast<float>(shares[r]) * behind;
    }
    fused(gradient.kind()).scale_rows(factors, tiles_at(gradient, i, j));
  }
}

}  // namespace

void multiply_cross_entropy(const PackedRows& a, const Factor& head, int64_t vocab, float factor,
                            const int64_t* labels, double* losses, PackedRows* gradient,
                            float* at_labels) {
  MOXIE_ASSERT(gradient == nullptr || (gradient->rows() == a.rows() && gradient->cols() == vocab &&
                                       gradient->kind() == a.kind()));
  const State state(a.bands(), ceil_div(vocab, kBandLines));
  const auto count_of = [&](int64_t i) { return std::min(kBandLines, a.rows() - i * kBandLines); };
  Panels(a, vocab, true, {head}).run_in_order([&](int64_t i, int64_t j, float* sums) {
    alignas(64) BFloat16 nowhere[kTilePair];
    take_labels(labels + i * kBandLines, count_of(i), j, factor, sums,
                state.chosen.data<float>() + i * kBandLines);
    fused(a.kind()).exponentials(sums, std::min(kBandLines, vocab - j * kBandLines), factor,
                                 state.band(i), state.relative_of(i, j),
                                 gradient != nullptr ? tiles_at(*gradient, i, j) : nowhere);
  });
  parallel_for(a.bands(), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      double shares[kBandLines] = {};
      for (int64_t r = 0; r < count_of(i); ++r) {
        const int64_t row = i * kBandLines + r;
        const LabelLoss own = state.loss_of(row, factor);
        losses[row] = own.loss;
        shares[r] = own.share;
        if (gradient != nullptr) at_labels[row] = own.gradient;
      }
      if (gradient != nullptr) finish(state, i, shares, count_of(i), *gradient);
    }
  });
}

}  // namespace moxie::kernels
