#pragma once
// Writes a model as a GGUF file, its weights in their own bytes or in another format, q and k in
// the order llama.cpp expects. Of a model that came from a GGUF file the metadata stay as they
// were; of a Hugging Face folder they are made from its configuration and its tokenizer, and the
// file appears only after both, read back from it, are what they were.
#include <filesystem>
#include <string>

#include "models/load.h"

namespace moxie::models {

// `format`: a name of quant.list for the matrices of the blocks and the head, or "" to keep each
// weight's own (f32 for what was merged or trained). Vectors are f32.
void save_gguf(const Model& model, const std::filesystem::path& path, const std::string& format);

}  // namespace moxie::models
