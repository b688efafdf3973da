// Rules S1 to S8 of docs/hardening.md, each with its crafted file: a typed error within a second.
#include <unistd.h>

#include "bytes.h"
#include "io/safetensors_header.h"
#include "io/source_file.h"

namespace moxie::io {
namespace {

std::string with_header(std::string_view json, size_t data) {
  return Bytes().u64(json.size()).raw(json).zeros(data).text();
}

void expect_corrupt(std::string_view part, const std::string& file) {
  expect_error(ErrorCode::kCorruptData, part, [&] { parse_safetensors(file); });
}

std::string tensor(std::string_view name, std::string_view dtype, std::string_view shape,
                   std::string_view offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{}]}})", name, dtype,
                     shape, offsets);
}

std::string one(std::string_view dtype, std::string_view shape, uint64_t size) {
  return "{" + tensor("t", dtype, shape, fmt::format("0,{}", size)) + "}";
}

TEST(SafetensorsHardening, S1HeaderLengthWithinTheFile) {
  expect_corrupt("too few", "");
  expect_corrupt("too few", "1234567");
  expect_corrupt("claims 3 bytes", Bytes().u64(3).raw("{}").text());
  for (const uint64_t length : {UINT64_MAX, UINT64_MAX - 7, uint64_t{100'000'001}}) {
    expect_corrupt("header claims", Bytes().u64(length).raw("{}").text());
  }
  expect_corrupt("100000000 are allowed",
                 Bytes().u64(100'000'001).raw("{").zeros(100'000'000).text());
  EXPECT_NO_THROW(parse_safetensors(with_header("{}", 0)));
}

TEST(SafetensorsHardening, S2HeaderIsAnObjectInUtf8) {
  expect_corrupt("does not begin", with_header("", 0));
  expect_corrupt("does not begin", with_header(" {}", 0));
  expect_corrupt("does not begin", with_header("[]", 0));
  expect_corrupt("breaks off", with_header("{", 0));
  expect_corrupt("breaks off", with_header("{}x", 0));
  expect_corrupt("breaks off", with_header("{\"a\xFF\":1}", 0));
  expect_corrupt("a number", with_header("{\"t\":1}", 0));
  expect_corrupt("null", with_header("{\"t\":null}", 0));
  expect_corrupt("an array", with_header("{\"t\":[]}", 0));
  EXPECT_NO_THROW(parse_safetensors(with_header("{}      ", 0)));
  std::string deep = "{\"t\":{\"shape\":";
  deep.append(1'000'000, '[');
  expect_corrupt("an array", with_header(deep, 0));
}

TEST(SafetensorsHardening, S2FieldsOfATensor) {
  expect_corrupt("lacks one", with_header(R"({"t":{"dtype":"F32","shape":[1]}})", 4));
  expect_corrupt("does not know", with_header(R"({"t":{"dtype":"F32","strides":[1]}})", 4));
  expect_corrupt("twice", with_header(R"({"t":{"dtype":"F32","dtype":"F32"}})", 4));
  expect_corrupt("a string", with_header(R"({"t":{"shape":"1"}})", 4));
  expect_corrupt("a negative", with_header(R"({"t":{"shape":[-1]}})", 4));
  expect_corrupt("a fraction", with_header(R"({"t":{"shape":[1.0]}})", 4));
  expect_corrupt("a fraction", with_header(R"({"t":{"shape":[99999999999999999999]}})", 4));
  expect_corrupt("an object", with_header(R"({"t":{"shape":[{}]}})", 4));
  expect_corrupt("3 data_offsets", with_header("{" + tensor("t", "F32", "1", "0,4,8") + "}", 4));
  expect_corrupt("1 data_offsets", with_header("{" + tensor("t", "F32", "1", "0") + "}", 4));
  std::string shape = "1";
  for (int i = 0; i < 16; ++i) shape += ",1";
  expect_corrupt("more than 16", with_header(one("F32", shape, 4), 4));
  expect_corrupt("does not define", with_header(one("F33", "1", 4), 4));
}

TEST(SafetensorsHardening, S3DuplicatesAndMetadata) {
  const std::string t = tensor("t", "F32", "1", "0,4");
  expect_corrupt("stands twice", with_header("{" + t + "," + t + "}", 4));
  expect_corrupt("stands twice", with_header(R"({"__metadata__":{},"__metadata__":{}})", 0));
  expect_corrupt("stands twice", with_header(R"({"__metadata__":{"a":"1","a":"2"}})", 0));
  expect_corrupt("a number", with_header(R"({"__metadata__":{"a":1}})", 0));
  expect_corrupt("an object", with_header(R"({"__metadata__":{"a":{}}})", 0));
  expect_corrupt("an array", with_header(R"({"__metadata__":{"a":[]}})", 0));
  EXPECT_EQ(parse_safetensors(with_header(R"({"__metadata__":{"a":"1"}})", 0))->metadata().at("a"),
            "1");
}

TEST(SafetensorsHardening, S3ManyNamesTakeLinearTime) {
  std::string json = "{";
  for (int i = 0; i < 200'000; ++i) json += tensor(fmt::format("t{}", i), "F32", "0", "0,0") + ",";
  expect_corrupt("stands twice", with_header(json + tensor("t0", "F32", "0", "0,0") + "}", 0));
}

// A short entry takes ten times its text once it is read: the number of entries is what bounds it.
TEST(SafetensorsHardening, S3ListsAreDecodedIntoAConstant) {
  std::string json = "{", metadata = R"({"__metadata__":{)";
  for (int i = 0; i <= (1 << 18); ++i)
    json += tensor(fmt::format("t{}", i), "F32", "0", "0,0") + ",";
  json.back() = '}';
  expect_error(ErrorCode::kCorruptData, "more than 262144 tensors",
               [&] { read_safetensors_header(json, "crafted"); });
  for (int i = 0; i <= (1 << 16); ++i) metadata += fmt::format(R"("{}":"",)", i);
  metadata.back() = '}';
  expect_corrupt("more than 65536 metadata entries", with_header(metadata + "}", 0));
}

TEST(SafetensorsHardening, S4RangesCoverTheBuffer) {
  const auto two = [](std::string_view a, std::string_view b, size_t data) {
    return with_header("{" + tensor("a", "U8", "4", a) + "," + tensor("b", "U8", "4", b) + "}",
                       data);
  };
  EXPECT_NO_THROW(parse_safetensors(two("0,4", "4,8", 8)));
  EXPECT_NO_THROW(parse_safetensors(two("4,8", "0,4", 8)));
  expect_corrupt("before it end at 4", two("0,4", "5,9", 9));  // a hole
  expect_corrupt("before it end at 4", two("0,4", "2,6", 8));  // an overlap
  expect_corrupt("before it end at 4", two("0,4", "0,4", 8));  // the same bytes twice
  expect_corrupt("before it end at 0", two("1,5", "5,9", 9));  // a hole at the front
  expect_corrupt("before it end at 4", two("0,4", "4,2", 8));  // backwards
  expect_corrupt("its tensors take 8 bytes, but 9", two("0,4", "4,8", 9));
  expect_corrupt("its tensors take 8 bytes, but 7", two("0,4", "4,8", 7));
  expect_corrupt("its tensors take 0 bytes, but 1", with_header("{}", 1));
  expect_corrupt("18446744073709551615", with_header(one("U8", "4", UINT64_MAX), 4));
}

TEST(SafetensorsHardening, S5SizeFollowsFromShapeAndType) {
  expect_corrupt("needs 8 bytes but its range has 4", with_header(one("F32", "2", 4), 4));
  expect_corrupt("needs 4 bytes but its range has 8", with_header(one("F32", "", 8), 8));
  expect_corrupt("beyond 63 bits", with_header(one("F32", "4294967296,4294967296", 4), 4));
  expect_corrupt("beyond 63 bits", with_header(one("U8", "2305843009213693952,8", 4), 4));
  expect_corrupt("beyond 63 bits", with_header(one("U8", "18446744073709551615", 4), 4));
  expect_corrupt("beyond 63 bits", with_header(one("F32", "0,18446744073709551615", 0), 0));
  expect_corrupt("no number of bytes", with_header(one("F4", "3", 1), 1));
  EXPECT_NO_THROW(parse_safetensors(with_header(one("F4", "4", 2), 2)));
}

TEST(SafetensorsHardening, S6EmptyAndScalarTensorsAreValid) {
  const auto empty = parse_safetensors(with_header(one("F32", "3,0", 0), 0));
  EXPECT_EQ(empty->find("t")->count(), 0);
  EXPECT_EQ(empty->find("t")->as_f32().count(), 0);
  const auto scalar = parse_safetensors(with_header(one("F32", "", 4), 4));
  EXPECT_TRUE(scalar->find("t")->dims.empty());
  EXPECT_EQ(scalar->find("t")->count(), 1);
  EXPECT_EQ(scalar->find("t")->as_f32().data<float>()[0], 0.0f);
}

class Index : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_ / "model");
    write_safetensors(folder_ / "outside.safetensors", {{"a", Tensor::zeros({1}, DType::kF32)}});
    write_safetensors(folder_ / "model/inside.safetensors",
                      {{"a", Tensor::zeros({1}, DType::kF32)}});
  }
  std::shared_ptr<const Safetensors> open(std::string_view index) {
    put_file(folder_ / "model/model.safetensors.index.json", index);
    return Safetensors::open_folder(folder_ / "model");
  }
  std::shared_ptr<const Safetensors> open_shard(std::string_view shard) {
    return open(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", shard));
  }
  TempFolder folder_;
};

TEST_F(Index, S7ShardsStayInsideTheFolder) {
  EXPECT_NO_THROW(open_shard("inside.safetensors"));
  const std::string absolute = (folder_ / "outside.safetensors").string();
  for (const std::string& shard : {std::string("../outside.safetensors"), absolute, std::string(),
                                   std::string("x/../../outside.safetensors"), std::string("..")}) {
    expect_error(ErrorCode::kCorruptData, "not inside", [&] { open_shard(shard); });
  }
  expect_error(ErrorCode::kCorruptData, "weight_map names",
               [&] { open_shard("inside.safetensors\\u0000x"); });
  expect_error(ErrorCode::kNotFound, "missing", [&] { open_shard("nowhere.safetensors"); });
}

TEST_F(Index, S7SymbolicLinksStayInsideTheFolder) {
  namespace fs = std::filesystem;
  fs::create_symlink("../outside.safetensors", folder_ / "model/out.safetensors");
  fs::create_symlink("inside.safetensors", folder_ / "model/in.safetensors");
  fs::create_directory_symlink("..", folder_ / "model/up");
  EXPECT_NO_THROW(open_shard("in.safetensors"));
  expect_error(ErrorCode::kCorruptData, "a link out", [&] { open_shard("out.safetensors"); });
  expect_error(ErrorCode::kCorruptData, "a link out",
               [&] { open_shard("up/outside.safetensors"); });
}

TEST_F(Index, S7LinksOfTheHubsCacheCountAsInside) {
  namespace fs = std::filesystem;
  fs::create_directories(folder_ / "snapshots/abc");
  fs::create_directory(folder_ / "blobs");
  fs::rename(folder_ / "outside.safetensors", folder_ / "blobs/123");
  fs::create_symlink("../../blobs/123", folder_ / "snapshots/abc/s.safetensors");
  put_file(folder_ / "snapshots/abc/model.safetensors.index.json",
           R"({"weight_map":{"a":"s.safetensors"}})");
  EXPECT_NE(Safetensors::open_folder(folder_ / "snapshots/abc")->find("a"), nullptr);
}

TEST_F(Index, S7TheIndexIsStrict) {
  const auto corrupt = [&](std::string_view part, std::string_view index) {
    expect_error(ErrorCode::kCorruptData, part, [&] { open(index); });
  };
  corrupt("no weight_map", "{}");
  corrupt("no weight_map", R"({"a":{"weight_map":{}}})");
  corrupt("a number", R"({"weight_map":{"a":1}})");
  corrupt("an object", R"({"weight_map":{"a":{}}})");
  corrupt("second weight_map", R"({"weight_map":{},"weight_map":{}})");
  corrupt("stands twice", R"({"weight_map":{"a":"x","a":"y"}})");
  corrupt("should be in", R"({"weight_map":{"b":"inside.safetensors"}})");
  corrupt("an array", "{\"x\":" + std::string(100'000, '['));
  std::string many = R"({"weight_map":{)";
  for (int i = 0; i <= (1 << 20); ++i) many += fmt::format(R"("{}":"x",)", i);
  many.back() = '}';
  expect_error(ErrorCode::kCorruptData, "more than 1048576 tensors",
               [&] { read_safetensors_index(many + "}", "crafted"); });
  std::filesystem::copy_file(folder_ / "model/inside.safetensors",
                             folder_ / "model/again.safetensors");
  write_safetensors(folder_ / "model/again.safetensors", {{"a", Tensor::zeros({1}, DType::kF32)},
                                                          {"b", Tensor::zeros({1}, DType::kF32)}});
  corrupt("in two shards", R"({"weight_map":{"a":"inside.safetensors","b":"again.safetensors"}})");
}

TEST(SafetensorsHardening, S8WritingOverAnOpenFileLeavesItsReaderWhole) {
  const TempFolder folder;
  const std::vector<float> old(4096, 1.0f), fresh(1, 2.0f);
  write_safetensors(folder / "m", {{"t", Tensor::of<float>(old, {4096})}});
  const auto reader = Safetensors::open(folder / "m");
  write_safetensors(folder / "m", {{"t", Tensor::of<float>(fresh, {1})}});
  for (const float value : reader->find("t")->as_f32().span<float>()) ASSERT_EQ(value, 1.0f);
  EXPECT_EQ(Safetensors::open(folder / "m")->find("t")->as_f32().data<float>()[0], 2.0f);
}

TEST(SafetensorsHardening, S8AFileCutShortWhileOpenGivesAnError) {
  const TempFolder folder;
  const std::vector<float> values(65536, 1.0f);
  write_safetensors(folder / "m", {{"t", Tensor::of<float>(values, {256, 256})}});
  const auto reader = Safetensors::open(folder / "m");
  EXPECT_NO_THROW(reader->find("t")->as_f32());
  ASSERT_EQ(::truncate((folder / "m").c_str(), 100), 0);
  const StoredTensor* t = reader->find("t");
  expect_error(ErrorCode::kCorruptData, "cut it short", [&] { t->as_f32(); });
  expect_error(ErrorCode::kCorruptData, "cut it short", [&] { t->as_tensor(); });
  expect_error(ErrorCode::kCorruptData, "cut it short", [&] { t->as_weight(); });
  expect_error(ErrorCode::kCorruptData, "header claims", [&] { Safetensors::open(folder / "m"); });
}

}  // namespace
}  // namespace moxie::io
