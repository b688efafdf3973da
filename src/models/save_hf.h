#pragma once
// Writes a model as a Hugging Face folder: config.json, model.safetensors, tokenizer files. From a
// GGUF file the configuration is rebuilt, q and k stand in Hugging Face's order, and norms lose
// Gemma's one.
#include <filesystem>

#include "models/load.h"

namespace moxie::models {

// Weights in `dtype`: f32, bf16 or f16.
void save_hf(const Model& model, const std::filesystem::path& folder, DType dtype = DType::kF32);
Json to_hf_config(const nn::DecoderConfig& config);

}  // namespace moxie::models
