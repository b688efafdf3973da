#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "base/rng.h"
#include "base/threads.h"

namespace moxie::kernels {
namespace {

struct Case {
  const char* name;
  int64_t heads, kv_heads, head_dim;
  std::vector<std::pair<int64_t, int64_t>> lengths;  // q_len, kv_len
  bool is_causal = true;
  int64_t window = 0;
  double softcap = 0;
  bool has_sinks = false;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> list{
      {"one token", 2, 1, 4, {{1, 1}}},
      {"ragged, grouped", 4, 2, 24, {{5, 5}, {1, 1}, {70, 70}}},
      {"several tiles", 3, 3, 8, {{150, 150}}},
      {"cache", 6, 2, 20, {{1, 90}, {3, 67}, {1, 1}}},
      {"long cache", 6, 2, 72, {{1, 300}, {1, 129}, {1, 128}, {2, 257}}},
      {"long cache, everything", 4, 2, 20, {{1, 300}, {1, 5}}, true, 140, 3, true},
      {"window", 2, 1, 16, {{140, 140}, {1, 200}}, true, 30},
      {"soft cap", 2, 2, 17, {{66, 66}}, true, 0, 2.5},
      {"sinks", 4, 2, 8, {{20, 20}, {1, 9}}, true, 0, 0, true},
      {"both directions", 2, 1, 8, {{65, 65}, {2, 3}}, false},
      {"everything", 4, 1, 12, {{67, 80}}, true, 40, 3, true},
      {"tiles of keys", 2, 1, 8, {{430, 430}, {100, 401}}},
      {"tiles of keys, window", 2, 1, 8, {{420, 420}, {7, 300}}, true, 150},
      {"tiles of keys, both directions", 3, 1, 4, {{210, 430}}, false},
      {"tiles of keys, everything", 2, 2, 17, {{97, 490}}, true, 430, 3, true},
      {"segments", 1, 1, 8, {{900, 900}}},
      {"more queries than keys", 2, 1, 8, {{9, 3}, {210, 100}}},
      {"seven heads a key head", 7, 1, 33, {{1, 131}, {1, 1}, {3, 70}}, true, 100, 3, true},
  };
  return list;
}

template <class T>
struct Problem {
  AttentionShape<T> shape;
  std::vector<AttentionSequence<T>> sequences;
  std::vector<T> q, k, v, dout, sinks;
  int64_t rows = 0, kv_rows = 0;

  explicit Problem(const Case& c) {
    shape.heads = c.heads;
    shape.kv_heads = c.kv_heads;
    shape.head_dim = c.head_dim;
    shape.scale = static_cast<T>(0.37);
    shape.is_causal = c.is_causal;
    shape.window = c.window;
    shape.softcap = static_cast<T>(c.softcap);
    for (const auto& [q_len, kv_len] : c.lengths) {
      rows += q_len;
      kv_rows += kv_len;
    }
    Rng rng(11);
    const auto fill = [&](std::vector<T>& values, int64_t count) {
      values.resize(static_cast<size_t>(count));
      for (T& x : values) x = static_cast<T>(static_cast<float>(rng.normal()));
    };
    fill(q, rows * c.heads * c.head_dim);
    fill(dout, rows * c.heads * c.head_dim);
    fill(k, kv_rows * c.kv_heads * c.head_dim);
    fill(v, kv_rows * c.kv_heads * c.head_dim);
    fill(sinks, c.heads);
    if (c.has_sinks) shape.sinks = sinks.data();
    int64_t at = 0, kv_at = 0;
    for (const auto& [q_len, kv_len] : c.lengths) {
      const int64_t offset = kv_at * c.kv_heads * c.head_dim;
      sequences.push_back({at, q_len, k.data() + offset, v.data() + offset, kv_len});
      at += q_len;
      kv_at += kv_len;
    }
  }
};

template <class T>
struct Results {
  std::vector<T> out, lse, dq, dk, dv, dsinks;
};

template <class T>
Results<T> run(const Problem<T>& p) {
  Results<T> r;
  r.out.assign(p.q.size(), std::numeric_limits<T>::quiet_NaN());
  r.dq = r.out;
  r.lse.resize(static_cast<size_t>(p.rows * p.shape.heads));
  r.dk.assign(p.k.size(), std::numeric_limits<T>::quiet_NaN());
  r.dv = r.dk;
  r.dsinks.resize(static_cast<size_t>(p.shape.heads));
  attention_forward<T>(p.shape, p.sequences, p.q.data(), r.out.data(), r.lse.data());
  AttentionGradients<T> gradients{r.dq.data(), r.dk.data(), r.dv.data(), nullptr};
  if (p.shape.sinks != nullptr) gradients.dsinks = r.dsinks.data();
  attention_backward<T>(p.shape, p.sequences, p.q.data(), r.out.data(), r.lse.data(), p.dout.data(),
                        gradients);
  return r;
}

// The definition, a query and a head at a time.
std::vector<double> naive(const Problem<double>& p, std::vector<double>& lse) {
  const auto& s = p.shape;
  std::vector<double> out(p.q.size(), 0.0);
  lse.assign(static_cast<size_t>(p.rows * s.heads), 0.0);
  for (const auto& sequence : p.sequences) {
    for (int64_t i = 0; i < sequence.q_len; ++i) {
      for (int64_t h = 0; h < s.heads; ++h) {
        const int64_t row = (sequence.q_begin + i) * s.heads + h;
        const int64_t position = sequence.kv_len - sequence.q_len + i;
        const int64_t column = h / (s.heads / s.kv_heads) * s.head_dim;
        double sum = s.sinks != nullptr ? std::exp(s.sinks[h]) : 0.0;
        for (int64_t j = 0; j < sequence.kv_len; ++j) {
          if (s.is_causal && j > position) continue;
          if (s.window > 0 && position - j >= s.window) continue;
          const double* key = sequence.k.plain + j * s.kv_heads * s.head_dim + column;
          double score =
              std::inner_product(key, key + s.head_dim, p.q.data() + row * s.head_dim, 0.0) *
              s.scale;
          if (s.softcap > 0) score = s.softcap * std::tanh(score / s.softcap);
          sum += std::exp(score);
          for (int64_t d = 0; d < s.head_dim; ++d) {
            out[size_t(row * s.head_dim + d)] +=
                std::exp(score) * sequence.v.plain[j * s.kv_heads * s.head_dim + column + d];
          }
        }
        if (sum > 0) {
          for (int64_t d = 0; d < s.head_dim; ++d) out[size_t(row * s.head_dim + d)] /= sum;
        }
        lse[size_t(row)] = std::log(sum);
      }
    }
  }
  return out;
}

// The gradients by their formulas, a pair at a time.
Results<double> naive_gradients(const Problem<double>& p) {
  const auto& s = p.shape;
  Results<double> r;
  r.out = naive(p, r.lse);
  r.dq.assign(p.q.size(), 0.0);
  r.dk.assign(p.k.size(), 0.0);
  r.dv.assign(p.v.size(), 0.0);
  const auto dot = [&](const double* a, const double* b) {
    return std::inner_product(a, a + s.head_dim, b, 0.0);
  };
  for (const auto& sequence : p.sequences) {
    for (int64_t at = 0; at < sequence.q_len * s.heads * sequence.kv_len; ++at) {
      const int64_t j = at % sequence.kv_len;
      const int64_t i = at / sequence.kv_len % sequence.q_len;
      const int64_t h = at / sequence.kv_len / sequence.q_len;
      const int64_t position = sequence.kv_len - sequence.q_len + i;
      if (s.is_causal && j > position) continue;
      if (s.window > 0 && position - j >= s.window) continue;
      const int64_t row = (sequence.q_begin + i) * s.heads + h;
      const double* q = p.q.data() + row * s.head_dim;
      const double* dout = p.dout.data() + row * s.head_dim;
      const int64_t key = (j * s.kv_heads + h / (s.heads / s.kv_heads)) * s.head_dim;
      const int64_t first = sequence.k.plain - p.k.data();
      double score = dot(q, sequence.k.plain + key) * s.scale;
      const double t = s.softcap > 0 ? std::tanh(score / s.softcap) : 0.0;
      if (s.softcap > 0) score = s.softcap * t;
      const double weight = std::exp(score - r.lse[size_t(row)]);
      const double ds =
          weight * s.scale * (1 - t * t) *
          (dot(dout, sequence.v.plain + key) - dot(dout, &r.out[size_t(row * s.head_dim)]));
      for (int64_t d = 0; d < s.head_dim; ++d) {
        r.dq[size_t(row * s.head_dim + d)] += ds * sequence.k.plain[key + d];
        r.dk[size_t(first + key + d)] += ds * q[d];
        r.dv[size_t(first + key + d)] += weight * dout[d];
      }
    }
  }
  return r;
}

template <class T>
void expect_near(const std::vector<T>& got, const std::vector<double>& want, double tolerance,
                 const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (static_cast<double>(got[i]) == want[i]) continue;  // both infinite
    ASSERT_NEAR(got[i], want[i], tolerance * (1 + std::fabs(want[i]))) << what << " at " << i;
  }
}

TEST(Attention, ForwardEqualsTheDefinition) {
  int seen = 0;
  for (const Case& c : cases()) {
    ++seen;
    const Problem<double> p(c);
    std::vector<double> lse;
    const auto want = naive(p, lse);
    const auto got = run(p);
    expect_near(got.out, want, 1e-12, c.name);
    expect_near(got.lse, lse, 1e-12, c.name);
  }
  EXPECT_EQ(seen, 18);
}

TEST(Attention, BackwardEqualsTheDefinition) {
  for (const Case& c : cases()) {
    const Problem<double> p(c);
    const auto want = naive_gradients(p);
    const auto got = run(p);
    expect_near(got.dq, want.dq, 1e-11, c.name);
    expect_near(got.dk, want.dk, 1e-11, c.name);
    expect_near(got.dv, want.dv, 1e-11, c.name);
  }
}

// The loss is sum(out * dout); every input is moved a little up and down.
TEST(Attention, BackwardEqualsFiniteDifferences) {
  for (const Case& c : cases()) {
    Problem<double> p(c);
    // Hundreds of sums over all pairs: the definition above covers the large ones.
    if (p.rows > 200 || (p.rows > 90 && p.kv_rows > 400)) continue;
    const auto r = run(p);
    std::vector<double> ignored;
    const auto loss = [&] {
      const auto out = naive(p, ignored);
      return std::inner_product(out.begin(), out.end(), p.dout.begin(), 0.0);
    };
    const auto check = [&](std::vector<double>& input, const std::vector<double>& gradient,
                           const char* what) {
      const size_t step = std::max<size_t>(1, input.size() / 23);  // some, spread over the tensor
      for (size_t i = 0; i < input.size(); i += step) {
        const double kept = input[i];
        input[i] = kept + 1e-5;
        const double up = loss();
        input[i] = kept - 1e-5;
        const double down = loss();
        input[i] = kept;
        ASSERT_NEAR(gradient[i], (up - down) / 2e-5, 2e-8 * (1 + std::fabs(gradient[i])))
            << c.name << ' ' << what << " at " << i;
      }
    };
    check(p.q, r.dq, "dq");
    check(p.k, r.dk, "dk");
    check(p.v, r.dv, "dv");
    if (c.has_sinks) check(p.sinks, r.dsinks, "dsinks");
  }
}

TEST(Attention, FloatEqualsDouble) {
  for (const Case& c : cases()) {
    const auto want = run(Problem<double>(c));
    const auto got = run(Problem<float>(c));
    expect_near(got.out, want.out, 3e-6, c.name);
    expect_near(got.lse, want.lse, 3e-6, c.name);
    expect_near(got.dq, want.dq, 1e-5, c.name);
    expect_near(got.dk, want.dk, 1e-5, c.name);
    expect_near(got.dv, want.dv, 1e-5, c.name);
    expect_near(got.dsinks, want.dsinks, 1e-5, c.name);
  }
}

template <Arithmetic kArithmetic>
Problem<float> rounded_problem(const Case& c) {
  Problem<float> p(c);
  p.shape.arithmetic = kArithmetic;
  return p;
}

// Root mean squares of the difference and of what is wanted, which counts as 0.3 at least.
double relative_error(const std::vector<float>& got, const std::vector<double>& want) {
  double difference = 0;
  double size = 0.1 * static_cast<double>(got.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (static_cast<double>(got[i]) == want[i]) continue;
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    size += want[i] * want[i];
  }
  return std::sqrt(difference / size);
}

// `bounds` of out, lse and the gradients.
void expect_off_by(Problem<float> (*make)(const Case&), const double (&bounds)[3]) {
  for (const Case& c : cases()) {
    const auto want = run(Problem<double>(c));
    const auto got = run(make(c));
    EXPECT_LT(relative_error(got.out, want.out), bounds[0]) << c.name;
    EXPECT_LT(relative_error(got.lse, want.lse), bounds[1]) << c.name;
    EXPECT_LT(relative_error(got.dq, want.dq), bounds[2]) << c.name;
    EXPECT_LT(relative_error(got.dk, want.dk), bounds[2]) << c.name;
    EXPECT_LT(relative_error(got.dv, want.dv), bounds[2]) << c.name;
    EXPECT_LT(relative_error(got.dsinks, want.dsinks), bounds[2]) << c.name;
  }
}

TEST(Attention, BF16IsOffByItsRounding) {
  expect_off_by(rounded_problem<Arithmetic::kBF16>, {0.01, 0.003, 0.02});
}

TEST(Attention, Tiles8AreOffByTheirRounding) {
  expect_off_by(rounded_problem<Arithmetic::kTiles8>, {0.01, 0.003, 0.03});
}

TEST(Attention, Int16IsOffByItsRounding) {
  expect_off_by(rounded_problem<Arithmetic::kInt16>, {5e-4, 1e-4, 1e-3});
}

// One key takes nearly all of a query's weight, as the first one often does; what the many others
// give must not be rounded away.
TEST(Attention, Int16KeepsSmallWeights) {
  constexpr int64_t kKeys = 384;
  constexpr int64_t kWide = 16;
  std::vector<double> q(kKeys * kWide, 0.0), k(kKeys * kWide, 0.0), v(kKeys * kWide);
  Rng rng(5);
  for (double& x : v) x = 1 + 0.1 * static_cast<double>(static_cast<float>(rng.normal()));
  for (int64_t i = 0; i < kKeys; ++i) q[size_t(i * kWide)] = 3;
  k[0] = 3;  // exp(-9) each for the others, a twentieth of all together
  for (int64_t c = 0; c < kWide; ++c) v[size_t(c)] = 0;
  AttentionShape<double> exact{.head_dim = kWide};
  AttentionShape<float> rounded{.head_dim = kWide, .arithmetic = Arithmetic::kInt16};
  const std::vector<float> qf(q.begin(), q.end()), kf(k.begin(), k.end()), vf(v.begin(), v.end());
  std::vector<double> want(q.size()), lse(kKeys);
  std::vector<float> got(q.size()), lse_f(kKeys);
  attention_forward<double>(
      exact, std::vector<AttentionSequence<double>>{{0, kKeys, k.data(), v.data(), kKeys}},
      q.data(), want.data(), lse.data());
  attention_forward<float>(
      rounded, std::vector<AttentionSequence<float>>{{0, kKeys, kf.data(), vf.data(), kKeys}},
      qf.data(), got.data(), lse_f.data());
  EXPECT_GT(want.back(), 0.04);
  for (size_t i = got.size() - kWide; i < got.size(); ++i) EXPECT_NEAR(got[i] / want[i], 1, 0.02);
}

void expect_same_bits_with_any_threads(Problem<float> (*make)(const Case&)) {
  const int before = thread_count();
  for (const Case& c : cases()) {
    const Problem<float> p = make(c);
    set_thread_count(1);
    const auto one = run(p);
    for (const int threads : {2, 4}) {
      set_thread_count(threads);
      const auto many = run(p);
      EXPECT_EQ(std::memcmp(one.out.data(), many.out.data(), one.out.size() * 4), 0) << c.name;
      EXPECT_EQ(std::memcmp(one.dq.data(), many.dq.data(), one.dq.size() * 4), 0) << c.name;
      EXPECT_EQ(std::memcmp(one.dk.data(), many.dk.data(), one.dk.size() * 4), 0) << c.name;
      EXPECT_EQ(std::memcmp(one.dv.data(), many.dv.data(), one.dv.size() * 4), 0) << c.name;
      EXPECT_EQ(one.dsinks, many.dsinks) << c.name;
    }
  }
  set_thread_count(before);
}

TEST(Attention, BitsDoNotDependOnThreads) {
  expect_same_bits_with_any_threads([](const Case& c) { return Problem<float>(c); });
  expect_same_bits_with_any_threads(rounded_problem<Arithmetic::kBF16>);
  expect_same_bits_with_any_threads(rounded_problem<Arithmetic::kTiles8>);
  expect_same_bits_with_any_threads(rounded_problem<Arithmetic::kInt16>);
}

// So long that all threads merge what they made of its spans.
TEST(Attention, ALongCacheGivesWhatTheDefinitionGivesWithAnyThreads) {
  const Case c{"long", 8, 2, 128, {{1, 3500}, {1, 40}}};
  const Problem<double> exact(c);
  std::vector<double> want(exact.q.size()), want_lse(size_t(exact.rows * c.heads));
  attention_forward<double>(exact.shape, exact.sequences, exact.q.data(), want.data(),
                            want_lse.data());
  const Problem<float> p(c);
  const int before = thread_count();
  std::vector<float> first;
  for (const int threads : {1, 2, 4}) {
    set_thread_count(threads);
    std::vector<float> out(p.q.size()), lse(size_t(p.rows * c.heads));
    attention_forward<float>(p.shape, p.sequences, p.q.data(), out.data(), lse.data());
    expect_near(out, want, 1e-5, c.name);
    expect_near(lse, want_lse, 1e-5, c.name);
    if (first.empty()) first = out;
    EXPECT_EQ(out, first) << threads;
  }
  set_thread_count(before);
}

// Of a cache of halves attention makes, to the bit, what it makes of their values.
TEST(Attention, HalvesGiveWhatTheirValuesGive) {
  for (const Arithmetic arithmetic : {Arithmetic::kF32, Arithmetic::kBF16}) {
    for (const Case& c : cases()) {
      Problem<float> p(c);
      p.shape.arithmetic = arithmetic;
      std::vector<Float16> k, v;
      for (float& x : p.k) x = to_float(k.emplace_back(to_float16(x)));
      for (float& x : p.v) x = to_float(v.emplace_back(to_float16(x)));
      auto halves = p.sequences;
      for (auto& s : halves) {
        s.k = k.data() + (s.k.plain - p.k.data());
        s.v = v.data() + (s.v.plain - p.v.data());
      }
      std::vector<float> want(p.q.size()), got(p.q.size());
      std::vector<float> want_lse(size_t(p.rows * c.heads)), got_lse(want_lse.size());
      attention_forward<float>(p.shape, p.sequences, p.q.data(), want.data(), want_lse.data());
      attention_forward<float>(p.shape, halves, p.q.data(), got.data(), got_lse.data());
      EXPECT_EQ(got, want) << c.name;
      EXPECT_EQ(got_lse, want_lse) << c.name;
    }
  }
}

TEST(Attention, AQueryThatSeesNoKeyGetsZeros) {
  AttentionShape<float> shape{.heads = 1, .kv_heads = 1, .head_dim = 2};
  const std::vector<float> q{1, 2, 3, 4}, kv{5, 6};
  std::vector<float> out(4, 9.0f), lse(2);
  // Two queries, one key: the first query stands before it.
  const std::vector<AttentionSequence<float>> one{{0, 2, kv.data(), kv.data(), 1}};
  attention_forward<float>(shape, one, q.data(), out.data(), lse.data());
  EXPECT_EQ(out, (std::vector<float>{0, 0, 5, 6}));
  EXPECT_EQ(lse[0], -std::numeric_limits<float>::infinity());
  std::vector<float> dq(4, 9.0f), dk(2, 9.0f), dv(2, 9.0f);
  attention_backward<float>(shape, one, q.data(), out.data(), lse.data(), q.data(),
                            {dq.data(), dk.data(), dv.data(), nullptr});
  EXPECT_EQ(dq, (std::vector<float>{0, 0, 0, 0}));
  EXPECT_EQ(dk, (std::vector<float>{0, 0}));
  EXPECT_EQ(dv, (std::vector<float>{3, 4}));
}

}  // namespace
}  // namespace moxie::kernels
