// Amounts of memory in words, and the choice that keeps to one.
#include "recipes/ram.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace moxie::recipes {
namespace {

TEST(Ram, AmountsInWords) {
  EXPECT_EQ(parse_ram("8G"), uint64_t{8} << 30);
  EXPECT_EQ(parse_ram("1.5GiB"), uint64_t{3} << 29);
  EXPECT_EQ(parse_ram("600M"), uint64_t{600} << 20);
  EXPECT_NEAR(static_cast<double>(parse_ram("50%")), static_cast<double>(parse_ram("100%")) / 2, 1);
  EXPECT_GT(parse_ram("auto"), uint64_t{1} << 20);
  EXPECT_LE(parse_ram("auto"), parse_ram("100%"));
  for (const char* bad :
       {"", "8", "G", "-1G", "101%", "0G", "1e99G", "8K", "nanG", "8GG", "8GallonsB"})
    EXPECT_THROW(parse_ram(bad), Error) << bad;
}

// A megabyte a token, a quarter of it when values are computed again.
uint64_t memory(const RamChoice& choice) {
  return static_cast<uint64_t>(choice.micro_tokens) << (choice.recomputes ? 18 : 20);
}

RamChoice fit(uint64_t mib, RamChoice wanted = {1024, false}) {
  return fit_ram(mib << 20, wanted, 100, memory, [] {
    return std::vector<RamSetting>{
        {"--length {}", 100, 10, [](int64_t n) { return static_cast<uint64_t>(n) << 18; }},
        {"--rank {}", 8, 1, [](int64_t n) { return static_cast<uint64_t>(20 + n) << 20; }}};
  });
}

TEST(Ram, TakesTheFastestChoiceThatFits) {
  EXPECT_EQ(fit(2000).micro_tokens, 1024);
  EXPECT_FALSE(fit(2000).recomputes);
  EXPECT_EQ(fit(600).micro_tokens, 512);  // smaller micro-batches cost less time than recomputing
  EXPECT_FALSE(fit(600).recomputes);
  EXPECT_EQ(fit(120).micro_tokens, 100);
  EXPECT_FALSE(fit(120).recomputes);
  EXPECT_TRUE(fit(90).recomputes);
  EXPECT_EQ(fit(90).micro_tokens, 256);  // a quarter: 64 of 90 x 0.92
  EXPECT_TRUE(fit(2000, {1024, true}).recomputes) << "what was asked for stays";
  try {
    fit(20);
    FAIL() << "25 MiB do not fit into 20";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "[ram] this run takes at least 27.2 MiB, and --ram allows 20.0 MiB; give --ram "
                 "28M, or --length 50 (about 12.5 MiB)");
  }
  const auto error_at = [](uint64_t mib) {
    try {
      fit(mib);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("it fits");
  };
  EXPECT_NE(error_at(26).find("or --length 50 (about 12.5 MiB), or --rank 2 (about 22.0 MiB)"),
            std::string::npos)
      << "what fits at half and what fits only at a quarter: " << error_at(26);
  EXPECT_NE(error_at(2).find("28M; no --length or --rank alone makes it fit"), std::string::npos)
      << error_at(2);
}

}  // namespace
}  // namespace moxie::recipes
