// The GGUF reader on well-formed files: a crafted one of every value type, and the model that the
// quickstart uses where it is at hand.
#include "io/gguf.h"

#include <cmath>
#include <cstdlib>

#include "base/files.h"
#include "bytes.h"

namespace moxie::io {
namespace {

std::string every_type(uint32_t version) {
  Bytes file;
  file.raw("GGUF").u32(version).u64(2).u64(14);
  file.str("u8").u32(0).put(uint8_t{200});
  file.str("i8").u32(1).put(int8_t{-100});
  file.str("u16").u32(2).put(uint16_t{60000});
  file.str("i16").u32(3).put(int16_t{-30000});
  file.str("u32").u32(4).u32(4000000000u);
  file.str("i32").u32(5).put(int32_t{-2000000000});
  file.str("f32").u32(6).put(1.5f);
  file.str("bool").u32(7).put(uint8_t{1});
  file.str("text").u32(8).str("hello");
  file.str("list").u32(9).u32(8).u64(2).str("a").str("");
  file.str("u64").u32(10).u64(uint64_t{1} << 63);
  file.str("i64").u32(11).put(int64_t{-5});
  file.str("f64").u32(12).put(0.25);
  file.str("general.alignment").u32(4).u32(64);
  file.str("a").u32(2).u64(3).u64(2).u32(0).u64(0);
  file.str("b").u32(1).u64(32).u32(3).u64(64);
  file.pad(64);
  for (int i = 0; i < 6; ++i) file.put(static_cast<float>(i));
  file.pad(64).put(uint16_t{0x3C00}).put(uint16_t{0xC000}).zeros(16);  // scale 1, minimum -2
  return file.text();
}

TEST(Gguf, ReadsEveryValueType) {
  for (const uint32_t version : {2u, 3u}) {
    const auto file = parse_gguf(every_type(version));
    EXPECT_EQ(file->version(), version);
    EXPECT_EQ(file->metadata().size(), 14u);
    EXPECT_EQ(file->get_int("u8"), 200);
    EXPECT_EQ(file->get_int("i8"), -100);
    EXPECT_EQ(file->get_int("u16"), 60000);
    EXPECT_EQ(file->get_int("i16"), -30000);
    EXPECT_EQ(file->get_int("u32"), 4000000000);
    EXPECT_EQ(file->get_int("i32"), -2000000000);
    EXPECT_EQ(file->get_float("f32"), 1.5);
    EXPECT_EQ(file->get_bool("bool"), true);
    EXPECT_EQ(file->get_string("text"), "hello");
    EXPECT_EQ(*file->get_strings("list"), (std::vector<std::string>{"a", ""}));
    EXPECT_EQ(file->get_int("i64"), -5);
    EXPECT_EQ(file->get_float("f64"), 0.25);
    EXPECT_EQ(file->type_of(0), GgufType::kU8);
  }
}

TEST(Gguf, LookUpsTellAbsentFromWrongType) {
  const auto file = parse_gguf(every_type(3));
  EXPECT_FALSE(file->has("nothing"));
  EXPECT_EQ(file->get_int("nothing"), std::nullopt);
  EXPECT_EQ(file->get_strings("nothing"), nullptr);
  const auto wrong = [&](auto&& f) { expect_error(ErrorCode::kCorruptData, "is not", f); };
  wrong([&] { file->get_int("text"); });
  wrong([&] { file->get_int("u64"); });  // beyond int64
  wrong([&] { file->get_float("u8"); });
  wrong([&] { file->get_bool("u8"); });
  wrong([&] { file->get_string("u8"); });
  wrong([&] { file->get_ints("list"); });
  wrong([&] { file->get_floats("list"); });
  wrong([&] { file->get_bools("list"); });
  wrong([&] { file->get_strings("text"); });
  expect_error(ErrorCode::kCorruptData, "missing", [&] { file->require_int("nothing"); });
  expect_error(ErrorCode::kCorruptData, "missing", [&] { file->require_string("nothing"); });
  expect_error(ErrorCode::kCorruptData, "missing", [&] { file->require_float("nothing"); });
}

TEST(Gguf, TensorsHaveShapeTypeAndValues) {
  const auto file = parse_gguf(every_type(3));
  ASSERT_EQ(file->tensors().size(), 2u);
  const StoredTensor* a = file->find_tensor("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->dims, (std::vector<int64_t>{2, 3}));  // the file says 3 x 2, fastest first
  EXPECT_EQ(a->type_name, "F32");
  EXPECT_EQ(a->as_f32().data<float>()[5], 5.0f);
  EXPECT_EQ(a->as_weight().rows(), 2);
  EXPECT_EQ(a->as_tensor().dtype(), DType::kF32);
  const StoredTensor* b = file->find_tensor("b");
  EXPECT_EQ(b->type_name, "Q4_1");
  EXPECT_EQ(b->bytes.size(), 20u);
  for (const float value : b->as_f32().span<float>()) EXPECT_EQ(value, -2.0f);
  EXPECT_EQ(file->find_tensor("c"), nullptr);
  expect_error(ErrorCode::kUnsupported, "Q4_1", [&] { b->as_tensor(); });
  expect_error(ErrorCode::kCorruptData, "two", [&] { b->as_weight(); });
}

TEST(Gguf, ReadsTheQuickstartModel) {
  const auto path = cache_folder() / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const auto file = GgufFile::open(path);
  EXPECT_EQ(file->require_string("general.architecture"), "llama");
  EXPECT_EQ(file->require_int("llama.block_count"), 30);
  ASSERT_NE(file->get_strings("tokenizer.ggml.tokens"), nullptr);
  EXPECT_EQ(file->get_strings("tokenizer.ggml.tokens")->size(), 49152u);
  EXPECT_EQ(file->tensors().size(), 272u);
  const StoredTensor* norm = file->find_tensor("output_norm.weight");
  ASSERT_NE(norm, nullptr);
  EXPECT_EQ(norm->type_name, "F32");
  EXPECT_EQ(norm->dims, std::vector<int64_t>{576});
  const StoredTensor* up = file->find_tensor("blk.0.ffn_up.weight");
  ASSERT_NE(up, nullptr);
  EXPECT_EQ(up->dims, (std::vector<int64_t>{1536, 576}));
  double squares = 0;
  const Tensor values = up->as_f32();
  for (const float value : values.span<float>()) squares += double{value} * value;
  const double rms = std::sqrt(squares / static_cast<double>(values.count()));
  EXPECT_GT(rms, 0.01);  // a trained projection of this width; misread blocks are far outside
  EXPECT_LT(rms, 0.5);
}

}  // namespace
}  // namespace moxie::io
