#pragma once
#include <memory>

#include "io/safetensors.h"
#include "nn/decoder.h"

namespace moxie::models {

// The weights of a Hugging Face checkpoint. `config` must outlive it.
std::unique_ptr<nn::WeightSource> make_hf_source(const nn::DecoderConfig& config,
                                                 std::shared_ptr<const io::Safetensors> file);

}  // namespace moxie::models
