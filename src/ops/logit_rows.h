#pragma once
// What the cross-entropies share: one row of logits turned into its loss and, in place, into its
// gradient; how many rows of logits there are at a time, and in which form.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/rowwise.h"
#include "ops/cross_entropy.h"

namespace moxie::ops {

template <class T>
void apply_options(const LogitOptions& options, T* row, int64_t vocab) {
  const auto& rows = kernels::row_kernels<T>();
  if (options.scale != 1) rows.scale(static_cast<T>(options.scale), row, vocab);
  if (options.softcap != 0) rows.softcap(row, static_cast<T>(options.softcap), row, vocab);
}

// Loss of one row; with `gradient` the row becomes d loss / d (unscaled logits).
template <class T>
double visit_row(const LogitOptions& options, T* row, int64_t vocab, int64_t label, bool gradient) {
  const auto& rows = kernels::row_kernels<T>();
  apply_options(options, row, vocab);
  const T top = rows.max(row, vocab);
  const T chosen = row[label];
  std::vector<T> capped;  // the cap's slope needs the logits after exp has overwritten them
  if (gradient && options.softcap != 0) capped.assign(row, row + vocab);
  double total = 0;  // in pieces: a sum over a large vocabulary in f32 loses digits
  for (int64_t begin = 0; begin < vocab; begin += 4096) {
    const int64_t count = std::min<int64_t>(4096, vocab - begin);
    total += static_cast<double>(rows.exp_sum(row + begin, top, row + begin, count));
  }
  if (gradient) {
    rows.scale(static_cast<T>(options.scale / total), row, vocab);
    row[label] -= static_cast<T>(options.scale);
    for (size_t j = 0; j < capped.size(); ++j) {
      const T share = capped[j] / static_cast<T>(options.softcap);
      row[j] *= T{1} - share * share;
    }
  }
  return std::log(total) + static_cast<double>(top - chosen);
}

// Rows whose logits are held at once. Where a head of some width trains, each block reads and
// writes its whole gradient, and may take as much memory as this.
inline int64_t logit_rows_a_block(int64_t vocab, size_t element, int64_t trained_width = 0) {
  const int64_t rows = kLogitBytes / static_cast<int64_t>(element) / std::max<int64_t>(1, vocab);
  return std::max({int64_t{128}, rows, trained_width});
}

// The same of logits of 16 bits, twice the bytes.
inline int64_t logit_rows_of_16_bits(int64_t vocab) {
  return std::max<int64_t>(256, kLogitBytes / std::max<int64_t>(1, vocab));
}

// How logits with a frozen head are kept, and become gradients, for `count` rows that carry a
// label: packed in bf16, or as codes of integers where its products are made of them. From 64 rows
// on that is worth it; where a row's bits must not depend on how many others there are, codes are
// taken for any number.
enum class LogitForm { kF32, kPacked, kRounded };
inline LogitForm logit_form(const quant::Weight& head, const LogitOptions& options, int64_t count) {
  const bool are_many = count >= 64;
  const bool is_invariant = kernels::is_batch_invariant();
  if (options.softcap != 0 || count == 0) return LogitForm::kF32;
  if (are_many && !is_invariant && head.runs_packed(count)) return LogitForm::kPacked;
  if ((are_many || is_invariant) && head.runs_integers(count)) return LogitForm::kRounded;
  return LogitForm::kF32;
}

}  // namespace moxie::ops
