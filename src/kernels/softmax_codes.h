#pragma once
// Cross-entropy in codes of 16 or 8 bits: logits are made a block of the vocabulary at a time and
// turn into codes of their exponentials while they are in L2, each row relative to its largest in
// the block; what the softmax divides by, known when all blocks are done, goes into the blocks'
// scales. After Milakov and Gimelshein (2018), "Online normalizer calculation for softmax".
#include <cstdint>
#include <functional>

#include "kernels/rounded_rows.h"

namespace moxie::kernels {

// Writes rows [i0, i1) and columns [j0, j1) of a product [rows, vocab], end to end. Called from any
// thread, and makes them by itself.
using PartOfProduct =
    std::function<void(int64_t i0, int64_t i1, int64_t j0, int64_t j1, float* part)>;

// Of logits l = factor z [rows, vocab], z a product, and a label for every row, losses[i] =
// logsumexp(l_i) - l_i[label_i]. Unless gradient is null (then so is at_labels), it becomes factor
// softmax(l) with 0 at the labels, where at_labels[i] = factor (softmax(l_i)[label_i] - 1) belongs
// (label_loss.h).
void round_cross_entropy(int64_t rows, int64_t vocab, const PartOfProduct& z, float factor,
                         const int64_t* labels, double* losses, RoundedRows* gradient,
                         float* at_labels);

}  // namespace moxie::kernels
