// Files written by the gguf and safetensors packages of Python (tests/golden/io/make.py): what is
// read of them, and that our writers, given what was read, write the same bytes.
#include "bytes.h"

namespace moxie::io {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(MOXIE_SOURCE_DIR) / "tests/golden/io";

void expect_ramp(const StoredTensor* tensor, float tolerance) {
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->dims, (std::vector<int64_t>{3, 32}));
  const Tensor values = tensor->as_f32();
  for (int64_t i = 0; i < values.count(); ++i) {
    ASSERT_NEAR(values.data<float>()[i], static_cast<float>(i - 40) / 16, tolerance) << i;
  }
}

TEST(FormatsGolden, GgufOfThePythonPackage) {
  const auto file = GgufFile::open(kGolden / "small.gguf");
  EXPECT_EQ(file->require_string("general.architecture"), "llama");
  EXPECT_EQ(file->require_string("general.name"), "small \u00fc");
  EXPECT_EQ(file->require_int("llama.block_count"), 2);
  EXPECT_EQ(file->get_bool("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(file->get_strings("tokenizer.ggml.tokens")->at(1), "\u0120b");
  EXPECT_EQ(file->get_ints("tokenizer.ggml.token_type"), (std::vector<int64_t>{1, 1, 6}));
  EXPECT_EQ(file->get_floats("tokenizer.ggml.scores"), (std::vector<double>{0.5, -1, 0}));
  expect_ramp(file->find_tensor("plain"), 0);
  expect_ramp(file->find_tensor("half"), 0);
  expect_ramp(file->find_tensor("packed"), 0.02f);  // half a step of 3.5 / 127
  EXPECT_EQ(file->find_tensor("bias")->as_f32().data<float>()[2], 3.0f);
}

TEST(FormatsGolden, GgufIsWrittenAsThePythonPackageWritesIt) {
  const TempFolder folder;
  const auto file = GgufFile::open(kGolden / "small.gguf");
  GgufWriter writer(folder / "again.gguf");
  for (size_t i = 0; i < file->metadata().size(); ++i) {
    writer.copy(file->metadata()[i].first, file->type_of(i), file->metadata()[i].second);
  }
  for (const auto& tensor : file->tensors()) {
    writer.add_tensor(tensor.name, tensor.dims, *tensor.format);
  }
  for (const auto& tensor : file->tensors()) writer.write_tensor(tensor.bytes);
  writer.finish();
  EXPECT_TRUE(read_text(folder / "again.gguf") == read_text(kGolden / "small.gguf"));
}

TEST(FormatsGolden, SafetensorsOfThePythonPackage) {
  const auto file = Safetensors::open(kGolden / "small.safetensors");
  EXPECT_EQ(file->metadata().at("note"), "\u00fc");
  expect_ramp(file->find("plain"), 0);
  expect_ramp(file->find("half"), 0);
  EXPECT_EQ(file->find("long")->as_tensor().data<int64_t>()[1], int64_t{1} << 40);
  EXPECT_EQ(file->find("scalar")->as_tensor().data<double>()[0], 0.25);
  EXPECT_EQ(file->find("bytes")->as_tensor().data<uint8_t>()[4], 4);
  EXPECT_EQ(file->find("none")->dims, (std::vector<int64_t>{0, 3}));
}

TEST(FormatsGolden, SafetensorsIsWrittenAsThePythonPackageWritesIt) {
  const TempFolder folder;
  const auto file = Safetensors::open(kGolden / "small.safetensors");
  std::vector<NamedTensor> tensors;
  for (const auto& tensor : file->tensors()) tensors.push_back({tensor.name, tensor.as_tensor()});
  write_safetensors(folder / "again", tensors, file->metadata());
  EXPECT_TRUE(read_text(folder / "again") == read_text(kGolden / "small.safetensors"));
}

}  // namespace
}  // namespace moxie::io
