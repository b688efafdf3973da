#include "kernels/softmax_codes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "kernels/gemm_parts.h"
#include "kernels/label_loss.h"
#include "kernels/rowwise.h"
#include "kernels/scratch.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kRowsAtOnce = 128;  // of logits in L2: with blocks of 384 to 512, 192 to 256 KiB
constexpr int64_t kGrainRows = 16;

class CrossEntropy {
 public:
  CrossEntropy(int64_t rows, int64_t vocab, float factor, const int64_t* labels,
               RoundedRows* gradient)
      : rows_(rows),
        depth_(RoundedRows::span_of(
            vocab, gradient != nullptr ? gradient->arithmetic() : Arithmetic::kInt16)),
        blocks_(ceil_div(vocab, depth_)),
        vocab_(vocab),
        factor_(factor),
        labels_(labels),
        gradient_(gradient),
        most_(static_cast<size_t>(blocks_ * rows)),
        total_(most_.size()),
        chosen_(static_cast<size_t>(rows)) {}

  void run(const PartOfProduct& z) {
    const int64_t groups = ceil_div(rows_, kRowsAtOnce);
    // A block's groups follow each other, as the part of the head that they share is in the cache.
    parallel_for(blocks_ * groups, 1, [&](int64_t begin, int64_t end) {
      const int64_t lines = ceil_div(rows_, groups);
      float* logits = scratch(Scratch::kTiles, static_cast<size_t>(lines * depth_));
      for (int64_t part = begin; part < end; ++part) {
        const int64_t block = part / groups, group = part % groups;
        const int64_t i0 = rows_ * group / groups, i1 = rows_ * (group + 1) / groups;
        const int64_t j0 = block * depth_, j1 = std::min(vocab_, j0 + depth_);
        z(i0, i1, j0, j1, logits);
        for (int64_t i = i0; i < i1; ++i) visit(block, i, logits + (i - i0) * (j1 - j0), j1 - j0);
      }
    });
  }

  // The loss of a row.
  double finish(int64_t i, float* at_labels) const {
    const float chosen = chosen_[static_cast<size_t>(i)];
    float top = chosen;
    for (int64_t block = 0; block < blocks_; ++block) top = std::max(top, most_[at(block, i)]);
    double others = 0;
    for (int64_t block = 0; block < blocks_; ++block) {
      others += static_cast<double>(total_[at(block, i)]) * std::exp(most_[at(block, i)] - top);
    }
    const LabelLoss row = label_loss(others, chosen, top, factor_);
    if (gradient_ != nullptr) {
      const auto share = static_cast<float>(row.share);
      for (int64_t block = 0; block < blocks_; ++block) {
        gradient_->scale(block, i, share * std::exp(most_[at(block, i)] - top));
      }
      at_labels[i] = row.gradient;
    }
    return row.loss;
  }

 private:
  size_t at(int64_t block, int64_t i) const { return static_cast<size_t>(block * rows_ + i); }

  // A row's `count` numbers of a block.
  void visit(int64_t block, int64_t i, float* logits, int64_t count) {
    const auto& kernels = row_kernels<float>();
    if (factor_ != 1) kernels.scale(factor_, logits, count);
    const int64_t label = labels_[i] - block * depth_;
    if (label >= 0 && label < count) {
      chosen_[static_cast<size_t>(i)] = logits[label];
      logits[label] = -std::numeric_limits<float>::infinity();
    }
    // Finite where the label is alone.
    const float most = std::max(kernels.max(logits, count), std::numeric_limits<float>::lowest());
    most_[at(block, i)] = most;
    total_[at(block, i)] = kernels.exp_sum(logits, most, logits, count);
    if (gradient_ != nullptr) gradient_->round(block, i, logits);
  }

  int64_t rows_, depth_, blocks_, vocab_;
  float factor_;
  const int64_t* labels_;
  RoundedRows* gradient_;
  std::vector<float> most_, total_;  // [blocks, rows], of all but the label
  std::vector<float> chosen_;        // the label's logit
};

}  // namespace

void round_cross_entropy(int64_t rows, int64_t vocab, const PartOfProduct& z, float factor,
                         const int64_t* labels, double* losses, RoundedRows* gradient,
                         float* at_labels) {
  MOXIE_ASSERT(gradient == nullptr || (gradient->rows() == rows && gradient->cols() == vocab));
  CrossEntropy work(rows, vocab, factor, labels, gradient);
  work.run(z);
  parallel_for(rows, kGrainRows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) losses[i] = work.finish(i, at_labels);
  });
}

}  // namespace moxie::kernels
