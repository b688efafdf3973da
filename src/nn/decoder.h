#pragma once
// A decoder-only transformer as data: DecoderConfig says what each block is made of, a WeightSource
// gives its weights by architecture-neutral names, and one Decoder runs training, scoring and
// generation: forward over a ragged batch, with or without per-sequence state, with or without a
// tape.
//
// Names (those of GGUF are mapped to them in models/): embed, head, final_norm, layers.N.
//   {attn_norm, attn_post_norm, mlp_norm, mlp_post_norm, attn.q_norm, attn.k_norm}         vectors
//   {attn.q, attn.k, attn.v, attn.o, attn.qkv, mlp.gate, mlp.up, mlp.down, mlp.gate_up} matrices
//   and <matrix>.bias. Sites have the names of their matrices (a tied head too has one);
//   streams are layers.N.attn, layers.N.mlp.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nn/batch.h"
#include "nn/linear.h"
#include "nn/rope_table.h"
#include "nn/state.h"
#include "ops/activation.h"
#include "ops/cross_entropy.h"
#include "ops/rope.h"

namespace moxie::nn {

enum class NormPlacement { kPre, kPost, kSandwich };  // Llama | OLMo 2 | Gemma 2 and 3
enum class QkNorm { kNone, kPerHead, kFullWidth };    // - | Qwen 3, Gemma 3 | OLMo 2

struct LayerConfig {
  int64_t window = 0;     // 0: sees everything before it
  bool uses_rope = true;  // SmolLM3 leaves some layers without positions
  int64_t rope = 0;       // index into DecoderConfig::ropes
};

struct DecoderConfig {
  std::string architecture;
  int64_t vocab = 0, hidden = 0, ffn = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int64_t max_positions = 2048;
  double norm_epsilon = 1e-5;
  double norm_shift = 0;  // 1: norm weights are stored less one (Gemma)
  NormPlacement placement = NormPlacement::kPre;
  QkNorm qk_norm = QkNorm::kNone;
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  bool fuses_qkv = false, fuses_gate_up = false;  // one matrix on disk and one site (Phi-3)
  ops::Activation activation = ops::Activation::kSilu;
  double attention_scale = 0;  // 0: 1 / sqrt(head_dim)
  double attention_softcap = 0, logit_softcap = 0;
  double logit_scale = 1, embedding_scale = 1, residual_scale = 1;
  bool ties_embeddings = false;
  std::vector<RopeConfig> ropes;
  std::vector<LayerConfig> layers;

  void check() const;  // consistency (G12); throws kCorruptData
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual bool has(const std::string& name) const = 0;
  // Both check shapes and throw kCorruptData that names the tensor as the file spells it.
  virtual quant::Weight matrix(const std::string& name, int64_t rows, int64_t cols) const = 0;
  virtual Tensor vector(const std::string& name, int64_t count) const = 0;  // f32
};

struct ForwardOptions {
  bool is_training = false;  // dropout is on
  bool recomputes = false;   // keep only each block's input, run it again in the backward
  uint64_t dropout_seed = 0;
  std::vector<SequenceState*>
      states;  // one a sequence, or empty; their keys and values are appended to
};

struct Block;

class Decoder {
 public:
  Decoder(DecoderConfig config, const WeightSource& source);
  ~Decoder();
  const DecoderConfig& config() const { return config_; }

  // Final normed hidden states [N, hidden].
  Tensor forward(const Batch& batch, const ForwardOptions& options = {}) const;
  // Summed cross-entropy over rows with a label (>= 0), and logits of the given hidden rows [n,
  // vocab].
  Tensor loss(const Tensor& hidden, std::vector<int64_t> labels,
              const ForwardOptions& options = {}) const;
  Tensor logits(const Tensor& hidden) const;
  void for_logit_blocks(const Tensor& hidden,
                        const std::function<void(int64_t, const Tensor&)>& visit) const;

  std::vector<Site*> sites();       // in order of the network
  std::vector<Matrix*> matrices();  // embed, blocks, head (if not tied)
  std::vector<Param*> vectors();    // norms and biases
  ParamList params();               // what is a Param now: trainable matrices and vectors
  void make_trainable();            // everything, for full fine-tuning
  void untie();                     // a frozen head of its own with the embedding's values
  const Matrix& head() const { return config_.ties_embeddings ? embed_ : head_; }
  void set_compute(quant::Compute compute);
  void set_dtype(DType dtype) { dtype_ = dtype; }  // of activations: f32, or f64 for tests
  void widen();                                    // params and activations in f64, for tests
  void set_cache_dtype(DType dtype) { cache_dtype_ = dtype; }  // of new states: f32 or f16
  SequenceState new_state() const;

 private:
  ops::LogitOptions logit_options() const { return {config_.logit_scale, config_.logit_softcap}; }
  Tensor adapted_loss(const Tensor& hidden, const std::vector<int64_t>& labels,
                      const ForwardOptions& options) const;
  DecoderConfig config_;
  DType dtype_ = DType::kF32;
  DType cache_dtype_ = DType::kF32;
  Matrix embed_, head_;
  Site embed_site_, head_site_;
  std::vector<std::unique_ptr<Block>> blocks_;
  Param final_norm_;
};

}  // namespace moxie::nn
