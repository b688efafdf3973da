#include "base/large_heap.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "base/large_pages.h"

namespace moxie {
namespace {

constexpr size_t kMost = size_t{64} << 20;

class LargeHeapTest : public ::testing::Test {
 protected:
  void SetUp() override {
    void* block = heap_.take(1);
    if (block == nullptr) GTEST_SKIP() << "no large pages here, or a build that watches memory";
    heap_.give_back(block, 1);
  }
  LargeHeap heap_{kMost};
};

TEST_F(LargeHeapTest, BlocksAreApartAndKeepWhatIsWritten) {
  struct Block {
    std::byte* at;
    size_t size;
    std::byte mark;
  };
  std::mt19937 random(3);
  std::vector<Block> blocks;
  for (int step = 0; step < 4000; ++step) {
    if (blocks.size() < 40 && random() % 2 == 0) {
      const size_t size = 1 + random() % (size_t{1} << 20);
      auto* at = static_cast<std::byte*>(heap_.take(size));
      ASSERT_NE(at, nullptr) << "40 blocks of at most 1 MiB fit 64 MiB, in pieces too";
      ASSERT_EQ(reinterpret_cast<uintptr_t>(at) % 64, 0u);
      const auto mark = static_cast<std::byte>(step);
      std::memset(at, static_cast<int>(mark), size);
      blocks.push_back({at, size, mark});
    } else if (!blocks.empty()) {
      const size_t which = random() % blocks.size();
      const Block block = blocks[which];
      ASSERT_EQ(block.at[0], block.mark);
      ASSERT_EQ(block.at[block.size - 1], block.mark);
      heap_.give_back(block.at, block.size);
      blocks[which] = blocks.back();
      blocks.pop_back();
    }
    if (step % 500 == 0) heap_.release();
  }
}

TEST_F(LargeHeapTest, WhatIsGivenBackBecomesOnePieceAgain) {
  constexpr size_t kPart = size_t{20} << 20;
  void* parts[3];
  for (void*& part : parts) ASSERT_NE(part = heap_.take(kPart), nullptr);
  EXPECT_EQ(heap_.take(kPart), nullptr) << "64 MiB are no 80";
  heap_.give_back(parts[0], kPart);
  heap_.give_back(parts[2], kPart);
  EXPECT_EQ(heap_.take(3 * kPart), nullptr) << "the middle is taken";
  heap_.give_back(parts[1], kPart);
  void* all = heap_.take(3 * kPart);
  EXPECT_EQ(all, parts[0]);
  heap_.give_back(all, 3 * kPart);
}

TEST_F(LargeHeapTest, GrowsByNoMoreThanIsMissing) {
  const size_t page = kLargePage;
  auto* first = static_cast<std::byte*>(heap_.take(page / 2));
  EXPECT_TRUE(heap_.owns(first));
  EXPECT_TRUE(heap_.owns(first + page - 1)) << "the rest of the large page";
  EXPECT_FALSE(heap_.owns(first + page));
  auto* second = static_cast<std::byte*>(heap_.take(page));
  EXPECT_EQ(second, first + page / 2) << "the rest is part of it";
  EXPECT_FALSE(heap_.owns(first + 2 * page));
}

TEST_F(LargeHeapTest, WhatIsReleasedComesBackCleared) {
  constexpr size_t kSize = 3 * kLargePage;
  auto* block = static_cast<std::byte*>(heap_.take(kSize));
  std::memset(block, 1, kSize);
  heap_.give_back(block, kSize);
  heap_.release();
  ASSERT_EQ(heap_.take(kSize), block);
  EXPECT_EQ(block[0], std::byte{0});
  EXPECT_EQ(block[kSize - 1], std::byte{0});
}

TEST_F(LargeHeapTest, ALimitedAddressSpaceIsLeftToTheUsualHeap) {
  rlimit usual{};
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &usual), 0);
  rlimit limited = usual;
  limited.rlim_cur = size_t{1} << 42;
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &limited), 0);
  LargeHeap heap(kMost);
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &usual), 0);
  EXPECT_EQ(heap.take(1), nullptr);
  EXPECT_FALSE(heap.owns(&heap));
}

}  // namespace
}  // namespace moxie
