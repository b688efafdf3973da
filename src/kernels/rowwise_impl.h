#pragma once
// Included once by rowwise_avx2.cpp and rowwise_avx512.cpp, which define kVector, the bytes of a
// register, first. Everything has internal linkage: nothing compiled for one instruction set may be
// picked by the linker for another. A remainder runs through the same vector code on a padded copy.
#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "base/cpu.h"
#include "kernels/rowwise.h"

namespace moxie::kernels {
namespace {

using Vec [[gnu::vector_size(kVector)]] = float;
using Ints [[gnu::vector_size(kVector)]] = int32_t;
using Doubles [[gnu::vector_size(kVector)]] = double;
using Four [[gnu::vector_size(16)]] = float;
using Loose [[gnu::vector_size(kVector), gnu::aligned(4), gnu::may_alias]] = float;

constexpr int64_t kLanes = kVector / 4;

#define MOXIE_INLINE [[gnu::always_inline]] inline

MOXIE_INLINE Vec load(const float* src) {
  return *reinterpret_cast<const Loose*>(src);
}
MOXIE_INLINE void store(float* dst, Vec value) {
  *reinterpret_cast<Loose*>(dst) = value;
}
MOXIE_INLINE Vec load_some(const float* src, int64_t n) {  // zeros follow
  Vec value = {};
  __builtin_memcpy(&value, src, static_cast<size_t>(n) * 4);
  return value;
}
#ifdef __AVX512F__  // by masks of all lanes: GCC 12 warns of what the plain forms leave undefined
MOXIE_INLINE __m256i load_bits(const void* src) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(src));
}
MOXIE_INLINE Vec load(const BFloat16* src) {
  return _mm512_castsi512_ps(
      _mm512_maskz_slli_epi32(0xFFFF, _mm512_maskz_cvtepu16_epi32(0xFFFF, load_bits(src)), 16));
}
MOXIE_INLINE Vec load(const Float16* src) {
  return _mm512_maskz_cvtph_ps(0xFFFF, load_bits(src));
}
MOXIE_INLINE Vec root(Vec x) {
  return _mm512_maskz_sqrt_ps(0xFFFF, x);
}
MOXIE_INLINE Doubles load_doubles(const float* src) {
  return _mm512_maskz_cvtps_pd(0xFF, _mm256_loadu_ps(src));
}
MOXIE_INLINE __m256i to_halves(Vec value) {
  return _mm512_maskz_cvtps_ph(0xFFFF, value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
#else
MOXIE_INLINE __m128i load_bits(const void* src) {
  return _mm_loadu_si128(static_cast<const __m128i*>(src));
}
MOXIE_INLINE Vec load(const BFloat16* src) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_bits(src)), 16));
}
MOXIE_INLINE Vec load(const Float16* src) {
  return _mm256_cvtph_ps(load_bits(src));
}
MOXIE_INLINE Vec root(Vec x) {
  return _mm256_sqrt_ps(x);
}
MOXIE_INLINE Doubles load_doubles(const float* src) {
  return _mm256_cvtps_pd(_mm_loadu_ps(src));
}
MOXIE_INLINE __m128i to_halves(Vec value) {
  return _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
#endif
template <class Half>
MOXIE_INLINE Vec load_some(const Half* src, int64_t n) {
  Half values[kLanes] = {};
  __builtin_memcpy(values, src, static_cast<size_t>(n) * 2);
  return load(values);
}
MOXIE_INLINE void store_some(float* dst, Vec value, int64_t n) {
  __builtin_memcpy(dst, &value, static_cast<size_t>(n) * 4);
}
MOXIE_INLINE Vec splat(float value) {
  return value - Vec{};
}

// Calls f(read, write) for each register's worth of [0, n): read(p) loads from p, write(p, v)
// stores.
template <class F>
MOXIE_INLINE void sweep(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    f([i](const auto* p) { return load(p + i); }, [i](float* p, Vec v) { store(p + i, v); });
  }
  if (i < n) {
    f([i, n](const auto* p) { return load_some(p + i, n - i); },
      [i, n](float* p, Vec v) { store_some(p + i, v, n - i); });
  }
}

// join(lower, upper) of the two halves of the lanes, until four are left.
template <class Join>
MOXIE_INLINE Four folded(Vec v, Join join) {
#ifdef __AVX512F__
  const auto eight = join(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7),
                          __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
#else
  const Vec eight = v;
#endif
  return join(__builtin_shufflevector(eight, eight, 0, 1, 2, 3),
              __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
}

constexpr auto kSum = [](auto a, auto b) __attribute__((always_inline)) {
  return a + b;
};
constexpr auto kLarger = [](auto a, auto b) __attribute__((always_inline)) {
  return b > a ? b : a;
};

// The same down to one lane.
template <class Join>
MOXIE_INLINE float joined(Vec v, Join join) {
  const Four four = folded(v, join);
  return join(join(four[0], four[2]), join(four[1], four[3]));
}
MOXIE_INLINE float total(Vec v) {
  return joined(v, kSum);
}

// total() of four at once, in the same order.
MOXIE_INLINE Four totals(const Vec (&v)[4]) {
  const Four sums[] = {folded(v[0], kSum), folded(v[1], kSum), folded(v[2], kSum),
                       folded(v[3], kSum)};
  const Four low = _mm_movelh_ps(sums[0], sums[1]) + _mm_movehl_ps(sums[1], sums[0]);
  const Four high = _mm_movelh_ps(sums[2], sums[3]) + _mm_movehl_ps(sums[3], sums[2]);
  return _mm_hadd_ps(low, high);
}

MOXIE_INLINE Vec exp(Vec x) {
  // Beyond these the result is infinity or 0; a NaN passes both comparisons and stays one.
  x = x > splat(89.0f) ? splat(89.0f) : x;
  x = x < splat(-104.0f) ? splat(-104.0f) : x;
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec rounded = x * 1.44269504088896341f + magic;
  const Vec n = rounded - magic;
  const Vec r = (x - n * 0.693359375f) + n * 2.12194440054690583e-4f;  // ln 2 in two parts
  Vec q = splat(0.0013814601f);
  q = q * r + 0.0083687156f;
  q = q * r + 0.041668389f;
  q = q * r + 0.16666521f;
  q = q * r + 0.49999994f;
  const Vec value = (q * r) * r + r + 1.0f;
  // 2^n in two factors: n reaches 129 and -150, a single exponent field only 127 and -126.
  const Ints whole = reinterpret_cast<Ints>(rounded) - reinterpret_cast<Ints>(magic);
  const Ints half = whole >> 1;
  const Vec first = reinterpret_cast<Vec>((half + 127) << 23);
  const Vec second = reinterpret_cast<Vec>((whole - half + 127) << 23);
  return value * first * second;
}

// The same for x <= 88, and 0 below -87: one exponent field holds 2^n, so that it is added to the
// bits of a value in [0.7, 1.5). The polynomial is summed by pairs, which wait for each other less.
MOXIE_INLINE Vec exp_bounded(Vec x) {
  const Vec magic = splat(12582912.0f);
  const Vec rounded = x * 1.44269504088896341f + magic;
  const Vec n = rounded - magic;
  const Vec r = (x - n * 0.693359375f) + n * 2.12194440054690583e-4f;
  const Vec square = r * r;
  const Vec low = 0.16666521f * r + 0.49999994f;
  const Vec high = 0.0013814601f * square + (0.0083687156f * r + 0.041668389f);
  const Vec value = (high * square + low) * square + (r + 1.0f);
  const Ints bits = reinterpret_cast<Ints>(value) + (reinterpret_cast<Ints>(rounded) << 23);
  return reinterpret_cast<Vec>(bits & ~(x < splat(-87.0f)));  // a NaN stays one
}

MOXIE_INLINE Vec logistic(Vec x) {
  return 1.0f / (1.0f + exp(-x));
}
MOXIE_INLINE Vec tanh(Vec x) {
  return 1.0f - 2.0f / (exp(x + x) + 1.0f);
}

struct Silu {
  MOXIE_INLINE static Vec value(Vec x) { return x * logistic(x); }
  MOXIE_INLINE static void both(Vec x, Vec& value, Vec& slope) {
    const Vec s = logistic(x);
    value = x * s;
    slope = s * (1.0f + x * (1.0f - s));
  }
};

struct GeluTanh {
  // 0.5 (1 + tanh(u)) is the logistic function of 2 u.
  MOXIE_INLINE static Vec inner(Vec x) { return 1.5957691216057308f * (x + 0.044715f * x * x * x); }
  MOXIE_INLINE static Vec value(Vec x) { return x * logistic(inner(x)); }
  MOXIE_INLINE static void both(Vec x, Vec& value, Vec& slope) {
    const Vec s = logistic(inner(x));
    value = x * s;
    slope = s + value * (1.0f - s) * (1.5957691216057308f * (1.0f + 0.134145f * x * x));
  }
};

void exp_row(const float* x, float* y, int64_t n) {
  sweep(n, [=](auto read, auto write) { write(y, exp(read(x))); });
}

float max_row(const float* x, int64_t n) {
  Vec most = splat(-INFINITY);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) most = kLarger(most, load(x + i));
  float best = joined(most, kLarger);
  for (; i < n; ++i) best = kLarger(best, x[i]);
  return best;
}

float sum_row(const float* x, int64_t n) {
  Vec sums = {};
  sweep(n, [&](auto read, auto) { sums += read(x); });
  return total(sums);
}

template <class R>
float dot_row(const float* x, const R* y, int64_t n) {
  Vec sums = {};
  sweep(n, [&](auto read, auto) { sums += read(x) * read(y); });
  return total(sums);
}

double square_sum(const float* x, int64_t n) {
  constexpr int64_t kWide = kVector / 8;
  constexpr int64_t kParts = 16 / kWide;
  Doubles sums[kParts] = {};
  const auto add = [&](const float* from) {
    for (int64_t part = 0; part < kParts; ++part) {
      const Doubles wide = load_doubles(from + part * kWide);
      sums[part] = wide * wide + sums[part];
    }
  };
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) add(x + i);
  if (i < n) {
    float rest[16] = {};
    __builtin_memcpy(rest, x + i, static_cast<size_t>(n - i) * 4);
    add(rest);
  }
  double total = 0;
  for (const Doubles& part : sums) {
    for (int64_t k = 0; k < kWide; ++k) total += part[k];
  }
  return total;
}

float exp_sum(const float* x, float shift, float* y, int64_t n) {
  Vec sums = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec e = exp_bounded(load(x + i) - shift);
    store(y + i, e);
    sums += e;
  }
  if (i < n) {
    const Vec e = exp_bounded(load_some(x + i, n - i) - shift);
    store_some(y + i, e, n - i);
    sums += load_some(y + i, n - i);  // without the padding's exp(-shift)
  }
  return total(sums);
}

void softcap(const float* x, float cap, float* y, int64_t n) {
  sweep(n, [=](auto read, auto write) { write(y, cap * tanh(read(x) / cap)); });
}

void scale(float factor, float* y, int64_t n) {
  sweep(n, [=](auto read, auto write) { write(y, factor * read(y)); });
}

void add_scaled(const float* x, float factor, float* y, int64_t n) {
  sweep(n, [=](auto read, auto write) { write(y, read(y) + factor * read(x)); });
}

#ifdef __AVX512F__
// A long row that comes from memory: four sums at once, and a single stream for the CPU's
// prefetchers.
template <class R>
MOXIE_INLINE float long_dot(const float* x, const R* row, int64_t n) {
  Vec sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const int64_t at = i + k * kLanes;
      sums[k] = _mm512_fmadd_ps(load(x + at), load(row + at), sums[k]);
    }
  }
  sweep(n - i,
        [&](auto read, auto) { sums[0] = _mm512_fmadd_ps(read(x + i), read(row + i), sums[0]); });
  return total((sums[0] + sums[1]) + (sums[2] + sums[3]));
}
#endif

template <class R>
void dots(const float* x, const R* rows, int64_t stride, int64_t n, int64_t d, float factor,
          float* y) {
  // Rows that stand end to end may come from memory. AMD's CPUs with AVX-512 read them fastest one
  // after the other; else each step asks for as many bytes of the next four as it reads, since no
  // prefetcher of the CPU follows four short streams, and Intel's stop at the end of 4 KiB.
  const bool is_tight = stride == d;
#ifdef __AVX512F__
  if (is_tight && !cpu().is_intel) {
    for (int64_t j = 0; j < n; ++j) y[j] = factor * long_dot(x, rows + j * stride, d);
    return;
  }
#endif
  constexpr size_t kBytes = 4 * sizeof(R) * kLanes;
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) {  // four sums at once: none waits for its own last addition
    const R* row = rows + j * stride;
    Vec a = {}, b = {}, c = {}, e = {};
    const auto* next = reinterpret_cast<const char*>(row + 4 * stride);
    sweep(d, [&](auto read, auto) {
      for (size_t line = 0; is_tight && line < kBytes; line += 64) __builtin_prefetch(next + line);
      next += kBytes;
      const Vec v = read(x);
      a += v * read(row);
      b += v * read(row + stride);
      c += v * read(row + 2 * stride);
      e += v * read(row + 3 * stride);
    });
    const Four four = factor * totals({a, b, c, e});
    __builtin_memcpy(y + j, &four, sizeof(four));
  }
  for (; j < n; ++j) y[j] = factor * dot_row(x, rows + j * stride, d);
}

}  // namespace
}  // namespace moxie::kernels

#include "kernels/rowwise_groups.h"

namespace moxie::kernels {
namespace {

template <class Half>
void widen(const Half* rows, int64_t stride, int64_t n, int64_t d, float* y) {
  for (int64_t j = 0; j < n; ++j) {
    const Half* row = rows + j * stride;
    float* to = y + j * d;
    int64_t i = 0;
    for (; i + kLanes <= d; i += kLanes) store(to + i, load(row + i));
    if (i < d) store_some(to + i, load_some(row + i, d - i), d - i);
  }
}

MOXIE_INLINE Vec within_f16(Vec x) {  // a NaN passes both comparisons
  x = x > splat(65504.0f) ? splat(65504.0f) : x;
  return x < splat(-65504.0f) ? splat(-65504.0f) : x;
}

// to_bfloat16 of each.
MOXIE_INLINE Ints bf16_bits(Vec x) {
  const Ints bits = reinterpret_cast<Ints>(x);
  const Ints upper = bits >> 16;
  const Ints nearest = (bits + 0x7FFF + (upper & 1)) >> 16;
  return x == x ? nearest : (upper | 0x40);
}
#ifdef __AVX512F__
MOXIE_INLINE __m256i to_bf16(Vec x) {
  return _mm512_maskz_cvtepi32_epi16(0xFFFF, reinterpret_cast<__m512i>(bf16_bits(x)));
}
#else
MOXIE_INLINE __m128i to_bf16(Vec x) {
  const __m256i bits = reinterpret_cast<__m256i>(bf16_bits(x) & 0xFFFF);
  return _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
}
#endif

// y = halves(x), a register at a time
template <class Half, class F>
MOXIE_INLINE void narrow_by(const float* x, Half* y, int64_t n, F halves) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto some = halves(load(x + i));
    __builtin_memcpy(y + i, &some, sizeof(some));
  }
  if (i == n) return;
  const auto some = halves(load_some(x + i, n - i));
  __builtin_memcpy(y + i, &some, static_cast<size_t>(n - i) * 2);
}

void narrow(const float* x, Float16* y, int64_t n) {
  narrow_by(x, y, n, [](Vec v) { return to_halves(within_f16(v)); });
}

void widen_bf16(const BFloat16* x, float* y, int64_t n) {
  widen(x, n, 1, n, y);
}

void narrow_bf16(const float* x, BFloat16* y, int64_t n) {
  narrow_by(x, y, n, [](Vec v) { return to_bf16(v); });
}

template <class F>
void activate_with(const float* x, float* y, int64_t n) {
  sweep(n, [=](auto read, auto write) { write(y, F::value(read(x))); });
}

template <class F>
void activate_backward_with(const float* x, const float* dy, float* dx, int64_t n) {
  sweep(n, [=](auto read, auto write) {
    Vec value, slope;
    F::both(read(x), value, slope);
    write(dx, read(dy) * slope);
  });
}

template <class F>
void gate_with(const float* g, const float* u, float* y, int64_t n) {
  sweep(n, [=](auto read, auto write) { write(y, F::value(read(g)) * read(u)); });
}

template <class F>
void gate_backward_with(const float* g, const float* u, const float* dy, float* dg, float* du,
                        float* y, int64_t n) {
  sweep(n, [=](auto read, auto write) {
    Vec value, slope;
    F::both(read(g), value, slope);
    const Vec d = read(dy), up = read(u);
    write(dg, d * up * slope);
    write(du, d * value);
    if (y != nullptr) write(y, value * up);
  });
}

// The error function's form is rare: it stays with libm's erf.
void activate(Activation kind, const float* x, float* y, int64_t n) {
  if (kind == Activation::kSilu) return activate_with<Silu>(x, y, n);
  if (kind == Activation::kGeluTanh) return activate_with<GeluTanh>(x, y, n);
  kRowsScalar.activate(kind, x, y, n);
}

void activate_backward(Activation kind, const float* x, const float* dy, float* dx, int64_t n) {
  if (kind == Activation::kSilu) return activate_backward_with<Silu>(x, dy, dx, n);
  if (kind == Activation::kGeluTanh) return activate_backward_with<GeluTanh>(x, dy, dx, n);
  kRowsScalar.activate_backward(kind, x, dy, dx, n);
}

void gate(Activation kind, const float* g, const float* u, float* y, int64_t n) {
  if (kind == Activation::kSilu) return gate_with<Silu>(g, u, y, n);
  if (kind == Activation::kGeluTanh) return gate_with<GeluTanh>(g, u, y, n);
  kRowsScalar.gate(kind, g, u, y, n);
}

void gate_backward(Activation kind, const float* g, const float* u, const float* dy, float* dg,
                   float* du, float* y, int64_t n) {
  if (kind == Activation::kSilu) return gate_backward_with<Silu>(g, u, dy, dg, du, y, n);
  if (kind == Activation::kGeluTanh) return gate_backward_with<GeluTanh>(g, u, dy, dg, du, y, n);
  kRowsScalar.gate_backward(kind, g, u, dy, dg, du, y, n);
}

MOXIE_INLINE float inverse_rms(const float* x, int64_t d, float epsilon) {
  return 1.0f / __builtin_sqrtf(dot_row(x, x, d) / static_cast<float>(d) + epsilon);
}

void rms_norm(const float* x, const float* w, float shift, float epsilon, int64_t rows, int64_t d,
              float* y) {
  for (int64_t i = 0; i < rows; ++i, x += d, y += d) {
    const float r = inverse_rms(x, d, epsilon);
    sweep(d, [=](auto read, auto write) { write(y, read(x) * r * (shift + read(w))); });
  }
}

void rms_norm_backward(const float* x, const float* w, float shift, float epsilon, const float* dy,
                       int64_t rows, int64_t d, float* dx, float* dw) {
  for (int64_t i = 0; i < rows; ++i, x += d, dy += d, dx += d) {
    const float r = inverse_rms(x, d, epsilon);
    Vec sums = {};
    sweep(d, [&](auto read, auto) { sums += read(dy) * (shift + read(w)) * read(x); });
    const float back = total(sums) * r * r / static_cast<float>(d);
    sweep(d, [=](auto read, auto write) {
      const Vec g = read(dy);
      const Vec value = read(x);
      write(dx, r * (g * (shift + read(w)) - value * back));
      if (dw != nullptr) write(dw, read(dw) + g * value * r);
    });
  }
}

// The maxima of all rows first: no exponential waits for its own row's.
void soften(float* s, int64_t stride, int64_t rows, int64_t n, float* most, float* totals,
            float* shrink) {
  for (int64_t r = 0; r < rows; ++r) {
    const float top = max_row(s + r * stride, n);
    shrink[r] = most[r];
    most[r] = top > most[r] ? top : most[r];
  }
  for (int64_t r = 0; r < rows; ++r) {
    const bool is_blind = most[r] == -INFINITY;
    const float sum = exp_sum(s + r * stride, is_blind ? 0.0f : most[r], s + r * stride, n);
    shrink[r] = shrink[r] == most[r] ? 1.0f : exp_bounded(splat(shrink[r] - most[r]))[0];
    totals[r] = totals[r] * shrink[r] + sum;
  }
}

void score_gradient(float lse, float delta, float cap, float* s, float* dp, int64_t n) {
  if (cap > 0) {
    sweep(n, [=](auto read, auto write) {
      const Vec t = tanh(read(s) / cap);
      const Vec p = exp_bounded(cap * t - lse);
      write(dp, p * (read(dp) - delta) * (1.0f - t * t));
      write(s, p);
    });
    return;
  }
  sweep(n, [=](auto read, auto write) {
    const Vec p = exp_bounded(read(s) - lse);
    write(dp, p * (read(dp) - delta));
    write(s, p);
  });
}

void adamw(const AdamwStep<float>& step, const float* gradient, float* value, float* mean,
           float* square, int64_t n) {
  sweep(n, [=](auto read, auto write) {
    const Vec g = step.factor * read(gradient);
    const Vec m = read(mean) + step.mix1 * (g - read(mean));
    const Vec v = read(square) * step.beta2 + step.mix2 * g * g;
    write(mean, m);
    write(square, v);
    write(value, read(value) * step.keep + step.size * m / (root(v) / step.root2 + step.epsilon));
  });
}

constexpr RowKernels<float> kTable{exp_row,
                                   max_row,
                                   sum_row,
                                   dot_row<float>,
                                   square_sum,
                                   exp_sum,
                                   softcap,
                                   scale,
                                   add_scaled,
                                   dots<float>,
                                   dots<BFloat16>,
                                   dots<Float16>,
                                   group_dots<float>,
                                   group_dots<Float16>,
                                   group_mix<float>,
                                   group_mix<Float16>,
                                   widen<Float16>,
                                   narrow,
                                   widen_bf16,
                                   narrow_bf16,
                                   activate,
                                   activate_backward,
                                   gate,
                                   gate_backward,
                                   rms_norm,
                                   rms_norm_backward,
                                   soften,
                                   score_gradient,
                                   adamw};

}  // namespace
}  // namespace moxie::kernels
