// safetensors: what is written is read back, alone and in shards.
#include "io/safetensors.h"

#include "bytes.h"

namespace moxie::io {
namespace {

std::vector<NamedTensor> samples() {
  const std::vector<float> floats = {1, -2, 3.5f, 0, 5, 6};
  const std::vector<uint8_t> letters = {7, 8, 9};
  const std::vector<int64_t> numbers = {-1, int64_t{1} << 60};
  const std::vector<double> doubles = {0.1};
  return {{"letters", Tensor::of<uint8_t>(letters, {3})},
          {"floats", Tensor::of<float>(floats, {2, 3})},
          {"half", Tensor::of<float>(floats, {2, 3}).to(DType::kF16)},
          {"brain", Tensor::of<float>(floats, {6}).to(DType::kBF16)},
          {"numbers", Tensor::of<int64_t>(numbers, {2})},
          {"scalar", Tensor::of<double>(doubles, Shape{})},
          {"empty", Tensor::empty({0, 4}, DType::kF32)}};
}

TEST(Safetensors, RoundTripKeepsNamesShapesBitsAndOrder) {
  const TempFolder folder;
  const auto wanted = samples();
  write_safetensors(folder / "m.safetensors", wanted, {{"format", "pt"}, {"note", "\"quoted\" ü"}});
  const auto file = Safetensors::open(folder / "m.safetensors");
  EXPECT_EQ(file->metadata().at("note"), "\"quoted\" ü");
  ASSERT_EQ(file->tensors().size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    const StoredTensor& read = file->tensors()[i];
    const Tensor copy = read.as_tensor();
    EXPECT_EQ(read.name, wanted[i].name);
    EXPECT_EQ(copy.shape(), wanted[i].tensor.shape());
    ASSERT_EQ(copy.dtype(), wanted[i].tensor.dtype());
    ASSERT_EQ(copy.bytes(), wanted[i].tensor.bytes());
    if (copy.bytes() > 0) {
      EXPECT_EQ(std::memcmp(copy.raw(), wanted[i].tensor.raw(), copy.bytes()), 0) << read.name;
    }
    if (!read.bytes.empty()) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(read.bytes.data()) % size_of(copy.dtype()), 0u);
    }
  }
  EXPECT_EQ(file->find("half")->as_f32().data<float>()[2], 3.5f);
  EXPECT_EQ(file->find("scalar")->as_f32().data<float>()[0], 0.1f);
  EXPECT_EQ(file->find("nothing"), nullptr);
  expect_error(ErrorCode::kUnsupported, "U8", [&] { file->find("letters")->as_f32(); });
}

TEST(Safetensors, MoreDimensionsThanAShapeHoldsAreRefusedByName) {
  const std::string json =
      R"({"w":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})";
  Bytes bytes;
  bytes.u64(json.size()).raw(json).put(2.0f);
  const auto owned = std::make_shared<std::string>(bytes.text());
  const auto file = Safetensors::parse(std::as_bytes(std::span(*owned)), owned, "x");
  for (const auto read : {&StoredTensor::as_f32, &StoredTensor::as_tensor}) {
    expect_error(ErrorCode::kUnsupported, "'w' has 9 dimensions",
                 [&] { (file->find("w")->*read)(); });
  }
}

TEST(Safetensors, WeightOfAnUnalignedTensorIsCopied) {
  const std::string json = R"({"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}})";
  Bytes bytes;
  bytes.u64(json.size() + 1).raw(json).raw(" ");
  bytes.put(2.0f).put(3.0f);
  for (size_t shift = 0; shift < 8; ++shift) {
    auto owned = std::make_shared<std::string>(shift, ' ');
    *owned += bytes.text();
    const auto file =
        Safetensors::parse(std::as_bytes(std::span(*owned)).subspan(shift), owned, "x");
    const auto weight = file->find("w")->as_weight();
    const float x[2] = {1, 10};
    float y = 0;
    weight.matmul(x, 1, &y);
    EXPECT_EQ(y, 32.0f);
  }
}

TEST(Safetensors, WriterRefusesNamesThatCannotBeRead) {
  const TempFolder folder;
  const Tensor one = Tensor::zeros({1}, DType::kF32);
  for (const auto* name : {"", "__metadata__", "\xFF"}) {
    expect_error(ErrorCode::kInvalidArgument, "cannot be called", [&] {
      write_safetensors(folder / "m", {{name, one}});
    });
  }
  expect_error(ErrorCode::kInvalidArgument, "unique", [&] {
    write_safetensors(folder / "m", {{"a", one}, {"a", one}});
  });
  EXPECT_FALSE(std::filesystem::exists(folder / "m"));
}

TEST(Safetensors, ShardsReadLikeOneFile) {
  const TempFolder folder;
  const Tensor one = Tensor::zeros({1}, DType::kF32);
  const Tensor two = Tensor::zeros({2}, DType::kF32);
  write_safetensors(folder / "model-00001-of-00002.safetensors", {{"a", one}});
  write_safetensors(folder / "model-00002-of-00002.safetensors", {{"b", two}});
  put_file(folder / "model.safetensors.index.json",
           R"({"metadata":{"total_size":12,"more":[1,{"weight_map":2}]},"weight_map":{
              "a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})");
  const auto file = Safetensors::open_folder(folder.path());
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->find("b")->dims, std::vector<int64_t>{2});
  EXPECT_EQ(file->metadata().at("format"), "pt");
  write_safetensors(folder / "model.safetensors", {{"whole", one}});
  EXPECT_NE(Safetensors::open_folder(folder.path())->find("whole"), nullptr);
  expect_error(ErrorCode::kNotFound, "neither",
               [&] { Safetensors::open_folder(folder / "nowhere"); });
}

}  // namespace
}  // namespace moxie::io
