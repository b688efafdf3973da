#pragma once
// Cross-entropy in packed rows: logits turn into exponentials while they are in L1, and those into
// gradients where they stand, packed for the next product. Logits are never written.
#include "kernels/packed_rows.h"
#include "kernels/panels.h"

namespace moxie::kernels {

// Of logits l = factor a w^T + ... [rows, vocab] and a label for every row, losses[i] =
// logsumexp(l_i) - l_i[label_i] and, unless it is null, gradient = factor (softmax(l) -
// onehot(label)), of which exponentials are rounded to bf16 twice. In tiles of 8-bit integers the
// gradient is factor softmax(l) alone, as the label's would leave no codes to the 31 beside it.
void multiply_cross_entropy(const PackedRows& a, const Factor& head, int64_t vocab, float factor,
                            const int64_t* labels, double* losses, PackedRows* gradient);

}  // namespace moxie::kernels
