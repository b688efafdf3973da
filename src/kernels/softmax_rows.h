#pragma once
// Cross-entropy in packed rows: logits turn into exponentials while they are in L1, and those into
// gradients where they stand, packed for the next product. Logits are never written.
#include "kernels/packed_rows.h"
#include "kernels/panels.h"

namespace moxie::kernels {

// Of logits l = factor a w^T + ... [rows, vocab] and a label for every row, losses[i] =
// logsumexp(l_i) - l_i[label_i]. Unless gradient is null (then so is at_labels), it becomes factor
// softmax(l) with 0 at the labels, where at_labels[i] = factor (softmax(l_i)[label_i] - 1) belongs
// (label_loss.h). In bf16 its numbers are rounded twice.
void multiply_cross_entropy(const PackedRows& a, const Factor& head, int64_t vocab, float factor,
                            const int64_t* labels, double* losses, PackedRows* gradient,
                            float* at_labels);

}  // namespace moxie::kernels
