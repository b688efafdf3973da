#include "kernels/rowwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/cpu.h"
#include "base/rng.h"

namespace moxie::kernels {
namespace {

struct Named {
  const char* name;
  const RowKernels<float>* table;
};

std::vector<Named> tables() {
  std::vector<Named> list{{"scalar", &kRowsScalar}};
#ifndef MOXIE_SCALAR_ONLY
  if (active_isa() >= Isa::kAvx2) list.push_back({"avx2", &kRowsAvx2});
  if (active_isa() >= Isa::kAvx512) list.push_back({"avx512", &kRowsAvx512});
#endif
  return list;
}

std::vector<float> normals(int64_t count, uint64_t seed, double scale = 1) {
  Rng rng(seed);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = static_cast<float>(rng.normal() * scale);
  return out;
}

std::vector<double> wide(const std::vector<float>& x) {
  return {x.begin(), x.end()};
}

void expect_close(const std::vector<float>& got, const std::vector<double>& want, double tolerance,
                  const char* what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], tolerance * (1 + std::fabs(want[i]))) << what << " at " << i;
  }
}

TEST(Rowwise, ExpIsWithinTwoUlpOverTheWholeRange) {
  for (const auto& [name, table] : tables()) {
    std::vector<float> x;
    for (double v = -103.9; v < 88.8; v += 0.00173) x.push_back(static_cast<float>(v));
    std::vector<float> y(x.size());
    table->exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const float want = static_cast<float>(std::exp(double(x[i])));
      if (std::isinf(want)) {
        EXPECT_EQ(y[i], want);
        continue;
      }
      const float ulp = std::nextafter(want, INFINITY) - want;
      ASSERT_LE(std::fabs(double(y[i]) - want), 2.0 * ulp) << name << " exp(" << x[i] << ")";
    }
  }
}

TEST(Rowwise, ExpOfExtremes) {
  const float inf = std::numeric_limits<float>::infinity();
  const float in[5] = {inf, -inf, 1000, -1000, std::nanf("")};
  for (const auto& [name, table] : tables()) {
    float out[5];
    table->exp(in, out, 5);
    EXPECT_EQ(out[0], inf) << name;
    EXPECT_EQ(out[1], 0.0f);
    EXPECT_EQ(out[2], inf);
    EXPECT_EQ(out[3], 0.0f);
    EXPECT_TRUE(std::isnan(out[4]));
  }
}

TEST(Rowwise, BitsDoNotDependOnWhereARangeIsCut) {
  const auto x = normals(100, 3, 4);
  const auto u = normals(100, 4);
  for (const auto& [name, table] : tables()) {
    std::vector<float> whole(100), parts(100);
    table->gate(Activation::kSilu, x.data(), u.data(), whole.data(), 100);
    for (int64_t i = 0, step = 1; i < 100; i += step, ++step) {
      const int64_t n = std::min<int64_t>(step, 100 - i);
      table->gate(Activation::kSilu, x.data() + i, u.data() + i, parts.data() + i, n);
    }
    EXPECT_EQ(std::memcmp(whole.data(), parts.data(), 400), 0) << name;
  }
}

TEST(Rowwise, EveryKernelEqualsTheDoubleReference) {
  const auto& exact = row_kernels<double>();
  for (const auto& [name, table] : tables()) {
    for (const int64_t n : {1, 7, 8, 31, 64, 203}) {
      const auto size = static_cast<size_t>(n);
      const auto x = normals(n, 5, 3), u = normals(n, 6), dy = normals(n, 7);
      const auto x64 = wide(x), u64 = wide(u), dy64 = wide(dy);
      std::vector<float> a(size), b(size);
      std::vector<double> a64(size), b64(size);
      EXPECT_EQ(table->max(x.data(), n), static_cast<float>(exact.max(x64.data(), n)));
      EXPECT_NEAR(table->sum(x.data(), n), exact.sum(x64.data(), n), 1e-4);
      EXPECT_NEAR(table->dot(x.data(), u.data(), n), exact.dot(x64.data(), u64.data(), n), 1e-4);
      const double sum = exact.exp_sum(x64.data(), 2.0, a64.data(), n);
      EXPECT_NEAR(table->exp_sum(x.data(), 2.0f, a.data(), n), sum, 1e-5 * sum);
      expect_close(a, a64, 1e-6, "exp_sum");
      table->softcap(x.data(), 5.0f, a.data(), n);
      exact.softcap(x64.data(), 5.0, a64.data(), n);
      expect_close(a, a64, 1e-6, "softcap");
      a = dy;
      a64 = dy64;
      table->scale(0.3f, a.data(), n);
      exact.scale(double(0.3f), a64.data(), n);
      table->add_scaled(x.data(), 0.7f, a.data(), n);
      exact.add_scaled(x64.data(), double(0.7f), a64.data(), n);
      expect_close(a, a64, 1e-6, "add_scaled");
      for (const auto kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
        table->activate(kind, x.data(), a.data(), n);
        exact.activate(kind, x64.data(), a64.data(), n);
        expect_close(a, a64, 2e-6, "activate");
        table->activate_backward(kind, x.data(), dy.data(), a.data(), n);
        exact.activate_backward(kind, x64.data(), dy64.data(), a64.data(), n);
        expect_close(a, a64, 3e-6, "activate_backward");
        table->gate(kind, x.data(), u.data(), a.data(), n);
        exact.gate(kind, x64.data(), u64.data(), a64.data(), n);
        expect_close(a, a64, 2e-6, "gate");
        std::vector<float> y(size);
        std::vector<double> y64(size);
        table->gate_backward(kind, x.data(), u.data(), dy.data(), a.data(), b.data(), y.data(), n);
        exact.gate_backward(kind, x64.data(), u64.data(), dy64.data(), a64.data(), b64.data(),
                            y64.data(), n);
        expect_close(a, a64, 3e-6, "gate_backward dg");
        expect_close(b, b64, 3e-6, "gate_backward du");
        expect_close(y, y64, 2e-6, "gate_backward y");
        y = dy;  // dg in its place
        table->gate_backward(kind, x.data(), u.data(), y.data(), y.data(), b.data(), nullptr, n);
        EXPECT_EQ(y, a);
      }
      for (const float cap : {0.0f, 4.0f}) {
        a = x, a64 = x64;
        b = dy, b64 = dy64;
        table->score_gradient(2.0f, 0.25f, cap, a.data(), b.data(), n);
        exact.score_gradient(2.0, 0.25, cap, a64.data(), b64.data(), n);
        expect_close(a, a64, 2e-6, "score_gradient p");
        expect_close(b, b64, 2e-6, "score_gradient ds");
      }
    }
  }
}

// Two steps over halves of the scores give the softmax of all of them; the second row's first half
// has no score, the third row has none at all.
TEST(Rowwise, SoftenIsAnOnlineSoftmax) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const auto& [name, table] : tables()) {
    for (const int64_t n : {1, 8, 21, 192}) {
      auto s = normals(6 * n, 21, 4);
      std::fill_n(s.begin() + 2 * n, n, -inf);
      std::fill_n(s.begin() + 4 * n, 2 * n, -inf);
      const auto given = s;
      float most[3] = {-inf, -inf, -inf}, total[3] = {}, shrink[3];
      table->soften(s.data(), 2 * n, 3, n, most, total, shrink);
      EXPECT_EQ(total[2], 0.0f) << name;
      table->soften(s.data() + n, 2 * n, 3, n, most, total, shrink);
      EXPECT_EQ(most[2], -inf);
      EXPECT_EQ(total[2], 0.0f) << name;
      for (int64_t r = 0; r < 2; ++r) {
        const float* row = given.data() + r * 2 * n;
        EXPECT_EQ(most[r], *std::max_element(row, row + 2 * n));
        double sum = 0;
        for (int64_t i = 0; i < 2 * n; ++i) sum += std::exp(double(row[i]) - most[r]);
        ASSERT_NEAR(total[r], sum, 1e-5 * sum) << name << " row " << r;
        for (int64_t i = 0; i < 2 * n; ++i) {
          const double first = i < n ? static_cast<double>(shrink[r]) : 1.0;
          const double got = first * static_cast<double>(s[static_cast<size_t>(r * 2 * n + i)]);
          ASSERT_NEAR(got, std::exp(double(row[i]) - most[r]), 1e-6) << name << " at " << i;
        }
      }
    }
  }
}

TEST(Rowwise, ExpSumOfFarBelowIsZeroAndANanStays) {
  const float in[4] = {0.0f, -88.0f, -std::numeric_limits<float>::infinity(), std::nanf("")};
  for (const auto& [name, table] : tables()) {
    float out[4];
    EXPECT_NEAR(table->exp_sum(in, 1.0f, out, 3), std::exp(-1.0), 1e-6) << name;
    EXPECT_NEAR(out[1], 0.0f, 1e-37f) << name;
    EXPECT_EQ(out[2], 0.0f) << name;
    EXPECT_TRUE(std::isnan(table->exp_sum(in, 1.0f, out, 4))) << name;
    EXPECT_TRUE(std::isnan(out[3])) << name;
  }
}

TEST(Rowwise, DotsEqualTheDoubleReference) {
  const auto& exact = row_kernels<double>();
  const int64_t stride = 210;
  for (const auto& [name, table] : tables()) {
    for (const int64_t n : {1, 4, 7}) {
      const auto rows = normals(n * stride, 12);
      const auto rows64 = wide(rows);
      for (const int64_t d : {1, 7, 8, 64, 72, 203}) {
        const auto x = normals(d, 14);
        const auto x64 = wide(x);
        std::vector<float> y(static_cast<size_t>(n));
        std::vector<double> y64(static_cast<size_t>(n));
        table->dots(x.data(), rows.data(), stride, n, d, 0.5f, y.data());
        exact.dots(x64.data(), rows64.data(), stride, n, d, 0.5, y64.data());
        expect_close(y, y64, 1e-5, "dots");
      }
    }
  }
}

// Each of the heads that share rows has the bits that it has alone, and halves those of their
// values.
TEST(Rowwise, GroupsOfHeadsEqualTheDoubleReferenceAndEachHeadAlone) {
  const auto& exact = row_kernels<double>();
  for (const auto& [name, table] : tables()) {
    for (const SharedKeys& shape : std::vector<SharedKeys>{{1, 1, 7, 64},
                                                           {2, 2, 4, 72},
                                                           {3, 3, 9, 64},
                                                           {1, 4, 5, 33},
                                                           {2, 5, 64, 20},
                                                           {1, 7, 6, 203},
                                                           {4, 8, 1, 7},
                                                           {1, 3, 3, 1}}) {
      const int64_t heads = shape.heads(), n = shape.n, d = shape.d;
      auto rows = normals(n * shape.width(), 12);
      std::vector<Float16> halves;
      for (float& x : rows) x = to_float(halves.emplace_back(to_float16(x)));
      const auto x = normals(heads * d, 14), w = normals(heads * n, 13);
      const auto rows64 = wide(rows), x64 = wide(x), w64 = wide(w);
      std::vector<float> y(size_t(heads * n)), mixed(size_t(heads * d)), other(y),
          mixed_other(mixed);
      std::vector<double> y64(y.size()), mixed64(mixed.size());
      table->group_dots(x.data(), shape, rows.data(), 0.5f, y.data());
      exact.group_dots(x64.data(), shape, rows64.data(), 0.5, y64.data());
      expect_close(y, y64, 1e-5, "group_dots");
      table->group_mix(w.data(), shape, rows.data(), mixed.data());
      exact.group_mix(w64.data(), shape, rows64.data(), mixed64.data());
      expect_close(mixed, mixed64, 1e-5, "group_mix");
      for (int64_t h = 0; h < heads; ++h) {
        const SharedKeys alone{1, 1, n, d};
        std::vector<float> own;  // the rows of this head's key head, end to end
        for (int64_t j = 0; j < n; ++j) {
          const float* row = rows.data() + j * shape.width() + h / shape.group * d;
          own.insert(own.end(), row, row + d);
        }
        table->group_dots(x.data() + h * d, alone, own.data(), 0.5f, other.data() + h * n);
        table->group_mix(w.data() + h * n, alone, own.data(), mixed_other.data() + h * d);
      }
      EXPECT_EQ(other, y) << name << ' ' << heads;
      EXPECT_EQ(mixed_other, mixed) << name << ' ' << heads;
      table->group_dots_f16(x.data(), shape, halves.data(), 0.5f, other.data());
      table->group_mix_f16(w.data(), shape, halves.data(), mixed_other.data());
      EXPECT_EQ(other, y) << name << " f16 " << heads;
      EXPECT_EQ(mixed_other, mixed) << name << " f16 " << heads;
    }
  }
}

TEST(Rowwise, NumbersOfBF16AreThoseOfToBFloat16) {
  auto values = normals(45, 19, 3);
  const float special[] = {0.0f, -0.0f, 1e-40f, 3.4e38f, std::nanf(""), INFINITY, 1.00390625f};
  values.insert(values.end(), std::begin(special), std::end(special));
  for (const auto& [name, table] : tables()) {
    for (const int64_t n : {int64_t{1}, int64_t{7}, int64_t{16}, std::ssize(values)}) {
      const float* from = values.data() + std::ssize(values) - n;
      std::vector<BFloat16> narrow(size_t(n) + 1, BFloat16{0x1234});
      table->narrow_bf16(from, narrow.data(), n);
      EXPECT_EQ(narrow.back().bits, 0x1234) << name;
      std::vector<float> wide(size_t(n) + 1, 9.0f);
      table->widen_bf16(narrow.data(), wide.data(), n);
      EXPECT_EQ(wide.back(), 9.0f) << name;
      for (int64_t i = 0; i < n; ++i) {
        EXPECT_EQ(narrow[size_t(i)].bits, to_bfloat16(from[i]).bits) << name << ' ' << from[i];
        EXPECT_EQ(std::bit_cast<uint32_t>(wide[size_t(i)]),
                  std::bit_cast<uint32_t>(to_float(narrow[size_t(i)])))
            << name;
      }
    }
  }
}

TEST(Rowwise, HalvesAreWidenedExactlyAndNarrowedToTheNearestInRange) {
  const float inf = std::numeric_limits<float>::infinity();
  auto values = normals(61, 17, 3);
  const float special[] = {0.0f,  -0.0f, 3e-7f, -6e-8f, 1e-12f, 65504, 65519,
                           65520, 1e9f,  inf,   -inf,   -1e5f,  2049,  2051};
  values.insert(values.end(), std::begin(special), std::end(special));
  for (const auto& [name, table] : tables()) {
    for (const int64_t n : {int64_t{1}, int64_t{7}, int64_t{8}, std::ssize(values)}) {
      const float* from = values.data() + std::ssize(values) - n;
      std::vector<Float16> halves(size_t(n) + 1, Float16{0x1234});
      table->narrow(from, halves.data(), n);
      EXPECT_EQ(halves.back().bits, 0x1234) << name;
      for (int64_t i = 0; i < n; ++i) {
        const float want = std::clamp(from[i], -65504.0f, 65504.0f);
        EXPECT_EQ(halves[size_t(i)].bits, to_float16(want).bits) << name << ' ' << from[i];
      }
    }
    const float nan = std::nanf("");
    Float16 half;
    table->narrow(&nan, &half, 1);
    EXPECT_TRUE(std::isnan(to_float(half))) << name;

    const int64_t d = 21, stride = 24;
    std::vector<Float16> rows;
    for (const float x : normals(3 * stride, 18)) rows.push_back(to_float16(x));
    std::vector<float> wide_rows(size_t(3 * d) + 1, 9.0f);
    table->widen(rows.data(), stride, 3, d, wide_rows.data());
    EXPECT_EQ(wide_rows.back(), 9.0f) << name;
    for (int64_t i = 0; i < 3 * d; ++i)
      EXPECT_EQ(wide_rows[size_t(i)], to_float(rows[size_t(i / d * stride + i % d)])) << name;
  }
}

// Halves of every kind of value: normal, subnormal, both zeros, infinite.
TEST(Rowwise, DotsOfHalvesHaveTheBitsOfTheirValues) {
  for (const auto& [name, table] : tables()) {
    for (const int64_t d : {1, 7, 8, 64, 203}) {
      for (const int64_t stride : {d, d + 3}) {
        const int64_t n = 7;
        auto values = normals(n * stride, 15);
        values[0] = 3e-7f;
        values[size_t(stride)] = -0.0f;
        values[size_t(2 * stride)] = INFINITY;
        std::vector<BFloat16> bf16;
        std::vector<Float16> f16;
        std::vector<float> of_bf16, of_f16;
        for (const float value : values) {
          bf16.push_back(to_bfloat16(value));
          f16.push_back(to_float16(value));
          of_bf16.push_back(to_float(bf16.back()));
          of_f16.push_back(to_float(f16.back()));
        }
        const auto x = normals(d, 16);
        std::vector<float> got(size_t{7}), want(size_t{7});
        table->dots_bf16(x.data(), bf16.data(), stride, n, d, 0.5f, got.data());
        table->dots(x.data(), of_bf16.data(), stride, n, d, 0.5f, want.data());
        EXPECT_EQ(got, want) << name << " bf16 " << d;
        table->dots_f16(x.data(), f16.data(), stride, n, d, 0.5f, got.data());
        table->dots(x.data(), of_f16.data(), stride, n, d, 0.5f, want.data());
        EXPECT_EQ(got, want) << name << " f16 " << d;
      }
    }
  }
}

TEST(Rowwise, RmsNormEqualsTheDoubleReference) {
  const auto& exact = row_kernels<double>();
  const int64_t rows = 3;
  for (const auto& [name, table] : tables()) {
    for (const int64_t d : {5, 64, 77}) {
      const auto size = static_cast<size_t>(rows * d);
      const auto x = normals(rows * d, 8, 2), w = normals(d, 9), dy = normals(rows * d, 10);
      const auto x64 = wide(x), w64 = wide(w), dy64 = wide(dy);
      std::vector<float> y(size), dw(static_cast<size_t>(d), 1.0f);
      std::vector<double> y64(size), dw64(static_cast<size_t>(d), 1.0);
      table->rms_norm(x.data(), w.data(), 1.0f, 1e-5f, rows, d, y.data());
      exact.rms_norm(x64.data(), w64.data(), 1.0, double(1e-5f), rows, d, y64.data());
      expect_close(y, y64, 1e-6, "rms_norm");
      table->rms_norm_backward(x.data(), w.data(), 1.0f, 1e-5f, dy.data(), rows, d, y.data(),
                               dw.data());
      exact.rms_norm_backward(x64.data(), w64.data(), 1.0, double(1e-5f), dy64.data(), rows, d,
                              y64.data(), dw64.data());
      expect_close(y, y64, 2e-6, "rms_norm dx");
      expect_close(dw, dw64, 2e-6, "rms_norm dw");
    }
  }
}

TEST(Rowwise, AdamwEqualsTheDoubleReference) {
  const AdamwStep<double> exact_step{0.5, 0.1, 0.999, 0.001, 0.99, -0.02, 0.3, 1e-8};
  const AdamwStep<float> step{0.5f, 0.1f, 0.999f, 0.001f, 0.99f, -0.02f, 0.3f, 1e-8f};
  for (const auto& [name, table] : tables()) {
    for (const int64_t n : {1, 16, 77}) {
      const auto gradient = normals(n, 11);
      auto value = normals(n, 12), mean = normals(n, 13), square = normals(n, 14);
      for (float& x : square) x *= x;
      auto value64 = wide(value), mean64 = wide(mean), square64 = wide(square);
      table->adamw(step, gradient.data(), value.data(), mean.data(), square.data(), n);
      row_kernels<double>().adamw(exact_step, wide(gradient).data(), value64.data(), mean64.data(),
                                  square64.data(), n);
      expect_close(value, value64, 2e-6, "adamw value");
      expect_close(mean, mean64, 1e-6, "adamw mean");
      expect_close(square, square64, 1e-6, "adamw square");
    }
  }
}

TEST(Rowwise, SquaresAreSummedInDouble) {
  for (const auto& [name, table] : tables()) {
    for (const int64_t n : {0, 5, 16, 77}) {
      auto x = normals(n, 15);
      if (n > 2) x[2] = 1e30f;  // whose square no f32 holds
      double want = 0;
      for (const float value : x) want += double(value) * double(value);
      EXPECT_NEAR(table->square_sum(x.data(), n), want, 1e-14 * want) << name << ' ' << n;
    }
  }
}

}  // namespace
}  // namespace moxie::kernels
