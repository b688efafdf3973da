#pragma once
// Rows that several queries share, as in decoding: the part of rowwise_impl.h, which alone includes
// it, that loads each row once for up to three of them.
#include <type_traits>

namespace moxie::kernels {
namespace {

// Calls f(size, first) for `count` heads, three, two or one at a time: as many share a register of
// a row as leave registers for four sums each.
template <class F>
MOXIE_INLINE void for_heads(int64_t count, F f) {
  for (int64_t h = 0; h < count;) {
    const int64_t left = count - h;
    if (left == 1) {
      f(std::integral_constant<int, 1>{}, h);
      h += 1;
    } else if (left == 2 || left == 4) {
      f(std::integral_constant<int, 2>{}, h);
      h += 2;
    } else {
      f(std::integral_constant<int, 3>{}, h);
      h += 3;
    }
  }
}

// One register's worth of columns of four rows; `read` loads it.
template <int kHeads, class R, class Read>
MOXIE_INLINE void add_products(const float* x, int64_t d, const R* row, int64_t stride, Read read,
                               Vec (&sums)[kHeads][4]) {
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    const Vec of_row = read(row + k * stride);
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) sums[h][k] += read(x + h * d) * of_row;
  }
}

// Rows may come from memory, and no prefetcher of the CPU follows four short streams: each step
// asks for as many bytes of the next four as it reads, and of `next`, if it is not null.
template <int kHeads, class R>
MOXIE_INLINE void dots_of(const float* x, const R* rows, const R* next, int64_t stride, int64_t n,
                          int64_t d, float factor, float* y) {
  constexpr int64_t kLine = 64 / sizeof(R);
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) {  // four sums at once: none waits for its own last addition
    const R* row = rows + j * stride;
    Vec sums[kHeads][4] = {};
    int64_t i = 0;
    for (; i + kLanes <= d; i += kLanes) {
      if (i % kLine == 0) {
        for (int64_t k = 4; k < 8; ++k) __builtin_prefetch(row + k * stride + i);
        for (int64_t k = j; next != nullptr && k < j + 4; ++k)
          __builtin_prefetch(next + k * stride + i);
      }
      add_products(
          x + i, d, row + i, stride, [](const auto* p) { return load(p); }, sums);
    }
    if (i < d) {
      add_products(
          x + i, d, row + i, stride, [=](const auto* p) { return load_some(p, d - i); }, sums);
    }
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      const Four four = factor * totals(sums[h]);
      __builtin_memcpy(y + h * n + j, &four, sizeof(four));
    }
  }
  for (; j < n; ++j) {
    for (int h = 0; h < kHeads; ++h)
      y[h * n + j] = factor * dot_row(x + h * d, rows + j * stride, d);
  }
}

template <class R>
void group_dots(const float* x, int64_t heads, const R* rows, const R* next, int64_t stride,
                int64_t n, int64_t d, float factor, float* y) {
  for_heads(heads, [=](auto size, int64_t h) {
    dots_of<size, R>(x + h * d, rows, h == 0 ? next : nullptr, stride, n, d, factor, y + h * n);
  });
}

// kWide columns of registers down all rows; `read` loads one.
template <int kHeads, int kWide, class R, class Read>
MOXIE_INLINE void mix_columns(const float* w, const R* rows, int64_t stride, int64_t n, Read read,
                              Vec (&sums)[kHeads][kWide]) {
  for (int64_t j = 0; j < n; ++j) {
    Vec weights[kHeads];
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) weights[h] = splat(w[h * n + j]);
#pragma GCC unroll 8
    for (int k = 0; k < kWide; ++k) {
      const Vec of_row = read(rows + j * stride + k * kLanes);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) sums[h][k] += weights[h] * of_row;
    }
  }
}

template <int kHeads, int kWide, class R>
MOXIE_INLINE void mix_whole(const float* w, const R* rows, int64_t stride, int64_t n, int64_t d,
                            float* y) {
  Vec sums[kHeads][kWide] = {};
  mix_columns(
      w, rows, stride, n, [](const R* p) { return load(p); }, sums);
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
    for (int k = 0; k < kWide; ++k) store(y + h * d + k * kLanes, sums[h][k]);
  }
}

template <int kHeads, class R>
MOXIE_INLINE void mix_of(const float* w, const R* rows, int64_t stride, int64_t n, int64_t d,
                         float* y) {
  constexpr int kWide = kHeads == 1 ? 8 : 4;
  int64_t i = 0;
  for (; i + kWide * kLanes <= d; i += kWide * kLanes)
    mix_whole<kHeads, kWide>(w, rows + i, stride, n, d, y + i);
  for (; i + kLanes <= d; i += kLanes) mix_whole<kHeads, 1>(w, rows + i, stride, n, d, y + i);
  if (i == d) return;
  Vec sums[kHeads][1] = {};
  mix_columns(
      w, rows + i, stride, n, [=](const R* p) { return load_some(p, d - i); }, sums);
  for (int h = 0; h < kHeads; ++h) store_some(y + h * d + i, sums[h][0], d - i);
}

template <class R>
void group_mix(const float* w, int64_t heads, const R* rows, int64_t stride, int64_t n, int64_t d,
               float* y) {
  for_heads(heads,
            [=](auto size, int64_t h) { mix_of<size>(w + h * n, rows, stride, n, d, y + h * d); });
}

}  // namespace
}  // namespace moxie::kernels
