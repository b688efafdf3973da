#pragma once
// Cross-entropy fused with the output projection. Only the rows that carry a label are projected,
// and logits exist for a block of rows at a time (kLogitBytes), forward and backward in one visit:
// nothing of size tokens x vocabulary is ever stored.
#include <functional>
#include <vector>

#include "ops/tape.h"
#include "quant/weight.h"

namespace moxie::ops {

struct LogitOptions {
  double scale = 1;    // logits are multiplied by this (Granite divides by logits_scaling)
  double softcap = 0;  // cap * tanh(logits / cap); 0: none (Gemma 2)
};

// Sum over the labelled rows of -log softmax(h W^T)[label], a tensor of shape [1].
// hidden [n, d]; labels[i] = -1 leaves row i out. The head is a frozen weight [vocab, d] ...
Tensor cross_entropy(const Tensor& hidden, const quant::Weight& head, std::vector<int64_t> labels,
                     LogitOptions options = {});
// ... or a trainable tensor [vocab, d], whose products are made in this arithmetic.
Tensor cross_entropy(const Tensor& hidden, const Tensor& head, std::vector<int64_t> labels,
                     LogitOptions options = {},
                     kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32);

// Calls visit(first_row, logits [rows, vocab]) block by block, with the options applied. No
// gradient. `adapt`, if given, changes what the head made of its rows before the options apply.
void for_logit_blocks(const Tensor& hidden, const quant::Weight& frozen, const Tensor& trainable,
                      LogitOptions options,
                      const std::function<void(int64_t, const Tensor&)>& visit,
                      const std::function<Tensor(const Tensor& hidden, Tensor logits)>& adapt = {});

// Bytes that a block of logits may take; it has 128 rows at least, however large the vocabulary, as
// each block decodes the whole head.
constexpr int64_t kLogitBytes = int64_t{24} << 20;

}  // namespace moxie::ops
