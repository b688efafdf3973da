#include "quant/format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <vector>

#include "base/rng.h"
#include "kernels/micro_tiles.h"
#include "normals.h"
#include "quant/codec.h"
#include "tensor/dtype.h"

// Every row of the table proves what it promises.
namespace moxie::quant {
namespace {

constexpr int kFormats = 18;
constexpr int kWritable = 11;

std::vector<float> round_trip(const QuantFormat& format, const std::vector<float>& x) {
  const auto n = static_cast<int64_t>(x.size());
  // Exactly the promised bytes, so that the address sanitizer sees a step beyond.
  std::vector<std::byte> bytes(static_cast<size_t>(row_bytes(format, n)));
  format.encode(x.data(), bytes.data(), n);
  std::vector<float> out(x.size());
  format.decode(bytes.data(), out.data(), n);
  return out;
}

TEST(Formats, TableIsCompleteAndConsistent) {
  std::set<int> types;
  int writable = 0;
  for (const auto& row : formats()) {
    EXPECT_TRUE(types.insert(row->gguf_type).second) << row.name;
    EXPECT_EQ(find_format(row->gguf_type), &row);
    EXPECT_GT(row->block, 0);
    EXPECT_GT(row->bytes, 0);
    EXPECT_NE(row->decode, nullptr);
    EXPECT_EQ(row->encode != nullptr, row->is_writable) << row.name;
    EXPECT_EQ(row_bytes(*row.entry, 3 * row->block), 3 * row->bytes);
    writable += row->is_writable ? 1 : 0;
  }
  EXPECT_EQ(types.size(), static_cast<size_t>(kFormats));
  EXPECT_EQ(writable, kWritable);
  EXPECT_EQ(find_format(4), nullptr);
}

TEST(Formats, RoundTripKeepsThePromisedError) {
  int seen = 0;
  for (const auto& row : formats()) {
    if (!row->is_writable) continue;
    ++seen;
    const auto x = normals(64 * 256, 5);
    const auto y = round_trip(*row.entry, x);
    double error = 0, size = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      error += (double(y[i]) - x[i]) * (double(y[i]) - x[i]);
      size += double(x[i]) * x[i];
    }
    const double rmse = std::sqrt(error / size);
    EXPECT_LE(rmse, row->max_rmse) << row.name;
    EXPECT_GE(rmse, 0.85 * row->max_rmse) << row.name << " promises too little";
  }
  EXPECT_EQ(seen, kWritable);
}

TEST(Formats, EncodingWhatWasDecodedLosesNothingMore) {
  for (const auto& row : formats()) {
    if (!row->is_writable) continue;
    const auto once = round_trip(*row.entry, normals(512, 6));
    const auto twice = round_trip(*row.entry, once);
    for (size_t i = 0; i < once.size(); ++i) {
      EXPECT_NEAR(twice[i], once[i], 0.25 * row->max_rmse) << row.name << " at " << i;
    }
  }
}

TEST(Formats, EncodeAnythingWithoutUndefinedBehaviour) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const auto& row : formats()) {
    if (!row->is_writable) continue;
    for (const float odd : {0.0f, inf, -inf, std::nanf(""), 1e30f, 1e-40f, -1e-30f}) {
      auto x = normals(512, 7);
      x[3] = odd;
      std::fill(x.begin() + 256, x.end(), odd);
      const auto y = round_trip(*row.entry, x);
      if (odd == 0.0f) {
        for (size_t i = 256; i < 512; ++i) EXPECT_EQ(y[i], 0.0f) << row.name;
      }
    }
  }
}

// The running instruction set against plain code: all bytes are valid blocks.
TEST(Formats, DecodeIsTheSameInPieces) {
  Rng rng(8);
  for (const auto& row : formats()) {
    std::vector<std::byte> bytes(static_cast<size_t>(6 * row->bytes));
    for (auto& b : bytes) b = static_cast<std::byte>(rng.next() & 0xFF);
    std::vector<float> whole(static_cast<size_t>(6 * row->block)), pieces(whole.size());
    row->decode(bytes.data(), whole.data(), 6 * row->block);
    for (int b = 0; b < 6; ++b) {
      row->decode(bytes.data() + b * row->bytes, pieces.data() + b * row->block, row->block);
    }
    EXPECT_EQ(std::memcmp(whole.data(), pieces.data(), whole.size() * 4), 0) << row.name;
  }
}

TEST(Formats, DecodingToBF16RoundsWhatDecodingGives) {
  int checked = 0;
  for (const auto& row : formats()) {
    const QuantFormat& format = *row.entry;
    if (format.bf16 == nullptr) continue;
    ++checked;
    if (!has_bf16_tiles()) continue;
    const int64_t n = 100 * 256;
    Rng rng(5);
    std::vector<std::byte> bytes(static_cast<size_t>(row_bytes(format, n)));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(rng.next() & 255);
    std::vector<float> exact(static_cast<size_t>(n));
    std::vector<BFloat16> rounded(exact.size());
    format.decode(bytes.data(), exact.data(), n);
    format.bf16->decode(bytes.data(), row_bytes(format, n), 1, 0, n / 32, rounded.data());
    for (size_t i = 0; i < rounded.size(); ++i) {
      if (std::isnan(exact[i])) {
        ASSERT_TRUE(std::isnan(to_float(rounded[i]))) << row.name << " at " << i;
      } else if (std::fabs(exact[i]) >= 0x1p-126f) {
        ASSERT_EQ(rounded[i].bits, to_bfloat16(exact[i]).bits) << row.name << " at " << i;
      }
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  EXPECT_EQ(checked, 8);
#endif
}

// Tiles of a decoder are those that packing its rows gives.
TEST(Formats, TilesOfBF16HoldWhatDecodingGives) {
  if (!has_bf16_tiles()) GTEST_SKIP() << "this CPU, or MOXIE_ISA, has no bf16 products";
  constexpr int64_t kRows = 40, kCols = 768, kGroups = kCols / 32;
  const kernels::MicroTiles& plain = kernels::kMicroBF16Scalar;
  for (const auto& row : formats()) {
    const QuantFormat& format = *row.entry;
    if (format.bf16 == nullptr) continue;
    const int64_t stride = row_bytes(format, kCols);
    std::vector<std::byte> bytes(static_cast<size_t>(kRows * stride));
    Rng rng(7);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(rng.next() & 255);
    std::vector<BFloat16> rows(static_cast<size_t>(kRows * kCols));
    format.bf16->decode(bytes.data(), stride, kRows, 0, kGroups, rows.data());
    const auto expect_same = [&](auto pack, auto pack_plain, const char* what) {
      std::vector<BFloat16> got(static_cast<size_t>(kGroups * kernels::kTilePair)), wanted(got);
      pack(got.data());
      pack_plain(wanted.data());
      EXPECT_EQ(std::memcmp(got.data(), wanted.data(), 2 * got.size()), 0)
          << row.name << " " << what;
    };
    for (const int64_t first : {0, 8}) {
      const int64_t count = kGroups - first;
      for (const int64_t lines : {16, 5}) {
        expect_same(
            [&](BFloat16* to) {
              format.bf16->along(bytes.data() + 3 * stride, stride, lines, first, kGroups, to);
            },
            [&](BFloat16* to) {
              plain.along_bf16(rows.data() + 3 * kCols + first * 32, kCols, lines, count * 32,
                               kernels::Side::kB, to);
            },
            "along");
      }
      for (const int64_t lines : {32, 7}) {
        expect_same(
            [&](BFloat16* to) {
              format.bf16->across(bytes.data() + 8 * stride, stride, lines, first, kGroups,
                                  kernels::kTilePair, to);
            },
            [&](BFloat16* to) {
              for (int64_t g = first; g < kGroups; ++g, to += kernels::kTilePair)
                plain.across_bf16(rows.data() + 8 * kCols + g * 32, kCols, 32, lines,
                                  kernels::Side::kB, to);
            },
            "across");
      }
    }
  }
}

TEST(Formats, HalfPrecisionIsExactForAllValues) {
  const auto& f16 = *require_row(formats(), "format", "f16").entry;
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  std::vector<float> out(all.size());
  f16.decode(reinterpret_cast<const std::byte*>(all.data()), out.data(), 65536);
  for (size_t i = 0; i < all.size(); ++i) {
    const float want = to_float(Float16{all[i]});
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(out[i])) << i;
      continue;
    }
    ASSERT_EQ(std::memcmp(&out[i], &want, 4), 0) << i;
    ASSERT_EQ(half_to_float(all[i]), want) << i;
  }
}

}  // namespace
}  // namespace moxie::quant
