#pragma once
// One map for all dense decoders between the names of nn::Decoder, of Hugging Face checkpoints and
// of GGUF files. What differs between architectures follows from their configuration.
#include <optional>
#include <string>

#include "nn/decoder.h"

namespace moxie::models {

// "layers.3.attn.q" -> "model.layers.3.self_attn.q_proj"; also for norms, embed, head, and with
// ".bias". Without ".weight": the module's name, as PEFT spells it.
std::string hf_module_name(const nn::DecoderConfig& config, const std::string& name);
// "layers.3.attn.q" -> "blk.3.attn_q".
std::string gguf_tensor_name(const nn::DecoderConfig& config, const std::string& name);

}  // namespace moxie::models
