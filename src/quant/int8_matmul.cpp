// Rounding of activations to 8 bits, and the split of int8 products over threads: by rows of the
// weight, which neither changes nor orders any sum.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <thread>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/rounding.h"
#include "kernels/scratch.h"
#include "quant/codec_avx2.h"
#include "quant/int8.h"
#include "quant/int8_lanes.h"
#include "quant/low_rank.h"

namespace moxie::quant {
namespace {

using kernels::magnitude_bits;
using kernels::rounding_steps;
using kernels::RoundingSteps;

constexpr int64_t kStrip = 16;             // rows of a weight that panels take at once
constexpr int64_t kSmallWork = 64 * 1024;  // multiply-adds that one thread does sooner than two
constexpr int64_t kSmallRows = 16 * 1024;  // activations likewise

int64_t strips_of(const Int8Matrix& matrix) {
  return (matrix.rows + kStrip - 1) / kStrip;
}

int64_t grain_of_rows(int64_t cols) {
  return std::max<int64_t>(1, kSmallRows / cols);
}

void finish_group(const Int8Rows& out, int64_t group, float scale, int32_t low, int32_t high) {
  out.scales[group] = scale;
  out.sums[group] = scale * static_cast<float>(low + high);
  out.halves[group] =
      static_cast<int32_t>(static_cast<uint32_t>(low & 0xFFFF) | static_cast<uint32_t>(high) << 16);
}

void quantise_group(const float* x, const Int8Rows& out, int64_t group) {
  int32_t magnitude = 0;
  for (int i = 0; i < kInt8Group; ++i) {
    magnitude = std::max(magnitude, magnitude_bits(x[i]));
  }
  const RoundingSteps steps = rounding_steps(magnitude, 127);
  int8_t* codes = out.codes + group * kInt8Group;
  int32_t totals[2] = {0, 0};
  for (int i = 0; i < kInt8Group; ++i) {
    const int32_t code =
        steps.inverse == 0 ? 0 : static_cast<int32_t>(std::nearbyint(x[i] * steps.inverse));
    codes[i] = static_cast<int8_t>(code);
    totals[i / 16] += code;
  }
  finish_group(out, group, steps.scale, totals[0], totals[1]);
}

#ifndef MOXIE_SCALAR_ONLY
MOXIE_AVX2 int32_t total(__m128i v) {
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4E));
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xB1));
  return _mm_cvtsi128_si32(v);
}

[[gnu::target("avx2,f16c")]] void quantise_group_avx2(const float* x, const Int8Rows& out,
                                                      int64_t group) {
  const __m256i magnitude_bits = _mm256_set1_epi32(0x7FFFFFFF);
  __m256 values[4];
  __m256i most = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    values[i] = _mm256_loadu_ps(x + 8 * i);
    most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(values[i]), magnitude_bits));
  }
  __m128i top = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
  top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0x4E));
  top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0xB1));
  const RoundingSteps steps = rounding_steps(_mm_cvtsi128_si32(top), 127);
  int8_t* codes = out.codes + group * kInt8Group;
  if (steps.inverse == 0) {
    std::fill_n(codes, kInt8Group, int8_t{0});
    return finish_group(out, group, steps.scale, 0, 0);
  }
  const __m256 inverse = _mm256_set1_ps(steps.inverse);
  __m256i rounded[4];
  for (int i = 0; i < 4; ++i) rounded[i] = _mm256_cvtps_epi32(_mm256_mul_ps(values[i], inverse));
  // Packing works within 128-bit lanes; the permutation puts the words of 4 codes back in order.
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(rounded[0], rounded[1]),
                                            _mm256_packs_epi32(rounded[2], rounded[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i all = _mm256_permutevar8x32_epi32(packed, order);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), all);
  const __m256i fours =
      _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), all), _mm256_set1_epi16(1));
  finish_group(out, group, steps.scale, total(_mm256_castsi256_si128(fours)),
               total(_mm256_extracti128_si256(fours, 1)));
}
#endif

}  // namespace

#ifndef MOXIE_SCALAR_ONLY
PreparedRows& prepared_here() {
  thread_local PreparedRows prepared;
  return prepared;
}
#endif

void quantise_rows_scalar(const float* x, const Int8Rows& out, int64_t begin, int64_t end) {
  for (int64_t g = begin * out.groups(); g < end * out.groups(); ++g) {
    quantise_group(x + g * kInt8Group, out, g);
  }
}

void quantise_rows(const float* x, const Int8Rows& out, int64_t begin, int64_t end) {
#ifndef MOXIE_SCALAR_ONLY
  if (active_isa() >= Isa::kAvx2) {
    for (int64_t g = begin * out.groups(); g < end * out.groups(); ++g) {
      quantise_group_avx2(x + g * kInt8Group, out, g);
    }
    return;
  }
#endif
  quantise_rows_scalar(x, out, begin, end);
}

Int8Rows rows_in(float* memory, int64_t n, int64_t cols) {
  const int64_t groups = n * (cols / kInt8Group);
  float* scales = memory + groups * (kInt8Group / 4);
  return {n,
          cols,
          reinterpret_cast<int8_t*>(memory),
          scales,
          scales + groups,
          reinterpret_cast<int32_t*>(scales + 2 * groups),
          0};
}

void quantise_all(const float* x, const Int8Rows& out) {
  parallel_for(out.count, grain_of_rows(out.cols),
               [&](int64_t begin, int64_t end) { quantise_rows(x, out, begin, end); });
}

namespace {

// Memory for a product's rows of x. To write where all threads have just read takes several times
// as long, until their caches have let go of it: so small products have eight places, one after
// another.
float* memory_of_rows(int64_t floats) {
  constexpr int64_t kPlaces = 8, kSmall = 16 * 1024;
  constexpr auto kSlot = kernels::Scratch::kInt8Rows;
  if (floats > kSmall) return kernels::scratch(kSlot, static_cast<size_t>(floats));
  thread_local int64_t place = 0;
  place = (place + 1) % kPlaces;
  const int64_t apart = (floats + 15) / 16 * 16;  // lines of 64 bytes
  return kernels::scratch(kSlot, static_cast<size_t>(kPlaces * apart)) + place * apart;
}

// One call's products and what is attached to them. Threads first make the h's of low_rank.h, then
// rows of the weights, and add to these what the h's give.
class Products {
 public:
  Products(std::span<const Int8Matrix> matrices, int64_t cols, const float* x, int64_t n,
           bool accumulate)
      : matrices_(matrices), x_(x), accumulate_(accumulate) {
    int64_t floats = floats_of_rows(n, cols);
    for (const Int8Matrix& m : matrices) {
      if (m.attached != nullptr) floats += n * (2 * m.attached->rank() + 2);
    }
    float* memory = memory_of_rows(floats);
    const auto take = [&memory](int64_t count) { return std::exchange(memory, memory + count); };
    rows_ = rows_in(take(floats_of_rows(n, cols)), n, cols);
    static std::atomic<uint64_t> last_id = 0;
    rows_.id = ++last_id;
    for (const Int8Matrix& m : matrices) {
      if (m.attached == nullptr) continue;
      const int64_t rank = m.attached->rank();
      const int64_t pairs = (rank + 1) / 2;
      float* h = m.inner != nullptr ? m.inner : take(n * rank);
      auto* codes = reinterpret_cast<int32_t*>(take(n * pairs));
      const Int8Matrix a = m.attached->inner(h);
      const int64_t fours = std::clamp<int64_t>(kStrip * m.stride / a.stride / 4, 1, kStrip / 4);
      inner_.push_back({a, {n, pairs, codes, take(n)}, 4 * fours});
      m.attached->fetch_inner();
    }
    // Where threads share the rounding of x, each makes the h's of its rows while these are in its
    // cache. Else they take parts of them, as of the weights.
    is_many_ = n > grain_of_rows(cols);
    for (const Inner& inner : inner_) parts_ += is_many_ ? 0 : inner.parts();
    left_ = parts_;
  }

  void run() {
    const int64_t cols = rows_.cols, n = rows_.count;
    parallel_for(n, grain_of_rows(cols), [this](int64_t begin, int64_t end) {
      quantise_rows(x_, rows_, begin, end);
      if (is_many_) make_inner(begin, end);
    });
    int64_t all = 0;
    for (const Int8Matrix& m : matrices_) all += strips_of(m);
    parallel_pieces(all, std::max<int64_t>(1, kSmallWork / (kStrip * cols * n)),
                    [this](int64_t begin, int64_t end) {
                      make_inner_parts();
                      run_strips(begin, end);
                      if (parts_ > 0) add_inner(begin, end);
                    });
  }

 private:
  struct Inner {
    Int8Matrix matrix;  // A
    InnerRows rows;
    int64_t share;  // rows of A that are as many bytes as a strip of the weight
    int64_t parts() const { return (matrix.rows + share - 1) / share; }
  };

  // h and its codes for rows [begin, end) of x.
  void make_inner(int64_t begin, int64_t end) const {
    const Int8Rows part = rows_.part(begin, end);
    for (const Inner& inner : inner_) {
      const Int8Matrix& a = inner.matrix;
      a.kernels->multiply({a.bytes, a.stride, part, a.y + begin * a.rows, a.rows, false}, 0,
                          a.rows);
      round_inner(a.y, a.rows, inner.rows, begin, end);
    }
  }

  // Parts of the A's until all are taken. Who makes the last of them rounds the h's.
  void make_inner_parts() {
    while (next_.load(std::memory_order_relaxed) < parts_) {
      int64_t part = next_.fetch_add(1, std::memory_order_relaxed);
      if (part >= parts_) return;
      const Inner* inner = inner_.data();
      for (; part >= inner->parts(); ++inner) part -= inner->parts();
      const Int8Matrix& a = inner->matrix;
      a.kernels->multiply({a.bytes, a.stride, rows_, a.y, a.rows, false}, part * inner->share,
                          std::min(a.rows, (part + 1) * inner->share));
      if (left_.fetch_sub(1) == 1) round_all();
    }
  }

  void round_all() {
    for (const Inner& inner : inner_)
      round_inner(inner.matrix.y, inner.matrix.rows, inner.rows, 0, rows_.count);
    is_ready_.store(true, std::memory_order_release);
  }

  // Calls f(matrix, its place among those with something attached, first row, last row) for strips
  // [begin, end) of all weights.
  template <class F>
  void for_parts(int64_t begin, int64_t end, F f) const {
    int64_t first = 0;  // strip of this matrix
    size_t place = 0;
    for (const Int8Matrix& m : matrices_) {
      const int64_t low = std::max(begin, first) - first;
      const int64_t high = std::min(end - first, strips_of(m));
      first += strips_of(m);
      if (low < high) f(m, place, low * kStrip, std::min(m.rows, high * kStrip));
      place += m.attached != nullptr ? 1 : 0;
    }
  }

  void run_strips(int64_t begin, int64_t end) const {
    for_parts(begin, end, [&](const Int8Matrix& m, size_t place, int64_t low, int64_t high) {
      if (!is_many_ && m.attached != nullptr) m.attached->fetch(low, high);
      m.kernels->multiply({m.bytes, m.stride, rows_, m.y, m.rows, accumulate_}, low, high);
      if (is_many_ && m.attached != nullptr) m.attached->add_to(inner_[place].rows, m.y, low, high);
    });
  }

  void add_inner(int64_t begin, int64_t end) const {
    // All of them were taken before any strip was, so they are there by now, as a rule.
    while (!is_ready_.load(std::memory_order_acquire)) std::this_thread::yield();
    for_parts(begin, end, [&](const Int8Matrix& m, size_t place, int64_t low, int64_t high) {
      if (m.attached != nullptr) m.attached->add_to(inner_[place].rows, m.y, low, high);
    });
  }

  std::span<const Int8Matrix> matrices_;
  const float* x_;
  bool accumulate_;
  bool is_many_ = false;
  Int8Rows rows_;  // x
  std::vector<Inner> inner_;
  int64_t parts_ = 0;                     // of all A's, where threads take them so
  std::atomic<int64_t> next_ = 0, left_;  // the part to be taken next; how many are not made yet
  std::atomic<bool> is_ready_ = false;
};

}  // namespace

void int8_matmul(std::span<const Int8Matrix> matrices, int64_t cols, const float* x, int64_t n,
                 bool accumulate) {
  if (n == 0 || cols == 0) return;
  Products(matrices, cols, x, n, accumulate).run();
}

}  // namespace moxie::quant
