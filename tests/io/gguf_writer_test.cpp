// What GgufWriter writes, GgufFile reads back value by value; nothing half-written gets a name.
#include <cstdlib>
#include <numeric>

#include "base/files.h"
#include "bytes.h"
#include "quant/format.h"

namespace moxie::io {
namespace {

const Named<quant::QuantFormat>& format(std::string_view name) {
  return require_row(quant::formats(), "format", name);
}

TEST(GgufWriter, RoundTrip) {
  const TempFolder folder;
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  std::vector<std::byte> block(18);
  std::iota(reinterpret_cast<uint8_t*>(block.data()), reinterpret_cast<uint8_t*>(block.data()) + 18,
            0);
  {
    GgufWriter writer(folder / "m.gguf");
    writer.set_string("general.architecture", "llama");
    writer.set_u32("llama.block_count", 2);
    writer.set_f32("eps", 1e-5f);
    writer.set_bool("flag", true);
    writer.set_strings("words", {"a", "", "ü"});
    writer.set_i32s("numbers", {-1, 2});
    writer.set_f32s("reals", {0.5f});
    writer.copy("u8", GgufType::kU8, uint64_t{255});
    writer.copy("bools", GgufType::kArray,
                GgufArray{GgufType::kBool, std::vector<bool>{true, false}});
    writer.add_tensor("a", {2, 3}, format("f32"));
    writer.add_tensor("b", {1, 32}, format("q4_0"));
    writer.write_tensor(std::as_bytes(std::span(values)));
    writer.write_tensor(block);
    EXPECT_FALSE(std::filesystem::exists(folder / "m.gguf"));
    writer.finish();
  }
  const auto file = GgufFile::open(folder / "m.gguf");
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->require_int("llama.block_count"), 2);
  EXPECT_EQ(file->get_float("eps"), double{1e-5f});
  EXPECT_EQ(file->get_bool("flag"), true);
  EXPECT_EQ(*file->get_strings("words"), (std::vector<std::string>{"a", "", "ü"}));
  EXPECT_EQ(file->get_ints("numbers"), (std::vector<int64_t>{-1, 2}));
  EXPECT_EQ(file->get_floats("reals"), std::vector<double>{0.5});
  EXPECT_EQ(file->get_int("u8"), 255);
  EXPECT_EQ(file->get_bools("bools"), (std::vector<bool>{true, false}));
  EXPECT_EQ(file->find_tensor("a")->dims, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file->find_tensor("a")->as_f32().data<float>()[4], 5.0f);
  EXPECT_EQ(std::memcmp(file->find_tensor("b")->bytes.data(), block.data(), block.size()), 0);
}

TEST(GgufWriter, CopyOfTheQuickstartModelIsTheSameModel) {
  const auto path = cache_folder() / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const TempFolder folder;
  const auto original = GgufFile::open(path);
  {
    GgufWriter writer(folder / "copy.gguf");
    for (size_t i = 0; i < original->metadata().size(); ++i) {
      const auto& [key, value] = original->metadata()[i];
      writer.copy(key, original->type_of(i), value);
    }
    for (const auto& tensor : original->tensors()) {
      writer.add_tensor(tensor.name, tensor.dims, *tensor.format);
    }
    for (const auto& tensor : original->tensors()) writer.write_tensor(tensor.bytes);
    writer.finish();
  }
  const auto copy = GgufFile::open(folder / "copy.gguf");
  ASSERT_EQ(copy->metadata().size(), original->metadata().size());
  ASSERT_EQ(copy->tensors().size(), original->tensors().size());
  EXPECT_EQ(*copy->get_strings("tokenizer.ggml.merges"),
            *original->get_strings("tokenizer.ggml.merges"));
  for (size_t i = 0; i < copy->tensors().size(); ++i) {
    const auto& a = copy->tensors()[i];
    const auto& b = original->tensors()[i];
    ASSERT_EQ(a.name, b.name);
    ASSERT_EQ(a.dims, b.dims);
    ASSERT_EQ(a.bytes.size(), b.bytes.size());
    ASSERT_EQ(std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()), 0) << a.name;
  }
}

TEST(GgufWriter, RefusesWhatCouldNotBeReadBack) {
  const TempFolder folder;
  const auto refuse = [&](std::string_view part, auto&& f) {
    GgufWriter writer(folder / "m.gguf");
    expect_error(ErrorCode::kInvalidArgument, part, [&] { f(writer); });
  };
  refuse("unique", [](GgufWriter& w) { w.set_u32("k", 1), w.set_u32("k", 1); });
  refuse("ASCII", [](GgufWriter& w) { w.set_u32("ü", 1); });
  refuse("ASCII", [](GgufWriter& w) { w.set_u32("", 1); });
  refuse("number", [](GgufWriter& w) { w.copy("k", GgufType::kString, uint64_t{1}); });
  refuse("string", [](GgufWriter& w) { w.copy("k", GgufType::kU8, std::string("x")); });
  refuse("array", [](GgufWriter& w) { w.copy("k", GgufType::kU8, GgufArray{}); });
  refuse("unique", [](GgufWriter& w) {
    w.add_tensor("t", {1}, format("f32")), w.add_tensor("t", {1}, format("f32"));
  });
  refuse("63", [](GgufWriter& w) { w.add_tensor(std::string(64, 'x'), {1}, format("f32")); });
  refuse("multiple of 32", [](GgufWriter& w) { w.add_tensor("t", {32, 31}, format("q4_0")); });
  refuse("dimensions", [](GgufWriter& w) { w.add_tensor("t", {1, 0}, format("f32")); });
  refuse("the shape [1, 1, 1, 1, 1, 1, 1, 1, 32]; GGUF holds 1 to 4", [](GgufWriter& w) {
    w.add_tensor("t", {1, 1, 1, 1, 1, 1, 1, 1, 32}, format("f32"));
  });
  refuse("takes 4 bytes",
         [](GgufWriter& w) { w.add_tensor("t", {1}, format("f32")), w.write_tensor({}); });
  refuse("0 of 1", [](GgufWriter& w) { w.add_tensor("t", {1}, format("f32")), w.finish(); });
  refuse("all 0", [](GgufWriter& w) { w.write_tensor({}); });
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace moxie::io
