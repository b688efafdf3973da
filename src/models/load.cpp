#include "models/load.h"

#include "base/memory.h"
#include "models/gguf_config.h"
#include "models/gguf_keys.h"
#include "models/gguf_source.h"
#include "models/hf_config.h"
#include "models/hf_source.h"

namespace moxie::models {
namespace fs = std::filesystem;
namespace {

Model load_gguf(const fs::path& path) {
  Model model;
  model.path = path;
  model.gguf = io::GgufFile::open(path);
  if (model.gguf->get_string(key::kType).value_or("model") == "adapter") {
    fail(ErrorCode::kInvalidArgument, path.string(),
         "this is an adapter, not a model; give the model and pass this with --adapter");
  }
  nn::DecoderConfig config = read_gguf_config(*model.gguf, &model.architecture);
  const auto source = make_gguf_source(config, (*model.architecture)->gguf_permutes_qk, model.gguf);
  model.decoder = std::make_unique<nn::Decoder>(config, *source);
  model.text = load_text_parts(*model.gguf);
  return model;
}

Model load_folder(const fs::path& folder) {
  Model model;
  model.path = folder;
  std::error_code ignored;
  if (!fs::exists(folder / "config.json", ignored)) {
    const char* hint = fs::exists(folder / "adapter_config.json", ignored)
                           ? "it is an adapter: give its base model and pass this with --adapter"
                           : "give a folder with config.json and *.safetensors, or a .gguf file";
    fail(ErrorCode::kNotFound, folder.string(), "there is no config.json here; {}", hint);
  }
  model.hf_config = read_json_file(folder / "config.json");
  nn::DecoderConfig config =
      read_hf_config(model.hf_config, (folder / "config.json").string(), &model.architecture);
  model.safetensors = io::Safetensors::open_folder(folder);
  const auto source = make_hf_source(config, model.safetensors);
  model.decoder = std::make_unique<nn::Decoder>(config, *source);
  model.text = load_text_parts(folder);
  return model;
}

}  // namespace

const text::Tokenizer& Model::tokenizer() const {
  if (!text.tokenizer) {
    fail(ErrorCode::kUnsupported, path.string(),
         "the model has no tokenizer; put its tokenizer.json into the folder");
  }
  return *text.tokenizer;
}

const text::ChatTemplate& Model::chat() const {
  if (!text.chat) {
    fail(ErrorCode::kUnsupported, path.string(),
         "the model has no chat template; use --raw, or data in {{prompt, completion}} or {{text}} "
         "form");
  }
  return *text.chat;
}

Model load(const fs::path& path) {
  std::error_code ignored;
  const bool is_folder = fs::is_directory(path, ignored);
  if (!is_folder && !fs::exists(path, ignored)) {
    fail(ErrorCode::kNotFound, "model",
         "there is no file or folder '{}'; see `moxie ls` for the models that were pulled",
         path.string());
  }
  Model model = is_folder ? load_folder(path) : load_gguf(path);
  release_freed_memory();  // while it was read, a large vocabulary was there several times
  return model;
}

}  // namespace moxie::models
