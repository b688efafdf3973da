#pragma once
// Small products C[m, n] = A[m, k] B[k, n] inside one thread, over the register-tile kernels: what
// attention's tiles need. Two ways to hold the operands, which its passes take as a parameter:
//   PlainTiles<T>   A as it stands, B packed: in float over micro(), in double as plain loops
//   Int16Tiles      both in block floating point (micro16.h), whose scales run along k
// A is up to rows() rows, or more of which strips are taken (for_strips). B is panels of width()
// columns, each [k, width()] and zero padded. Memory is given by the caller, in numbers.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/gemm_parts.h"
#include "kernels/micro.h"
#include "kernels/micro16.h"
#include "kernels/scratch.h"

namespace moxie::kernels {

template <class T>
struct TileOps;

template <>
struct TileOps<float> {
  static int64_t width() { return micro().cols; }
  static void tile(int64_t r, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_step,
                   const float* b, int64_t ldb, float* c, int64_t ldc, float alpha, bool add) {
    micro().tile(static_cast<int>(r), static_cast<int>(n), k, a, a_row, a_step, b, ldb, c, ldc,
                 alpha, add);
  }
  static int64_t rows() { return micro().rows; }
  static void transpose(int64_t n, int64_t k, const float* src, int64_t ld, float* panel) {
    micro().transpose(static_cast<int>(n), k, src, ld, panel);
  }
  static void pack(int64_t n, int64_t k, const float* src, int64_t ld, float* panels) {
    micro().pack(n, k, src, ld, panels);
  }
  static float* memory(Scratch slot, int64_t count) {
    return scratch(slot, static_cast<size_t>(count));
  }
};

template <>
struct TileOps<double> {
  static int64_t width() { return 8; }
  static int64_t rows() { return 4; }
  static void tile(int64_t r, int64_t n, int64_t k, const double* a, int64_t a_row, int64_t a_step,
                   const double* b, int64_t ldb, double* c, int64_t ldc, double alpha, bool add) {
    for (int64_t i = 0; i < r; ++i) {
      double sums[8] = {};
      for (int64_t p = 0; p < k; ++p) {
        for (int64_t j = 0; j < 8; ++j) sums[j] += a[i * a_row + p * a_step] * b[p * ldb + j];
      }
      for (int64_t j = 0; j < n; ++j) {
        c[i * ldc + j] = (add ? c[i * ldc + j] : 0.0) + alpha * sums[j];
      }
    }
  }
  static void transpose(int64_t n, int64_t k, const double* src, int64_t ld, double* panel) {
    for (int64_t p = 0; p < k; ++p) {
      for (int64_t j = 0; j < 8; ++j) panel[p * 8 + j] = j < n ? src[j * ld + p] : 0.0;
    }
  }
  static void pack(int64_t n, int64_t k, const double* src, int64_t ld, double* panels) {
    for (int64_t j = 0; j < n; j += 8, panels += 8 * k) {
      for (int64_t p = 0; p < k; ++p) {
        for (int64_t i = 0; i < 8; ++i) panels[p * 8 + i] = j + i < n ? src[p * ld + j + i] : 0.0;
      }
    }
  }
  static double* memory(Scratch slot, int64_t count) {
    return reinterpret_cast<double*>(scratch(slot, static_cast<size_t>(2 * count)));
  }
};

template <class T>
struct PlainTiles {
  using Number = T;
  static constexpr int64_t kTurnedRows = 96;  // most rows of a turned A
  static int64_t width() { return TileOps<T>::width(); }
  static int64_t rows() { return TileOps<T>::rows(); }

  struct Left {  // element (i, p) of A stands at at[i * row + p * step]
    const T* at;
    int64_t row, step;
    Left from(int64_t i, int64_t p) const { return {at + i * row + p * step, row, step}; }
  };
  struct Right {  // panels of B stand `panel` numbers apart
    const T* at;
    int64_t panel;
    // From row p on, which is even, and from column j on, a multiple of width().
    Right from(int64_t p, int64_t j) const {
      return {at + p * width() + j / width() * panel, panel};
    }
  };

  static int64_t left_size(int64_t, int64_t) { return 0; }
  // A[i, p] = src[i * ld + p], for B's of pack_transposed and of pack_rows.
  static Left rows_of(int64_t, int64_t, const T* src, int64_t ld, T*) { return {src, ld, 1}; }
  static Left scores_of(int64_t, int64_t, const T* src, int64_t ld, T*) { return {src, ld, 1}; }
  // A[i, p] = src[p * ld + i], for those of pack_rows.
  static Left turned(int64_t, int64_t, const T* src, int64_t ld, T*) { return {src, 1, ld}; }

  static int64_t right_size(int64_t k, int64_t n) { return round_up(n, width()) * k; }
  static Right right(int64_t k, int64_t, const T* memory) { return {memory, width() * k}; }
  // B[p, j] = src[j * ld + p]: the rows of src become columns.
  static void pack_transposed(int64_t k, int64_t n, const T* src, int64_t ld, T* memory) {
    for (int64_t j = 0; j < n; j += width(), memory += width() * k) {
      TileOps<T>::transpose(std::min(width(), n - j), k, src + j * ld, ld, memory);
    }
  }
  // B[p, j] = src[p * ld + j]
  static void pack_rows(int64_t k, int64_t n, const T* src, int64_t ld, T* memory) {
    TileOps<T>::pack(n, k, src, ld, memory);
  }

  // c[m, n] (+)= alpha a b for the rows of a strip, over the first k rows of b.
  static void multiply(int64_t m, int64_t n, int64_t k, const Left& a, Right b, T* c, int64_t ldc,
                       T alpha, bool accumulate) {
    for (int64_t j = 0; j < n; j += width(), b.at += b.panel) {
      TileOps<T>::tile(m, std::min(width(), n - j), k, a.at, a.row, a.step, b.at, width(), c + j,
                       ldc, alpha, accumulate);
    }
  }
};

// The same with operands rounded to integers: k is at most kDeepest16. A row of q or k has one
// scale, a row of scores too, a column of a turned A or of pack_rows one for all its rows.
struct Int16Tiles {
  using Number = float;
  static constexpr int64_t kTurnedRows = kCols16;
  static int64_t width() { return kCols16; }
  static int64_t rows() { return micro16().rows; }

  struct Left {  // pair p of row i stands at codes[i * row + p * step]
    const int32_t* codes;
    int64_t row, step;
    const float* scales;
    Left from(int64_t i, int64_t p) const {
      return {codes + i * row + p / 2 * step, row, step, scales + i};
    }
  };
  struct Right {
    const int32_t* codes;
    int64_t panel;
    const float* scales;
    Right from(int64_t p, int64_t j) const {
      return {codes + p / 2 * kCols16 + j / kCols16 * panel, panel, scales + j};
    }
  };

  static int64_t pairs(int64_t k) { return (k + 1) / 2; }
  static int32_t* codes_of(float* memory) { return reinterpret_cast<int32_t*>(memory); }
  // Codes that both factors of sums of k products may have.
  static int most_of(int64_t k) {
    return static_cast<int>(std::min(32767.0, std::sqrt(2147483647.0 / static_cast<double>(k))));
  }

  static int64_t left_size(int64_t m, int64_t k) { return round_up(m, kCols16) * (pairs(k) + 1); }
  template <class Round>
  static Left round_rows(int64_t m, int64_t k, float* memory, const Round& round) {
    float* scales = memory + m * pairs(k);
    for (int64_t i = 0; i < m; ++i) {
      scales[i] = round(i, reinterpret_cast<int16_t*>(memory + i * pairs(k)));
    }
    return {codes_of(memory), pairs(k), 1, scales};
  }
  static Left rows_of(int64_t m, int64_t k, const float* src, int64_t ld, float* memory) {
    return round_rows(m, k, memory, [&, most = most_of(k)](int64_t i, int16_t* codes) {
      return micro16().round_row(src + i * ld, k, most, codes);
    });
  }
  static Left scores_of(int64_t m, int64_t k, const float* src, int64_t ld, float* memory) {
    return round_rows(m, k, memory, [&](int64_t i, int16_t* codes) {
      return micro16().round_spread(src + i * ld, k, codes);
    });
  }
  static Left turned(int64_t m, int64_t k, const float* src, int64_t ld, float* memory) {
    float* scales = memory + kCols16 * pairs(k);
    micro16().round_columns(src, ld, k, static_cast<int>(m), codes_of(memory), scales);
    return {codes_of(memory), 1, kCols16, scales};
  }

  static int64_t right_size(int64_t k, int64_t n) { return round_up(n, kCols16) * (pairs(k) + 1); }
  static Right right(int64_t k, int64_t n, float* memory) {
    return {codes_of(memory), pairs(k) * kCols16, memory + round_up(n, kCols16) * pairs(k)};
  }
  static void pack_transposed(int64_t k, int64_t n, const float* src, int64_t ld, float* memory) {
    float* scales = memory + round_up(n, kCols16) * pairs(k);
    float* rounded = scratch(Scratch::kStrips, static_cast<size_t>(left_size(kCols16, k)));
    std::fill_n(scales, round_up(n, kCols16), 0.0f);
    for (int64_t j = 0; j < n; j += kCols16, memory += kCols16 * pairs(k)) {
      const int64_t count = std::min<int64_t>(kCols16, n - j);
      const Left rows = rows_of(count, k, src + j * ld, ld, rounded);
      std::copy_n(rows.scales, count, scales + j);
      micro16().transpose(static_cast<int>(count), pairs(k), rows.codes, codes_of(memory));
    }
  }
  static void pack_rows(int64_t k, int64_t n, const float* src, int64_t ld, float* memory) {
    float* scales = memory + round_up(n, kCols16) * pairs(k);
    for (int64_t j = 0; j < n; j += kCols16, memory += kCols16 * pairs(k)) {
      const auto count = static_cast<int>(std::min<int64_t>(kCols16, n - j));
      micro16().round_columns(src + j, ld, k, count, codes_of(memory), scales + j);
    }
  }

  static void multiply(int64_t m, int64_t n, int64_t k, const Left& a, const Right& b, float* c,
                       int64_t ldc, float alpha, bool accumulate) {
    const Micro16& kernel = micro16();
    float scales[kCols16];
    for (int64_t i = 0; i < m; ++i) scales[i] = alpha * a.scales[i];
    Tile16 tile{
        static_cast<int>(m), 0, pairs(k), a.codes, a.row, a.step, b.codes, scales, b.scales, c, ldc,
        accumulate};
    for (int64_t j = 0; j < n; j += kCols16) {
      tile.n = static_cast<int>(std::min<int64_t>(kCols16, n - j));
      tile.c = c + j;
      kernel.tile(tile);
      tile.b += b.panel;
      tile.b_scales += kCols16;
    }
  }
};

// Calls body(i, count) for strips of [0, m) that a register tile holds.
template <class Tiles, class Body>
void for_strips(int64_t m, const Body& body) {
  const int64_t strips = ceil_div(m, Tiles::rows());
  for (int64_t s = 0; s < strips; ++s) {
    const int64_t i = m * s / strips;
    body(i, m * (s + 1) / strips - i);
  }
}

}  // namespace moxie::kernels
