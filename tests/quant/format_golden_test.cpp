#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "quant/format.h"
#include "quant/weight.h"

// Against blocks and values made by the gguf package and by libggml: tests/golden/quant/make.py.
namespace moxie::quant {
namespace {

std::string read(const std::string& name) {
  std::ifstream file(std::string(MOXIE_SOURCE_DIR) + "/tests/golden/quant/" + name,
                     std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> floats(const std::string& bytes) {
  std::vector<float> out(bytes.size() / 4);
  std::memcpy(out.data(), bytes.data(), out.size() * 4);
  return out;
}

TEST(FormatsGolden, DecodeEqualsGgufBitForBit) {
  int seen = 0;
  for (const auto& row : formats()) {
    const std::string blocks = read(std::string(row.name) + ".blocks");
    if (blocks.empty()) continue;
    ++seen;
    const auto want = floats(read(std::string(row.name) + ".f32"));
    std::vector<float> got(want.size());
    ASSERT_EQ(blocks.size(),
              static_cast<size_t>(row_bytes(*row.entry, static_cast<int64_t>(want.size()))))
        << row.name;
    row->decode(reinterpret_cast<const std::byte*>(blocks.data()), got.data(),
                static_cast<int64_t>(got.size()));
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(std::memcmp(&got[i], &want[i], 4), 0)
          << row.name << " at " << i << ": " << got[i] << " for " << want[i];
    }
  }
  EXPECT_EQ(seen, 17);  // all but f32
}

// Every format as a weight of 2 rows repeated 9 times: the products against those in double.
TEST(FormatsGolden, ProductsOfEveryFormatEqualTheDoubleOnes) {
  int seen = 0;
  for (const auto& row : formats()) {
    const std::string blocks = read(std::string(row.name) + ".blocks");
    const auto two_rows = static_cast<size_t>(row_bytes(*row.entry, 512));
    if (blocks.size() < two_rows) continue;
    ++seen;
    std::string repeated;
    for (int i = 0; i < 9; ++i) repeated.append(blocks, 0, two_rows);
    const Weight w(row, 18, 256, reinterpret_cast<const std::byte*>(repeated.data()), nullptr);
    for (const int64_t n : {1, 4, 5, 13}) {
      std::vector<float> x(static_cast<size_t>(n * 256));
      for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
      const std::vector<double> x64(x.begin(), x.end());
      std::vector<float> y(static_cast<size_t>(n * 18)), dx(x.size());
      std::vector<double> y64(y.size()), dx64(x.size());
      w.matmul(x.data(), n, y.data());
      w.matmul(x64.data(), n, y64.data());
      w.matmul_transposed(x.data(), n, dx.data());
      w.matmul_transposed(x64.data(), n, dx64.data());
      float largest = 0;
      const Tensor values = w.decode();
      for (const float v : values.span<float>()) largest = std::max(largest, std::fabs(v));
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], y64[i], 1e-5 * largest) << row.name << " n = " << n;
      }
      for (size_t i = 0; i < dx.size(); ++i) {
        ASSERT_NEAR(dx[i], dx64[i], 1e-5 * largest) << row.name << " n = " << n;
      }
    }
  }
  EXPECT_EQ(seen, 17);
}

TEST(FormatsGolden, EncodeEqualsGgufWhereGgufDefinesIt) {
  const auto input = floats(read("input.f32"));
  const auto n = static_cast<int64_t>(input.size());
  int seen = 0;
  for (const auto& row : formats()) {
    const std::string want = read(std::string(row.name) + ".encoded");
    if (want.empty()) continue;
    ++seen;
    std::string got(want.size(), '\0');
    ASSERT_EQ(got.size(), static_cast<size_t>(row_bytes(*row.entry, n))) << row.name;
    row->encode(input.data(), reinterpret_cast<std::byte*>(got.data()), n);
    for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], want[i]) << row.name << " at " << i;
  }
  EXPECT_EQ(seen, 8);
}

TEST(FormatsGolden, ErrorIsNoLargerThanLlamaCppLeaves) {
  const auto input = floats(read("input.f32"));
  const auto n = static_cast<int64_t>(input.size());
  const Json errors = Json::parse(read("errors.json"));
  for (const auto& [name, theirs] : errors.items()) {
    const auto& row = require_row(formats(), "format", name);
    std::vector<std::byte> bytes(static_cast<size_t>(row_bytes(*row.entry, n)));
    row->encode(input.data(), bytes.data(), n);
    std::vector<float> out(input.size());
    row->decode(bytes.data(), out.data(), n);
    double error = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      error += (double(out[i]) - input[i]) * (double(out[i]) - input[i]);
    }
    EXPECT_LE(std::sqrt(error / static_cast<double>(n)), theirs.get<double>() * 1.0001) << name;
  }
  EXPECT_EQ(errors.size(), 7u);
}

}  // namespace
}  // namespace moxie::quant
