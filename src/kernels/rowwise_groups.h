#pragma once
// Rows that several queries share, as in decoding: the part of rowwise_impl.h, which alone includes
// it, that loads each row once for up to three of them.
#include <algorithm>
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

// Up to four rows; y_h stand `ld` apart.
template <int kHeads, class R>
MOXIE_INLINE void dots_of(const float* x, const R* rows, int64_t stride, int64_t n, int64_t d,
                          float factor, float* y, int64_t ld) {
  if (n < 4) {
    for (int64_t j = 0; j < n; ++j) {
      for (int h = 0; h < kHeads; ++h)
        y[h * ld + j] = factor * dot_row(x + h * d, rows + j * stride, d);
    }
    return;
  }
  Vec sums[kHeads][4] = {};  // four sums at once: none waits for its own last addition
  int64_t i = 0;
  for (; i + kLanes <= d; i += kLanes) {
    add_products(
        x + i, d, rows + i, stride, [](const auto* p) { return load(p); }, sums);
  }
  if (i < d) {
    add_products(
        x + i, d, rows + i, stride, [=](const auto* p) { return load_some(p, d - i); }, sums);
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
    const Four four = factor * totals(sums[h]);
    __builtin_memcpy(y + h * ld, &four, sizeof(four));
  }
}

// Asks for a line of the next page of 4 KiB: the CPU's prefetchers stop where one ends.
MOXIE_INLINE void ask_next_page(const volatile char* line) {
  __builtin_prefetch(const_cast<const char*>(line) + 4096, 0, 2);
}

// Four rows meet all heads before the next four: so memory is read in its order, which the CPU's
// prefetchers follow, as they do not a key head's short pieces of rows.
template <class R>
void group_dots(const float* x, const SharedKeys& shape, const R* rows, float factor, float* y) {
  const int64_t n = shape.n, d = shape.d;
  for (int64_t j = 0; j < n; j += 4, rows += 4 * shape.width()) {
    const int64_t count = std::min<int64_t>(4, n - j);
    const auto* bytes = reinterpret_cast<const char*>(rows);
    for (size_t at = 0; at < sizeof(R) * static_cast<size_t>(4 * shape.width()); at += 64)
      ask_next_page(bytes + at);
    for (int64_t k = 0; k < shape.key_heads; ++k) {
      for_heads(shape.group, [=, &shape](auto size, int64_t h) {
        const int64_t head = k * shape.group + h;
        dots_of<size, R>(x + head * d, rows + k * d, shape.width(), count, d, factor,
                         y + head * n + j, n);
      });
    }
  }
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

// Columns are read down all rows; so that these come from memory in its order, a number of each
// line is read first.
template <class R>
void group_mix(const float* w, const SharedKeys& shape, const R* rows, float* y) {
  const int64_t n = shape.n, d = shape.d;
  const auto* bytes = reinterpret_cast<const volatile char*>(rows);
  for (size_t at = 0; at < sizeof(R) * static_cast<size_t>(n * shape.width()); at += 64) {
    static_cast<void>(bytes[at]);
    ask_next_page(bytes + at);
  }
  for (int64_t k = 0; k < shape.key_heads; ++k) {
    for_heads(shape.group, [=, &shape](auto size, int64_t h) {
      const int64_t head = k * shape.group + h;
      mix_of<size>(w + head * n, rows + k * d, shape.width(), n, d, y + head * d);
    });
  }
}

}  // namespace
}  // namespace moxie::kernels
