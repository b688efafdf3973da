// Rules G1 to G11 of docs/hardening.md, each with its crafted file: a typed error within a second,
// and no memory beyond the file's size plus a constant.
#include "bytes.h"
#include "memory.h"

namespace moxie::io {
namespace {

constexpr uint32_t kU8 = 0, kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9,
                   kI8 = 1;
constexpr uint64_t kSizeMax = UINT64_MAX;

// A version 3 file of these metadata entries and tensors, with `data` bytes behind.
std::string gguf(uint64_t entries, const Bytes& metadata, uint64_t tensors = 0,
                 const Bytes& infos = {}, size_t data = 0) {
  Bytes file;
  file.raw("GGUF").u32(3).u64(tensors).u64(entries).raw(metadata.text()).raw(infos.text());
  if (tensors > 0) file.pad(32).zeros(data);
  return file.text();
}

Bytes tensor(std::string_view name, std::initializer_list<uint64_t> ne, uint32_t type,
             uint64_t offset) {
  Bytes info;
  info.str(name).u32(static_cast<uint32_t>(ne.size()));
  for (const uint64_t dim : ne) info.u64(dim);
  return info.u32(type).u64(offset);
}

void expect_corrupt(std::string_view part, const std::string& file) {
  // What the parser holds at its peak is the file's size and a little: the message, the map.
  const int64_t peak =
      peak_heap_of([&] { expect_error(ErrorCode::kCorruptData, part, [&] { parse_gguf(file); }); });
  EXPECT_LT(peak, static_cast<int64_t>(2 * file.size()) + (64 << 10)) << part;
}

TEST(GgufHardening, G1MagicAndVersion) {
  expect_corrupt("the magic needs 4", "");
  expect_corrupt("letters GGUF", std::string("GGML\3\0\0\0", 8));
  for (const uint32_t version : {0u, 1u, 4u}) {
    expect_corrupt("versions 2 and 3", Bytes().raw("GGUF").u32(version).u64(0).u64(0).text());
  }
  expect_corrupt("big-endian", Bytes().raw("GGUF").u32(0x03000000).u64(0).u64(0).text());
  EXPECT_NO_THROW(parse_gguf(gguf(0, {})));
}

TEST(GgufHardening, G2CountsFitWhatRemains) {
  for (const uint64_t count : {kSizeMax, uint64_t{1} << 60, uint64_t{2}}) {
    expect_corrupt("metadata entries", gguf(count, Bytes().zeros(20)));
    expect_corrupt("tensors", Bytes().raw("GGUF").u32(3).u64(count).u64(0).zeros(40).text());
  }
}

TEST(GgufHardening, G3StringLengths) {
  for (const uint64_t length : {uint64_t{1'000'000'000'000}, kSizeMax, kSizeMax - 7}) {
    expect_corrupt("a key claims", gguf(1, Bytes().u64(length).zeros(8)));
    expect_corrupt("k claims", gguf(1, Bytes().str("k").u32(kString).u64(length)));
  }
  expect_corrupt("k needs 5 bytes but 4",
                 gguf(1, Bytes().str("k").u32(kString).u64(5).raw("abcd")));
  expect_corrupt("k claims 67108865", gguf(1, Bytes().str("k").u32(kString).u64((64 << 20) + 1)));
  expect_corrupt("an empty key", gguf(1, Bytes().str("").u32(kString).str("x")));
  expect_corrupt("a key claims 65536",
                 gguf(1, Bytes().str(std::string(65536, 'k')).u32(kU8).zeros(1)));
  EXPECT_NO_THROW(parse_gguf(gguf(1, Bytes().str(std::string(65535, 'k')).u32(kU8).zeros(1))));
  for (const auto* key : {"a\n", "k\xC3\xBC", "\x7F"}) {
    expect_corrupt("printable ASCII", gguf(1, Bytes().str(key).u32(kU8).zeros(1)));
  }
}

TEST(GgufHardening, G4Arrays) {
  expect_corrupt("array of arrays",
                 gguf(1, Bytes().str("k").u32(kArray).u32(kArray).u64(1).zeros(12)));
  expect_corrupt("value type 13", gguf(1, Bytes().str("k").u32(13).zeros(8)));
  expect_corrupt("value type 13", gguf(1, Bytes().str("k").u32(kArray).u32(13).u64(0)));
  for (const uint64_t count : {kSizeMax, (uint64_t{1} << 62) + 1, uint64_t{3}}) {
    expect_corrupt("elements", gguf(1, Bytes().str("k").u32(kArray).u32(kU32).u64(count).zeros(8)));
    expect_corrupt("elements",
                   gguf(1, Bytes().str("k").u32(kArray).u32(kString).u64(count).zeros(16)));
  }
  expect_corrupt("a bool with the value 2", gguf(1, Bytes().str("k").u32(kBool).put(uint8_t{2})));
  expect_corrupt("a bool with the value 255",
                 gguf(1, Bytes().str("k").u32(kArray).u32(kBool).u64(1).put(uint8_t{255})));
}

// Decoded, an empty string takes four times its eight bytes: the number of elements is what bounds
// it.
TEST(GgufHardening, G4ArraysDecodeIntoAConstant) {
  const size_t count = (size_t{8} << 20) + 1;
  const std::string file =
      gguf(1, Bytes().str("k").u32(kArray).u32(kString).u64(count).zeros(8 * count));
  expect_corrupt("its arrays hold more than 8388608", file);
}

TEST(GgufHardening, G5DuplicatesAreRefusedInLinearTime) {
  expect_corrupt("'k' stands twice",
                 gguf(2, Bytes().str("k").u32(kU8).zeros(1).str("k").u32(kU8).zeros(1)));
  Bytes million, most;
  for (int i = 0; i < 1'000'000; ++i) million.str("same").u32(kU8).zeros(1);
  expect_corrupt("more than 65536", gguf(1'000'000, million));
  for (int i = 0; i < 65535; ++i) most.str("key" + std::to_string(i)).u32(kU8).zeros(1);
  most.str("key0").u32(kU8).zeros(1);
  expect_error(ErrorCode::kCorruptData, "'key0' stands twice",
               [&] { parse_gguf(gguf(65536, most)); });
  const Bytes one = tensor("t", {8}, 0, 0);
  expect_corrupt("the tensor 't' stands twice",
                 gguf(0, {}, 2, Bytes().raw(one.text()).raw(tensor("t", {8}, 0, 32).text()), 64));
}

TEST(GgufHardening, G6Alignment) {
  const std::string key = "general.alignment";
  for (const uint32_t value : {0u, 1u, 13u, 48u, 1u << 21, 0x80000000u}) {
    expect_corrupt("power of two", gguf(1, Bytes().str(key).u32(kU32).u32(value)));
  }
  expect_corrupt("unsigned 32-bit", gguf(1, Bytes().str(key).u32(kI32).u32(32)));
  expect_corrupt("unsigned 32-bit", gguf(1, Bytes().str(key).u32(kString).str("32")));
  EXPECT_NO_THROW(parse_gguf(gguf(1, Bytes().str(key).u32(kU32).u32(1 << 20))));
}

TEST(GgufHardening, G7RankNameAndZeroDimensions) {
  expect_corrupt("4294967295 dimensions",
                 gguf(0, {}, 1, Bytes().str("t").u32(0xFFFFFFFF).zeros(64), 64));
  expect_corrupt("5 dimensions", gguf(0, {}, 1, tensor("t", {1, 1, 1, 1, 1}, 0, 0), 64));
  expect_corrupt("dimension of zero", gguf(0, {}, 1, tensor("t", {4, 0}, 0, 0), 64));
  expect_corrupt("dimension of zero", gguf(0, {}, 1, tensor("t", {0}, 3, 0), 64));
  expect_corrupt("name claims 64", gguf(0, {}, 1, tensor(std::string(64, 'n'), {1}, 0, 0), 64));
  expect_corrupt("without a name", gguf(0, {}, 1, tensor("", {1}, 0, 0), 64));
  EXPECT_NO_THROW(parse_gguf(gguf(0, {}, 1, tensor(std::string(63, 'n'), {1}, 0, 0), 4)));
}

TEST(GgufHardening, G8NoProductWrapsAround) {
  const uint64_t big = uint64_t{1} << 62;
  expect_corrupt("beyond 63 bits", gguf(0, {}, 1, tensor("t", {big, 4}, 24, 0), 64));
  expect_corrupt("beyond 63 bits", gguf(0, {}, 1, tensor("t", {big, big, big, big}, 24, 0), 64));
  expect_corrupt(
      "beyond 63 bits",
      gguf(0, {}, 1, tensor("t", {(uint64_t{1} << 42) + 1, uint64_t{1} << 22}, 24, 0), 64));
  expect_corrupt("63 bits of bytes", gguf(0, {}, 1, tensor("t", {big}, 0, 0), 64));
  expect_corrupt("beyond 63 bits", gguf(0, {}, 1, tensor("t", {kSizeMax}, 24, 0), 64));
  const uint64_t half = 0x7FFFFFFFFFFFFFC0;
  expect_corrupt(
      "cut short",
      gguf(0, {}, 2,
           Bytes().raw(tensor("a", {half}, 24, 0).text()).raw(tensor("b", {half}, 24, half).text()),
           64));
}

TEST(GgufHardening, G9TensorTypes) {
  for (const uint32_t type : {4u, 5u, 31u, 36u, 40u, 255u, 0x80000000u, 0xFFFFFFFFu}) {
    expect_corrupt("does not exist", gguf(0, {}, 1, tensor("t", {256}, type, 0), 4096));
  }
  expect_corrupt("not a multiple of the 32", gguf(0, {}, 1, tensor("t", {33}, 3, 0), 4096));
  expect_corrupt("not a multiple of the 32", gguf(0, {}, 1, tensor("t", {16, 2}, 2, 0), 4096));
  expect_corrupt("not a multiple of the 32", gguf(0, {}, 1, tensor("t", {}, 2, 0), 4096));
}

TEST(GgufHardening, G10OffsetsFollowEachOtherWithinTheFile) {
  expect_corrupt("begins at 32", gguf(0, {}, 1, tensor("t", {8}, 0, 32), 96));
  expect_corrupt("begins at 18446744073709551584",
                 gguf(0, {}, 1, tensor("t", {8}, 0, kSizeMax - 31), 96));
  const auto two = [](uint64_t offset, size_t data) {
    return gguf(0, {}, 2,
                Bytes().raw(tensor("a", {9}, 0, 0).text()).raw(tensor("b", {8}, 0, offset).text()),
                data);
  };
  EXPECT_NO_THROW(parse_gguf(two(64, 96)));
  expect_corrupt("begins at 36", two(36, 96));  // without the padding
  expect_corrupt("begins at 0", two(0, 96));    // on top of the first
  expect_corrupt("'b' takes bytes 64 to 96", two(64, 95));
  std::string cut = gguf(0, {}, 1, tensor("t", {8}, 0, 0), 32);
  for (size_t size = 0; size < cut.size(); ++size) {
    expect_corrupt("", cut.substr(0, size));
  }
  EXPECT_NO_THROW(parse_gguf(cut));
}

TEST(GgufHardening, G10OnAFileThatIsCutShort) {
  const TempFolder folder;
  const std::string whole = gguf(0, {}, 1, tensor("t", {1024}, 0, 0), 4096);
  put_file(folder / "m.gguf", whole.substr(0, whole.size() - 1));
  expect_error(ErrorCode::kCorruptData, "cut short", [&] { GgufFile::open(folder / "m.gguf"); });
}

Bytes& words(Bytes& out, std::string_view key, std::initializer_list<const char*> list) {
  out.str(key).u32(kArray).u32(kString).u64(list.size());
  for (const auto* word : list) out.str(word);
  return out;
}

TEST(GgufHardening, G11VocabularyIsConsistent) {
  const std::string scores = "tokenizer.ggml.scores", types = "tokenizer.ggml.token_type";
  const auto with = [](auto&& more) {
    Bytes metadata;
    words(metadata, "tokenizer.ggml.tokens", {"a", "<0x4F>"});
    more(metadata);
    return gguf(2, metadata);
  };
  EXPECT_NO_THROW(
      parse_gguf(with([&](Bytes& b) { b.str(types).u32(kArray).u32(kI32).u64(2).u32(1).u32(6); })));
  expect_corrupt("not an array of floating",
                 with([&](Bytes& b) { b.str(scores).u32(kArray).u32(kI8).u64(2).zeros(2); }));
  expect_corrupt("not an array of floating", with([&](Bytes& b) { words(b, scores, {"1", "2"}); }));
  expect_corrupt("1 elements for 2 tokens",
                 with([&](Bytes& b) { b.str(scores).u32(kArray).u32(kF32).u64(1).put(0.0f); }));
  expect_corrupt("3 elements for 2 tokens",
                 with([&](Bytes& b) { b.str(types).u32(kArray).u32(kI32).u64(3).zeros(12); }));
  expect_corrupt("not an array of integers",
                 with([&](Bytes& b) { b.str(types).u32(kArray).u32(kF32).u64(2).zeros(8); }));
  expect_corrupt("not an array of strings", with([&](Bytes& b) {
                   b.str("tokenizer.ggml.merges").u32(kArray).u32(kU8).u64(1).zeros(1);
                 }));
  expect_corrupt("not an array of strings",
                 gguf(1, Bytes().str("tokenizer.ggml.tokens").u32(kString).str("a")));
}

TEST(GgufHardening, G11ByteTokensAreStrictHex) {
  for (const auto* token : {"<0x-1>", "<0x1>", "<0xGG>", "<0x001>", "0x41", "<0x 1>", ""}) {
    Bytes metadata;
    words(metadata, "tokenizer.ggml.tokens", {token});
    metadata.str("tokenizer.ggml.token_type").u32(kArray).u32(kI32).u64(1).u32(6);
    expect_corrupt("not <0xHH>", gguf(2, metadata));
  }
}

TEST(GgufHardening, G11BlockCountIsCapped) {
  const auto with = [](uint32_t type, uint32_t blocks) {
    return gguf(2, Bytes()
                       .str("general.architecture")
                       .u32(kString)
                       .str("llama")
                       .str("llama.block_count")
                       .u32(type)
                       .u32(blocks));
  };
  EXPECT_NO_THROW(parse_gguf(with(kU32, 512)));
  expect_corrupt("block_count is 513", with(kU32, 513));
  expect_corrupt("block_count is -1", with(kI32, 0xFFFFFFFF));
  expect_corrupt("not an integer", with(kF32, 0));
}

}  // namespace
}  // namespace moxie::io
