#pragma once
// Names of GGUF metadata, for the readers and the writer alike (the specification in ggml's
// docs/gguf.md, src/llama-arch.cpp of llama.cpp). Those of the first group follow
// "<architecture>.".
namespace moxie::models::key {

inline constexpr char kContextLength[] = "context_length";
inline constexpr char kEmbeddingLength[] = "embedding_length";
inline constexpr char kBlockCount[] = "block_count";
inline constexpr char kFeedForwardLength[] = "feed_forward_length";
inline constexpr char kVocabSize[] = "vocab_size";
inline constexpr char kHeadCount[] = "attention.head_count";
inline constexpr char kHeadCountKv[] = "attention.head_count_kv";
inline constexpr char kKeyLength[] = "attention.key_length";
inline constexpr char kValueLength[] = "attention.value_length";
inline constexpr char kNormEpsilon[] = "attention.layer_norm_rms_epsilon";
inline constexpr char kWindow[] = "attention.sliding_window";
inline constexpr char kWindowPattern[] = "attention.sliding_window_pattern";
inline constexpr char kAttentionScale[] = "attention.scale";
inline constexpr char kAttentionSoftcap[] = "attn_logit_softcapping";
inline constexpr char kLogitSoftcap[] = "final_logit_softcapping";
inline constexpr char kEmbeddingScale[] = "embedding_scale";
inline constexpr char kResidualScale[] = "residual_scale";
inline constexpr char kLogitScale[] = "logit_scale";
inline constexpr char kRopeDimensions[] = "rope.dimension_count";
inline constexpr char kRopeBase[] = "rope.freq_base";
inline constexpr char kRopeBaseWindow[] = "rope.freq_base_swa";
inline constexpr char kRopeType[] = "rope.scaling.type";
inline constexpr char kRopeFactor[] = "rope.scaling.factor";
inline constexpr char kRopeOriginalContext[] = "rope.scaling.original_context_length";
inline constexpr char kRopeAmplitude[] = "rope.scaling.attn_factor";

inline constexpr char kArchitecture[] = "general.architecture";
inline constexpr char kType[] = "general.type";
inline constexpr char kName[] = "general.name";
inline constexpr char kFileType[] = "general.file_type";
inline constexpr char kQuantizationVersion[] = "general.quantization_version";
inline constexpr char kAlignment[] = "general.alignment";

inline constexpr char kVocabModel[] = "tokenizer.ggml.model";
inline constexpr char kPre[] = "tokenizer.ggml.pre";
inline constexpr char kTokens[] = "tokenizer.ggml.tokens";
inline constexpr char kScores[] = "tokenizer.ggml.scores";
inline constexpr char kTokenTypes[] = "tokenizer.ggml.token_type";
inline constexpr char kMerges[] = "tokenizer.ggml.merges";
inline constexpr char kBos[] = "tokenizer.ggml.bos_token_id";
inline constexpr char kEos[] = "tokenizer.ggml.eos_token_id";
inline constexpr char kEot[] = "tokenizer.ggml.eot_token_id";
inline constexpr char kEom[] = "tokenizer.ggml.eom_token_id";
inline constexpr char kUnknown[] = "tokenizer.ggml.unknown_token_id";
inline constexpr char kPadding[] = "tokenizer.ggml.padding_token_id";
inline constexpr char kAddBos[] = "tokenizer.ggml.add_bos_token";
inline constexpr char kAddEos[] = "tokenizer.ggml.add_eos_token";
inline constexpr char kAddSpacePrefix[] = "tokenizer.ggml.add_space_prefix";
inline constexpr char kRemoveSpaces[] = "tokenizer.ggml.remove_extra_whitespaces";
inline constexpr char kCharsmap[] = "tokenizer.ggml.precompiled_charsmap";
inline constexpr char kChatTemplate[] = "tokenizer.chat_template";

// Tensors beside the weights.
inline constexpr char kRopeDivisors[] = "rope_freqs.weight";
inline constexpr char kRopeLong[] = "rope_factors_long.weight";
inline constexpr char kRopeShort[] = "rope_factors_short.weight";

}  // namespace moxie::models::key
