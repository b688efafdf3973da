// Large pages in the place of a mapping: the same bytes at the same address, at any time.
#include "io/source_file.h"

#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "base/large_pages.h"
#include "bytes.h"

namespace moxie::io {
namespace {
namespace fs = std::filesystem;

constexpr size_t kBytes = 9 * kLargePage / 2 + 123;  // three whole ones at least, wherever it is

class SourceFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_large_pages()) GTEST_SKIP() << "the system gives no large pages";
    uint32_t state = 1;
    for (auto& byte : content_) byte = static_cast<char>((state = state * 1664525 + 1) >> 24);
    std::ofstream(path_, std::ios::binary) << content_;
  }

  bool holds_content(const SourceFile& file) const {
    const auto bytes = file.bytes();
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()) == content_;
  }

  TempFolder folder_;
  fs::path path_ = folder_ / "file";
  std::string content_ = std::string(kBytes, ' ');
};

TEST_F(SourceFileTest, SettlesAFewPagesACall) {
  const auto file = SourceFile::open(path_);
  const std::byte* before = file->bytes().data();
  int calls = 0;
  while (file->settle(100)) {
    ++calls;
    EXPECT_TRUE(holds_content(*file));
  }
  EXPECT_GE(calls, 3);
  EXPECT_LE(calls, 4);
  EXPECT_EQ(file->bytes().data(), before);
  EXPECT_FALSE(file->settle(100));
}

TEST_F(SourceFileTest, SettledBytesNeedTheFileNoLonger) {
  const auto file = SourceFile::open(path_);
  ASSERT_TRUE(file->settle(1));
  EXPECT_FALSE(file->settle(1));
  std::ofstream(path_, std::ios::in | std::ios::binary).seekp(kBytes / 2).write("changed", 7);
  EXPECT_TRUE(holds_content(*file));
}

TEST_F(SourceFileTest, AFileCutShortIsLeftAsItIs) {
  const auto file = SourceFile::open(path_);
  fs::resize_file(path_, kLargePage / 2);
  EXPECT_FALSE(file->settle(1));
  EXPECT_EQ(static_cast<char>(file->bytes()[77]), content_[77]);
  expect_error(ErrorCode::kCorruptData, "cut it short", [&] { file->require_whole(); });
}

TEST_F(SourceFileTest, OthersMayReadMeanwhile) {
  const auto file = SourceFile::open(path_);
  std::atomic<bool> stops = false;
  std::atomic<int> reads = 0, failures = 0;
  std::thread reader([&] {
    while (!stops || reads < 2) {
      failures += holds_content(*file) ? 0 : 1;
      ++reads;
    }
  });
  while (file->settle(100)) {
  }
  stops = true;
  reader.join();
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace moxie::io
