#pragma once
// A model as it is used: the decoder with its weights, its text parts, and where it came from.
#include <filesystem>
#include <memory>
#include <string>

#include "base/json.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "models/architecture.h"
#include "models/text_parts.h"
#include "nn/decoder.h"

namespace moxie::models {

struct Model {
  std::filesystem::path path;
  const Named<Architecture>* architecture = nullptr;
  std::unique_ptr<nn::Decoder> decoder;
  TextParts text;
  std::shared_ptr<const io::GgufFile> gguf;  // set when it came from a GGUF file
  std::shared_ptr<const io::Safetensors>
      safetensors;  // set when it came from a Hugging Face folder
  Json hf_config;   // config.json, null from GGUF

  const text::Tokenizer& tokenizer() const;  // throws kUnsupported when the model has none
  const text::ChatTemplate& chat() const;    // likewise
};

// A GGUF file, or a folder with config.json and safetensors. Weights stay in the file's own bytes.
Model load(const std::filesystem::path& path);

}  // namespace moxie::models
