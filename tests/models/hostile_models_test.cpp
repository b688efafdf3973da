// Models that lie about themselves: sizes, heads, special ids, missing and misshapen tensors. Each
// gives a typed error that names the fact (rule G12 of docs/hardening.md), from a folder and from
// GGUF.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "base/files.h"
#include "base/json.h"
#include "models/load.h"

namespace moxie::models {
namespace fs = std::filesystem;
namespace {

const fs::path kGolden = fs::path(MOXIE_SOURCE_DIR) / "tests/golden";

std::string error_of(const fs::path& path) {
  try {
    load(path);
  } catch (const Error& error) {
    EXPECT_NE(error.code(), ErrorCode::kInternal) << error.what();
    return error.what();
  }
  return "";
}

class HostileFolder : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_);
    fs::copy_file(kGolden / "tiny_models/llama/model.safetensors", folder_ / "model.safetensors",
                  fs::copy_options::overwrite_existing);
    config_ = read_json_file(kGolden / "tiny_models/llama/config.json");
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string error_with(const std::function<void(Json&)>& change) {
    Json config = config_;
    change(config);
    write_file_atomically(folder_ / "config.json", config.dump());
    return error_of(folder_);
  }
  const fs::path folder_ =
      fs::temp_directory_path() / ("moxie-hostile-" + std::to_string(::getpid()));
  Json config_;
};

TEST_F(HostileFolder, TheUnchangedOneLoads) {
  EXPECT_EQ(error_with([](Json&) {}), "");
}

TEST_F(HostileFolder, SizesThatCannotBe) {
  const std::pair<const char*, Json> changes[] = {
      {"num_attention_heads", 0},  {"num_key_value_heads", 3},
      {"num_key_value_heads", -1}, {"hidden_size", -32},
      {"hidden_size", 1LL << 40},  {"vocab_size", 0},
      {"num_hidden_layers", 513},  {"num_hidden_layers", 0},
      {"head_dim", 1 << 20},       {"head_dim", 7},
      {"rms_norm_eps", 0},         {"max_position_embeddings", 0},
      {"intermediate_size", "24"}};
  for (const auto& [key, value] : changes) {
    EXPECT_FALSE(error_with([&, k = key, v = value](Json& config) { config[k] = v; }).empty())
        << key << " = " << value;
  }
}

TEST_F(HostileFolder, ShapesAndTensorsThatDoNotAgree) {
  EXPECT_NE(
      error_with([](Json& config) { config["vocab_size"] = 64; }).find("model.embed_tokens.weight"),
      std::string::npos);
  EXPECT_NE(error_with([](Json& config) { config["num_hidden_layers"] = 9; }).find("is missing"),
            std::string::npos);
  EXPECT_NE(error_with([](Json& config) { config["attention_bias"] = true; }).find("q_proj.bias"),
            std::string::npos);
}

TEST_F(HostileFolder, UnknownArchitecturesAndSettingsAreNamed) {
  EXPECT_NE(error_with([](Json& config) { config["model_type"] = "mamba9"; }).find("mamba9"),
            std::string::npos);
  EXPECT_NE(error_with([](Json& config) { config["hidden_act"] = "relu9"; }).find("relu9"),
            std::string::npos);
  EXPECT_NE(error_with([](Json& config) {
              config["rope_parameters"] = {{"rope_type", "spiral"}};
            }).find("spiral"),
            std::string::npos);
  EXPECT_NE(error_with([](Json& config) { config.erase("hidden_size"); }).find("hidden_size"),
            std::string::npos);
}

TEST_F(HostileFolder, BrokenFiles) {
  write_file_atomically(folder_ / "config.json", "[1, 2");
  EXPECT_NE(error_of(folder_).find("config.json"), std::string::npos);
  write_file_atomically(folder_ / "config.json", config_.dump());
  const std::string bytes = read_file(folder_ / "model.safetensors");
  write_file_atomically(folder_ / "model.safetensors", bytes.substr(0, bytes.size() / 2));
  EXPECT_FALSE(error_of(folder_).empty());
  fs::remove(folder_ / "model.safetensors");
  EXPECT_FALSE(error_of(folder_).empty());
}

TEST(HostileGguf, MetadataThatCannotBe) {
  const fs::path source = kGolden / "tiny_gguf";
  fs::path sound;
  for (const auto& entry : fs::directory_iterator(source)) {
    if (entry.path().filename() == "llama.gguf") sound = entry.path();
  }
  ASSERT_FALSE(sound.empty());
  ASSERT_EQ(error_of(sound), "");
  const auto file = io::GgufFile::open(sound);
  const fs::path broken =
      fs::temp_directory_path() / ("moxie-hostile-" + std::to_string(::getpid()) + ".gguf");
  const std::pair<const char*, uint32_t> changes[] = {
      {"llama.attention.head_count", 0}, {"llama.attention.head_count_kv", 3},
      {"llama.block_count", 513},        {"llama.block_count", 0},
      {"llama.embedding_length", 0},     {"llama.rope.dimension_count", 3},
      {"llama.context_length", 0},       {"llama.feed_forward_length", 7}};
  for (const auto& [changed, number] : changes) {
    io::GgufWriter writer(broken);
    for (size_t i = 0; i < file->metadata().size(); ++i) {
      const auto& [key, value] = file->metadata()[i];
      if (key != changed && key != "general.alignment") writer.copy(key, file->type_of(i), value);
    }
    writer.set_u32(changed, number);
    for (const auto& tensor : file->tensors())
      writer.add_tensor(tensor.name, tensor.dims, *tensor.format);
    for (const auto& tensor : file->tensors()) writer.write_tensor(tensor.bytes);
    writer.finish();
    EXPECT_FALSE(error_of(broken).empty()) << changed << " = " << number;
  }
  fs::remove(broken);
}

}  // namespace
}  // namespace moxie::models
