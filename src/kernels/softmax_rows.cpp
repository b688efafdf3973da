#include "kernels/softmax_rows.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kLanes = 16;  // partial sums of SoftmaxRows

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
  double total_of(int64_t row) const {
    double sum = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) sum += total.data<float>()[row * kLanes + lane];
    return sum;
  }

  Tensor most, total;
  Tensor chosen;    // the label's logit
  Tensor relative;  // [bands, tiles, 32]: to what a block's exponentials are
  int64_t tiles;
};

// Calls f(r, column) for rows of a band whose label stands in tile j.
template <class F>
void for_labels(const int64_t* labels, int64_t count, int64_t j, F f) {
  for (int64_t r = 0; r < count; ++r) {
    if (labels[r] / kBandLines == j) f(r, labels[r] % kBandLines);
  }
}

// Exponentials of a band become gradients.
void finish(const State& state, int64_t i, const int64_t* labels, int64_t count, float factor,
            PackedRows& gradient) {
  const SoftmaxRows rows = state.band(i);
  double inverse[kBandLines] = {};
  for (int64_t r = 0; r < count; ++r) inverse[r] = factor / state.total_of(i * kBandLines + r);
  for (int64_t j = 0; j < state.tiles; ++j) {
    const float* relative = state.relative_of(i, j);
    float factors[kBandLines];
    for (int64_t r = 0; r < kBandLines; ++r) {
      const float behind =
          relative[r] == rows.most[r] ? 1.0f : std::exp(relative[r] - rows.most[r]);
      factors[r] = static_cast<float>(inverse[r]) * behind;
    }
    BFloat16* block = tiles_at(gradient, i, j);
    fused(gradient.kind()).scale_rows(factors, block);
    if (gradient.kind() == Tiles::kInt8) continue;
    for_labels(labels, count, j, [&](int64_t r, int64_t column) {
      BFloat16& value = block[r * kBandLines + column];
      value = to_bfloat16(to_float(value) - factor);
    });
  }
}

}  // namespace

void multiply_cross_entropy(const PackedRows& a, const Factor& head, int64_t vocab, float factor,
                            const int64_t* labels, double* losses, PackedRows* gradient) {
  MOXIE_ASSERT(gradient == nullptr || (gradient->rows() == a.rows() && gradient->cols() == vocab &&
                                       gradient->kind() == a.kind()));
  const State state(a.bands(), ceil_div(vocab, kBandLines));
  const auto count_of = [&](int64_t i) { return std::min(kBandLines, a.rows() - i * kBandLines); };
  Panels(a, vocab, true, {head}).run_by_rows([&](int64_t i, int64_t j, const float* sums) {
    alignas(64) BFloat16 nowhere[kTilePair];
    fused(a.kind()).exponentials(sums, std::min(kBandLines, vocab - j * kBandLines), factor,
                                 state.band(i), state.relative_of(i, j),
                                 gradient != nullptr ? tiles_at(*gradient, i, j) : nowhere);
    for_labels(labels + i * kBandLines, count_of(i), j, [&](int64_t r, int64_t column) {
      state.chosen.data<float>()[i * kBandLines + r] = factor * sums[r * kBandLines + column];
    });
  });
  for (int64_t row = 0; row < a.rows(); ++row) {
    losses[row] =
        std::log(state.total_of(row)) +
        static_cast<double>(state.most.data<float>()[row] - state.chosen.data<float>()[row]);
  }
  if (gradient == nullptr) return;
  parallel_for(a.bands(), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      finish(state, i, labels + i * kBandLines, count_of(i), factor, *gradient);
  });
}

}  // namespace moxie::kernels
