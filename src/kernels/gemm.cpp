#include "kernels/gemm.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/coded_panel.h"
#include "kernels/gemm_parts.h"
#include "kernels/micro.h"
#include "kernels/rowwise.h"
#include "kernels/scratch.h"

namespace moxie::kernels {

const Micro& micro() {
#ifndef MOXIE_SCALAR_ONLY
  if (active_isa() == Isa::kAvx512) return kMicroAvx512;
  if (active_isa() == Isa::kAvx2) return kMicroAvx2;
#endif
  return kMicroScalar;
}

namespace {

constexpr int64_t kPanelFloats = 64 * 1024;  // of B in L2: 256 KiB
constexpr int64_t kGroupRows = 16;  // of plain values that few rows are multiplied with at a time

std::atomic<bool>& batch_invariance() {
  static std::atomic<bool> is_on{false};
  return is_on;
}

// Packs rows [k0, k1) and columns [j0, j1) of B as panels [k1 - k0, width].
void pack(const Source& b, int64_t k0, int64_t k1, int64_t j0, int64_t j1, float* panels) {
  const Micro& kernel = micro();
  const int64_t width = kernel.cols;
  const int64_t depth = k1 - k0;
  if (b.is_transposed) {
    float* rows = scratch(Scratch::kRows, b.decoder ? static_cast<size_t>(width * depth) : 0);
    for (int64_t j = j0; j < j1; j += width, panels += depth * width) {
      const int64_t count = std::min(width, j1 - j);
      if (b.decoder == nullptr) {
        kernel.transpose(static_cast<int>(count), depth, b.dense + j * b.ld + k0, b.ld, panels);
        continue;
      }
      for (int64_t i = 0; i < count; ++i)
        decode_row(*b.decoder, j + i, j1, k0, k1, rows + i * depth);
      kernel.transpose(static_cast<int>(count), depth, rows, depth, panels);
    }
    return;
  }
  float* buffer = scratch(Scratch::kRows, b.decoder ? static_cast<size_t>(j1 - j0) : 0);
  for (int64_t p = 0; p < depth; ++p) {
    const float* row = buffer;
    if (b.decoder != nullptr) {
      decode_row(*b.decoder, k0 + p, k1, j0, j1, buffer);
    } else {
      row = b.dense + (k0 + p) * b.ld + j0;
    }
    float* line = panels + p * width;
    int64_t j = 0;
    for (; j + width <= j1 - j0; j += width, line += depth * width) {
      std::memcpy(line, row + j, static_cast<size_t>(width) * 4);
    }
    if (j < j1 - j0) {
      const int64_t count = j1 - j0 - j;
      std::memcpy(line, row + j, static_cast<size_t>(count) * 4);
      std::memset(line + count, 0, static_cast<size_t>(width - count) * 4);
    }
  }
}

// Rows [i0, i1) of the columns [j0, j1), whose panels of depth k1 - k0 are given.
void strips(const Problem& t, int64_t i0, int64_t i1, int64_t j0, int64_t j1, int64_t k0,
            int64_t k1, const float* panels) {
  const Micro& kernel = micro();
  const int64_t width = kernel.cols;
  const int64_t depth = k1 - k0;
  const bool add = t.accumulate || k0 > 0;
  const int64_t count = ceil_div(i1 - i0, kernel.rows);
  for (int64_t s = 0; s < count; ++s) {
    int64_t i = i0 + (i1 - i0) * s / count;
    int64_t end = i0 + (i1 - i0) * (s + 1) / count;
    const float* a = t.a + i * t.a_row + k0 * t.a_step;
    int64_t a_row = t.a_row, a_step = t.a_step;
    if (t.a_is_packed) {  // i0 is a multiple of the strip's rows
      i = i0 + s * kernel.rows;
      end = std::min(i1, i + kernel.rows);
      a_row = 1;
      a_step = end - i;
      a = t.a + i * t.k + k0 * a_step;
    }
    for (int64_t j = j0; j < j1; j += width) {
      const int64_t cols = std::min(width, j1 - j);
      const bool in_place = panels == nullptr;
      const float* b = in_place ? t.b.dense + k0 * t.b.ld + j : panels + (j - j0) * depth;
      const int64_t ldb = in_place ? t.b.ld : width;
      kernel.tile(static_cast<int>(end - i), static_cast<int>(cols), depth, a, a_row, a_step, b,
                  ldb, t.c + i * t.n + j, t.n, t.alpha, add);
    }
  }
}

// One thread's rectangle of C.
void rectangle(const Problem& t, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  const Micro& kernel = micro();
  const int64_t depth = panel_depth(t);
  const int64_t unit = column_unit(t, kernel.cols);
  const int64_t wide = std::max(unit, kPanelFloats / depth / unit * unit);
  // A few rows use an element of B once or twice: reading it where it stands beats packing it.
  const bool in_place =
      t.b.dense != nullptr && !t.b.is_transposed && ceil_div(i1 - i0, kernel.rows) <= 4;
  for (int64_t j = j0; j < j1; j += wide) {
    const int64_t end = std::min(j1, j + wide);
    const int64_t whole = in_place ? j + (end - j) / kernel.cols * kernel.cols : j;
    for (int64_t p = 0; p < t.k; p += depth) {
      const int64_t stop = std::min(t.k, p + depth);
      if (whole > j) strips(t, i0, i1, j, whole, p, stop, nullptr);
      if (whole == end) continue;
      const int64_t floats = round_up(end - whole, kernel.cols) * (stop - p);
      float* panels = scratch(Scratch::kPanels, static_cast<size_t>(floats));
      pack(t.b, p, stop, whole, end, panels);
      strips(t, i0, i1, whole, end, p, stop, panels);
    }
  }
}

void run(const Problem& t, Arithmetic arithmetic) {
  if (t.m == 0 || t.n == 0) return;
  if (t.k == 0) {
    if (!t.accumulate) std::memset(t.c, 0, static_cast<size_t>(t.m * t.n) * 4);
    return;
  }
  const bool is_nn = t.a_step == 1 && !t.b.is_transposed;
  if (arithmetic == Arithmetic::kInt8) return is_nn ? multiply8(t) : multiply16(t);
  if (arithmetic == Arithmetic::kInt16) return multiply16(t);
  if (arithmetic == Arithmetic::kGradients8 && is_nn && t.alpha == 1 && takes_codes(t.m))
    return multiply_codes(t);
  if (arithmetic == Arithmetic::kBF16 || arithmetic == Arithmetic::kGradients8)
    return multiply_tiles(t, Tiles::kBF16);
  if (arithmetic == Arithmetic::kTiles8)
    return multiply_tiles(t, t.b.is_transposed ? Tiles::kInt8 : Tiles::kInt8Wide);
  deal_rectangles(
      t, micro().rows, column_unit(t, micro().cols), pack_cost(t),
      [&](int64_t i0, int64_t i1, int64_t j0, int64_t j1) { rectangle(t, i0, i1, j0, j1); });
}

// y_j = alpha (x . row_j) with `count` rows of plain values, from the row `first` on.
void plain_dots(const RowDecoder& w, const float* x, int64_t first, int64_t count, int64_t k,
                float alpha, float* y) {
  const auto& rows = row_kernels<float>();
  const int64_t at = first * k;
  if (w.dtype == DType::kBF16) {
    rows.dots_bf16(x, static_cast<const BFloat16*>(w.values) + at, k, count, k, alpha, y);
  } else if (w.dtype == DType::kF16) {
    rows.dots_f16(x, static_cast<const Float16*>(w.values) + at, k, count, k, alpha, y);
  } else {
    rows.dots(x, static_cast<const float*>(w.values) + at, k, count, k, alpha, y);
  }
}

// Few rows of a: rows of w are read once, a group at a time, and multiplied with all of them.
void few_rows(int64_t m, int64_t n, int64_t k, const float* a, const RowDecoder& w, float* c,
              bool accumulate, float alpha) {
  const bool is_plain = w.values != nullptr;
  const int64_t group = is_plain ? kGroupRows : 4;
  const int64_t grain = std::max<int64_t>(16, kSmallWork / std::max<int64_t>(k * m, 1));
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    float* buffer = scratch(Scratch::kRows, is_plain ? 0 : static_cast<size_t>(group * k));
    float sums[kGroupRows];
    for (int64_t j = begin; j < end; j += group) {
      const int64_t count = std::min(group, end - j);
      for (int64_t r = 0; !is_plain && r < count; ++r)
        w.decode(w.context, j + r, 0, k, buffer + r * k);
      for (int64_t i = 0; i < m; ++i) {
        if (is_plain) {
          plain_dots(w, a + i * k, j, count, k, alpha, sums);
        } else {
          row_kernels<float>().dots(a + i * k, buffer, k, count, k, alpha, sums);
        }
        float* out = c + i * n + j;
        for (int64_t r = 0; r < count; ++r) out[r] = (accumulate ? out[r] : 0.0f) + sums[r];
      }
    }
  });
}

bool takes_dots(int64_t m) {
  return m <= kFewRows && !is_batch_invariant();
}

}  // namespace

void set_batch_invariant(bool is_on) {
  batch_invariance().store(is_on, std::memory_order_relaxed);
}
bool is_batch_invariant() {
  return batch_invariance().load(std::memory_order_relaxed);
}

void gemm_nn(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c,
             bool accumulate, float alpha, Arithmetic arithmetic) {
  run({m, n, k, a, k, 1, {.dense = b, .ld = n}, c, accumulate, alpha}, arithmetic);
}

void gemm_nt(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c,
             bool accumulate, float alpha, Arithmetic arithmetic) {
  const Source source{.dense = b, .is_transposed = true, .ld = k};
  if (takes_dots(m)) {
    const RowDecoder rows{.context = nullptr, .decode = nullptr, .granule = 1, .values = b};
    return few_rows(m, n, k, a, rows, c, accumulate, alpha);
  }
  run({m, n, k, a, k, 1, source, c, accumulate, alpha}, arithmetic);
}

void gemm_tn(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c,
             bool accumulate, float alpha, Arithmetic arithmetic) {
  const Source source{.dense = b, .ld = n};
  const int64_t rows = micro().rows;
  if (n <= 2 * micro().cols || m <= rows || arithmetic != Arithmetic::kF32) {
    return run({m, n, k, a, 1, m, source, c, accumulate, alpha}, arithmetic);
  }
  // Many columns read each strip of A^T again and again: gather the strips once.
  float* strips_of_a = scratch(Scratch::kStrips, static_cast<size_t>(m * k));
  parallel_for(ceil_div(m, rows), 4, [&](int64_t begin, int64_t end) {
    for (int64_t p = 0; p < k; ++p) {
      for (int64_t s = begin; s < end; ++s) {
        const int64_t count = std::min(rows, m - s * rows);
        float* to = strips_of_a + s * rows * k + p * count;
        for (int64_t i = 0; i < count; ++i) to[i] = a[p * m + s * rows + i];
      }
    }
  });
  run({m, n, k, strips_of_a, 0, 0, source, c, accumulate, alpha, true}, arithmetic);
}

void gemm_tn(int64_t m, int64_t n, int64_t k, const float* a, const BFloat16* b, float* c,
             bool accumulate) {
  const RowDecoder rows{
      .context = nullptr, .decode = nullptr, .granule = 1, .values = b, .dtype = DType::kBF16};
  run({m, n, k, a, 1, m, {.decoder = &rows, .ld = n}, c, accumulate, 1}, Arithmetic::kTiles8);
}

namespace {

void bring(const float* from, float* to, int64_t n) {
  std::memcpy(to, from, static_cast<size_t>(n) * 4);
}
void bring(const BFloat16* from, float* to, int64_t n) {
  row_kernels<float>().widen_bf16(from, to, n);
}

template <class T>
void thin(int64_t m, int64_t n, int64_t k, const float* a, const T* b, float* c, float alpha) {
  constexpr int64_t kRows = 32, kMostCols = 128;  // of b that stand in L1, in f32
  constexpr int64_t kAhead = 16;                  // rows that are asked for
  constexpr auto kLine = static_cast<int64_t>(64 / sizeof(T));
  const Micro& kernel = micro();
  const int64_t threads = thread_count();
  const int64_t cols = std::min<int64_t>(
      kMostCols, round_up(ceil_div(n, threads * ceil_div(n, threads * kMostCols)), kernel.cols));
  if (k == 0) std::memset(c, 0, static_cast<size_t>(m * n) * 4);
  const int64_t grain = ceil_div(kSmallWork, m * cols * k + 1);
  parallel_for(ceil_div(n, cols), grain, [&](int64_t begin, int64_t end) {
    float* rows = scratch(Scratch::kPanels, kRows * kMostCols);
    for (int64_t j = begin * cols; j < std::min(n, end * cols); j += cols) {
      const int64_t stop = std::min(n, j + cols);
      const int64_t wide = round_up(stop - j, kernel.cols);
      std::memset(rows, 0, static_cast<size_t>(wide * kRows) * 4);
      for (int64_t p = 0; p < k; p += kRows) {
        const int64_t depth = std::min(kRows, k - p);
        for (int64_t row = p; row < p + depth; ++row) {
          const T* ahead = b + std::min(row + kAhead, k - 1) * n;
          for (int64_t at = j; at < stop; at += kLine) __builtin_prefetch(ahead + at);
          bring(b + row * n + j, rows + (row - p) * wide, stop - j);
        }
        for (int64_t i = 0; i < m; i += kernel.rows) {
          const auto count = static_cast<int>(std::min<int64_t>(kernel.rows, m - i));
          for (int64_t q = j; q < stop; q += kernel.cols) {
            const auto width = static_cast<int>(std::min<int64_t>(kernel.cols, stop - q));
            kernel.tile(count, width, depth, a + p * m + i, 1, m, rows + (q - j), wide,
                        c + i * n + q, n, alpha, p > 0);
          }
        }
      }
    }
  });
}

}  // namespace

void thin_tn(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c,
             float alpha) {
  thin(m, n, k, a, b, c, alpha);
}

void thin_tn(int64_t m, int64_t n, int64_t k, const float* a, const BFloat16* b, float* c,
             float alpha) {
  thin(m, n, k, a, b, c, alpha);
}

void gemm_nt(int64_t m, int64_t n, int64_t k, const float* a, const RowDecoder& w, float* c,
             bool accumulate, Arithmetic arithmetic) {
  const Source source{.decoder = &w, .is_transposed = true, .ld = k};
  if (takes_dots(m)) return few_rows(m, n, k, a, w, c, accumulate, 1);
  run({m, n, k, a, k, 1, source, c, accumulate, 1}, arithmetic);
}

void gemm_nn(int64_t m, int64_t n, int64_t k, const float* a, const RowDecoder& w, float* c,
             bool accumulate, Arithmetic arithmetic) {
  run({m, n, k, a, k, 1, {.decoder = &w, .ld = n}, c, accumulate, 1}, arithmetic);
}

}  // namespace moxie::kernels
