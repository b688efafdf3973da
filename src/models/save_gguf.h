#pragma once
// Writes a model that came from a GGUF file as a GGUF file: its metadata as it was, its weights in
// their own bytes or in another format, q and k in the order llama.cpp expects.
#include <filesystem>
#include <string>

#include "models/load.h"

namespace moxie::models {

// `format`: a name of quant.list for the matrices of the blocks and the head, or "" to keep each
// weight's own (f32 for what was merged or trained). Vectors are f32.
void save_gguf(const Model& model, const std::filesystem::path& path, const std::string& format);

}  // namespace moxie::models
