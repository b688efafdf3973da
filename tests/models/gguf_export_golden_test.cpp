// Every tiny checkpoint of Hugging Face's layout as a GGUF file: either the file gives the logits
// and the ids of its folder, or the export is refused with the reason, and nothing appears. Where
// the checkpoint has what llama.cpp cannot compute, a second row has it without.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "base/files.h"
#include "base/json.h"
#include "io/safetensors.h"
#include "models/load.h"
#include "models/save_gguf.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;
constexpr double kBound = 1e-4;
const fs::path kTiny = fs::path(MOXIE_SOURCE_DIR) / "tests/golden/tiny_models";

struct Row {
  const char* folder;
  const char* change = "{}";      // merged into config.json
  const char* refusal = nullptr;  // part of the message; null: it is written
};

constexpr const char* kGemmaScale = "the attention scale is 0.204124 in the model and 0.25";
constexpr const char* kNoWindow = "lower max_position_embeddings in its config.json to 7";

constexpr Row kRows[] = {
    {"gemma2", "{}", kGemmaScale},
    {"gemma2", R"({"query_pre_attn_scalar": 16})"},
    {"gemma2", R"({"query_pre_attn_scalar": 16, "hidden_activation": "gelu"})", "activation"},
    {"gemma2_no_caps", "{}", "without a soft cap"},
    {"gemma3", "{}", kGemmaScale},
    {"gemma3", R"({"query_pre_attn_scalar": 16})"},
    {"gemma3", R"({"query_pre_attn_scalar": 16, "final_logit_softcapping": 5.0})",
     "the soft cap of logits is 5"},
    {"gemma3_legacy_config", "{}", kGemmaScale},
    {"gemma3_legacy_config", R"({"query_pre_attn_scalar": 16})"},
    {"gemma3_rope_linear", "{}", kGemmaScale},
    {"gemma3_rope_linear", R"({"query_pre_attn_scalar": 16})"},
    {"granite"},
    {"granite_tied_bias"},
    {"llama"},
    {"llama_attention_bias"},
    {"llama_head_dim"},
    {"llama_legacy_config"},
    {"llama_mlp_bias"},
    {"llama_no_groups"},
    {"llama_one_kv_head"},
    {"llama_rope_dynamic", "{}", "rotary positions of the type 'dynamic'"},
    {"llama_rope_linear"},
    {"llama_rope_llama3"},
    {"llama_rope_yarn"},
    {"llama_rope_yarn", R"({"rope_parameters": {"attention_factor": 0.8}})"},
    {"llama_rope_yarn_mscale"},
    {"llama_sharded"},
    {"llama_tied"},
    {"mistral_head_dim"},
    {"mistral_window", "{}", kNoWindow},
    {"mistral_window", R"({"sliding_window": 64})"},
    {"olmo2"},
    {"phi3"},
    {"phi3_longrope_long"},
    {"phi3_longrope_short"},
    {"phi3_partial"},
    {"phi3_window", "{}", kNoWindow},
    {"qwen2"},
    {"qwen2", R"({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}})"},
    {"qwen2", R"({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "truncate": false}})",
     "rotary positions of the type 'yarn' as it sets them"},
    {"qwen2_tied_window", "{}", "a sliding window of 6 within 64 positions"},
    {"qwen2_tied_window", R"({"use_sliding_window": false})"},
    {"qwen3"},
    {"qwen3_tied_bias", "{}", "biases of q, k and v"},
    {"smollm3"},
    {"smollm3", R"({"no_rope_layers": [1, 0, 1, 1]})", "layer 1 has rotary positions"},
};

class GgufExport : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "moxie-export-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    work_ = pattern;
  }
  void TearDown() override { fs::remove_all(work_); }

  // A copy of the checkpoint with the tokenizer that they share.
  fs::path folder_of(const Row& row) {
    const fs::path folder = work_ / "model";
    fs::remove_all(folder);
    fs::copy(kTiny / row.folder, folder);
    fs::copy(kTiny / "tokenizer", folder);
    Json config = read_json_file(folder / "config.json");
    config.merge_patch(parse_json(row.change, "row"));
    write_file_atomically(folder / "config.json", config.dump());
    return folder;
  }

  fs::path work_;
};

Tensor logits_of(const models::Model& model, const std::vector<int32_t>& ids) {
  model.decoder->set_compute(quant::Compute::kF32);
  nn::Batch batch;
  batch.add(ids);
  return model.decoder->logits(model.decoder->forward(batch));
}

double relative(const Tensor& a, const Tensor& b) {
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < b.count(); ++i) {
    difference += std::pow(double{a.data<float>()[i]} - double{b.data<float>()[i]}, 2);
    norm += std::pow(double{b.data<float>()[i]}, 2);
  }
  return std::sqrt(difference / norm);
}

std::vector<int32_t> golden_ids(const Row& row) {
  const auto golden = io::Safetensors::open(kTiny / row.folder / "golden.safetensors");
  const Tensor ids = golden->find("input_ids")->as_tensor();
  return {ids.span<int32_t>().begin(), ids.span<int32_t>().end()};
}

void expect_same(const models::Model& source, const models::Model& file, const Row& row) {
  const auto ids = golden_ids(row);
  EXPECT_LE(relative(logits_of(file, ids), logits_of(source, ids)), kBound);
  const std::string text = "Turn off the lamp 21 times,\n\n  then </s> open \"the\" gate.";
  EXPECT_EQ(file.tokenizer().encode(text).ids, source.tokenizer().encode(text).ids);
  EXPECT_FALSE(source.tokenizer().encode(text).ids.empty());
  EXPECT_EQ(file.text.bos, source.text.bos);
  EXPECT_EQ(file.text.eos, source.text.eos);
  EXPECT_EQ(file.text.pad, source.text.pad);
  EXPECT_EQ(file.decoder->config().max_positions, source.decoder->config().max_positions);
}

TEST_F(GgufExport, EveryTinyModelOrARefusal) {
  std::set<std::string> written;
  for (const Row& row : kRows) {
    SCOPED_TRACE(std::string(row.folder) + " " + row.change);
    const models::Model source = models::load(folder_of(row));
    const fs::path out = work_ / "out" / "model.gguf";
    fs::remove_all(out.parent_path());
    fs::create_directory(out.parent_path());
    try {
      models::save_gguf(source, out, "");
    } catch (const Error& error) {
      ASSERT_NE(row.refusal, nullptr) << error.what();
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported) << error.what();
      EXPECT_NE(std::string(error.what()).find(row.refusal), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("export it as hf"), std::string::npos);
      EXPECT_TRUE(fs::is_empty(out.parent_path())) << "something was left behind";
      continue;
    }
    EXPECT_EQ(row.refusal, nullptr) << "it was written";
    expect_same(source, models::load(out), row);
    written.insert(source.hf_config.at("model_type").get<std::string>());
  }
  EXPECT_EQ(written.size(), models::architectures().size()) << "an architecture is never written";
}

TEST_F(GgufExport, NoCheckpointIsPassedOver) {
  std::set<std::string> rows, folders;
  for (const Row& row : kRows) rows.insert(row.folder);
  for (const auto& entry : fs::directory_iterator(kTiny)) {
    if (fs::exists(entry.path() / "config.json")) folders.insert(entry.path().filename().string());
  }
  EXPECT_EQ(rows, folders);
  EXPECT_EQ(std::size(kRows), 46u);
  EXPECT_EQ(folders.size(), 34u);
}

TEST_F(GgufExport, QuantisedOnTheWay) {
  const Row row = {"llama"};
  const models::Model source = models::load(folder_of(row));
  models::save_gguf(source, work_ / "q8_0.gguf", "q8_0");
  const models::Model file = models::load(work_ / "q8_0.gguf");
  EXPECT_EQ(file.gguf->require_int("general.file_type"), 7);
  EXPECT_EQ(file.gguf->require_int("general.quantization_version"), 2);
  const auto ids = golden_ids(row);
  const double gap = relative(logits_of(file, ids), logits_of(source, ids));
  EXPECT_GT(gap, kBound);
  EXPECT_LT(gap, 0.05);
}

TEST_F(GgufExport, NeedsATokenizer) {
  const fs::path folder = folder_of({"llama"});
  fs::remove(folder / "tokenizer.json");
  const models::Model source = models::load(folder);
  try {
    models::save_gguf(source, work_ / "model.gguf", "");
    ADD_FAILURE() << "it was written";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("put its tokenizer.json into the folder"),
              std::string::npos)
        << error.what();
  }
  EXPECT_FALSE(fs::exists(work_ / "model.gguf"));
}

// Ids that end a generation, the template and the padding of the vocabulary come back as well.
TEST_F(GgufExport, TextParts) {
  const fs::path folder = folder_of({"llama"});
  Json config = read_json_file(folder / "tokenizer_config.json");
  config["chat_template"] = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";
  write_file_atomically(folder / "tokenizer_config.json", config.dump());
  write_file_atomically(folder / "generation_config.json", R"({"eos_token_id": [2, 30, 41]})");
  const models::Model source = models::load(folder);
  ASSERT_EQ(source.text.stops, (std::vector<int32_t>{2, 30, 41}));
  models::save_gguf(source, work_ / "model.gguf", "");
  const models::Model file = models::load(work_ / "model.gguf");
  EXPECT_EQ(file.text.stops, source.text.stops);
  EXPECT_EQ(file.chat().source(), source.chat().source());
  write_file_atomically(folder / "generation_config.json", R"({"eos_token_id": [2, 30, 41, 42]})");
  EXPECT_THROW(models::save_gguf(models::load(folder), work_ / "more.gguf", ""), Error);
}

}  // namespace
}  // namespace moxie
