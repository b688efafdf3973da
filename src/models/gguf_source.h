#pragma once
// Weights of a GGUF file. Llama-family files store the rows of q and k for interleaved rotary pairs
// (element 2i beside 2i + 1); reading puts them back in Hugging Face's order (i beside i + half),
// which moves whole rows and so works in any block format.
#include <memory>

#include "io/gguf.h"
#include "nn/decoder.h"

namespace moxie::models {

std::unique_ptr<nn::WeightSource> make_gguf_source(const nn::DecoderConfig& config,
                                                   bool permutes_qk,
                                                   std::shared_ptr<const io::GgufFile> file);

// For row r of Hugging Face's order within one head, the row of the file that holds it.
int64_t permuted_row(int64_t row, int64_t head_dim);
// True for the q and k matrices and their biases.
bool is_rotary(const std::string& name);

}  // namespace moxie::models
