// What a sequence's state holds after appending, growing and cutting back, in f32 and in f16.
#include "nn/state.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"

namespace moxie::nn {
namespace {

constexpr int64_t kWidth = 20;

std::vector<float> rows(int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(count * kWidth));
  for (float& x : values) x = static_cast<float>(rng.normal());
  return values;
}

std::vector<float> held(const SequenceState& state, const kernels::KeyRows<float>& view,
                        int64_t count) {
  EXPECT_EQ(view.halves == nullptr, state.dtype() == DType::kF32);
  EXPECT_NE(view.halves == nullptr, view.plain == nullptr);
  std::vector<float> values;
  for (int64_t i = 0; i < count * kWidth; ++i)
    values.push_back(view.halves == nullptr ? view.plain[i] : to_float(view.halves[i]));
  return values;
}

std::vector<float> rounded(std::vector<float> values, DType dtype) {
  if (dtype == DType::kF16) {
    for (float& x : values) x = to_float(to_float16(x));
  }
  return values;
}

void append(SequenceState& state, int64_t count, const std::vector<float>& keys,
            const std::vector<float>& values) {
  for (int64_t layer = 0; layer < 2; ++layer) {
    const auto& first = layer == 0 ? keys : values;  // the layers hold different things
    const auto& second = layer == 0 ? values : keys;
    state.append(layer, count, first.data(), second.data());
  }
  state.advance(count);
}

TEST(SequenceState, HoldsWhatWasAppendedThroughGrowthTruncationAndCopies) {
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    SequenceState state(2, kWidth, dtype);
    std::vector<float> keys, values;
    uint64_t seed = 1;
    for (const int64_t count : {3, 1, 90, 1, 300}) {  // grows beyond 64, 128 and 256 rows
      const auto k = rows(count, ++seed), v = rows(count, ++seed);
      append(state, count, k, v);
      keys.insert(keys.end(), k.begin(), k.end());
      values.insert(values.end(), v.begin(), v.end());
    }
    ASSERT_EQ(state.length(), 395);
    EXPECT_EQ(held(state, state.keys(0), 395), rounded(keys, dtype));
    EXPECT_EQ(held(state, state.values(0), 395), rounded(values, dtype));
    EXPECT_EQ(held(state, state.keys(1), 395), rounded(values, dtype));

    state.truncate(1000);
    EXPECT_EQ(state.length(), 395) << "cutting back does not lengthen";
    state.truncate(70);
    const auto k = rows(2, 77), v = rows(2, 78);
    append(state, 2, k, v);
    keys.resize(70 * kWidth);
    keys.insert(keys.end(), k.begin(), k.end());
    EXPECT_EQ(state.length(), 72);
    EXPECT_EQ(held(state, state.keys(0), 72), rounded(keys, dtype));
  }
}

TEST(SequenceState, HalvesSaturateAndANanStaysOne) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> values(kWidth, 1.0f);
  values[0] = 65504, values[1] = 65519, values[2] = 65520, values[3] = 1e30f, values[4] = inf;
  values[5] = -1e6f, values[6] = -inf, values[7] = std::nanf(""), values[19] = -70000;
  SequenceState state(2, kWidth, DType::kF16);
  append(state, 1, values, values);
  const auto got = held(state, state.keys(1), 1);
  for (const size_t i : {0, 1, 2, 3, 4}) EXPECT_EQ(got[i], 65504) << i;
  for (const size_t i : {5, 6, 19}) EXPECT_EQ(got[i], -65504) << i;
  EXPECT_TRUE(std::isnan(got[7]));
  EXPECT_EQ(got[8], 1);
  SequenceState exact(2, kWidth, DType::kF32);
  append(exact, 1, values, values);
  EXPECT_EQ(held(exact, exact.keys(0), 1)[3], 1e30f);
}

}  // namespace
}  // namespace moxie::nn
