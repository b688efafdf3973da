#include "nn/decoder.h"

#include <algorithm>

#include "nn/block.h"
#include "ops/add.h"
#include "ops/gather_rows.h"
#include "ops/linear.h"
#include "ops/logit_loss.h"
#include "ops/logit_rows.h"
#include "ops/rms_norm.h"
#include "ops/scale.h"

namespace moxie::nn {

void DecoderConfig::check() const {
  const auto need = [&](bool holds, const char* what) {
    if (holds) return;
    fail(ErrorCode::kCorruptData, architecture.empty() ? "model" : architecture,
         "{}: vocab {}, hidden {}, ffn {}, {} layers, {} heads of {}, {} key heads, context {}",
         what, vocab, hidden, ffn, layers.size(), heads, head_dim, kv_heads, max_positions);
  };
  const int64_t limit = int64_t{1} << 24;
  need(vocab > 0 && vocab < limit && hidden > 0 && hidden < limit && ffn > 0 && ffn < limit,
       "a size is out of range");
  need(!layers.empty() && layers.size() <= 512, "there must be 1 to 512 layers");
  need(heads > 0 && heads < 65536 && kv_heads > 0 && heads % kv_heads == 0,
       "key heads must divide heads");
  need(head_dim > 0 && head_dim <= 4096 && max_positions > 0,
       "a head size or context is out of range");
  need(norm_epsilon > 0 && norm_epsilon < 1, "the norm's epsilon is out of range");
  for (const RopeConfig& rope : ropes) {
    need(rope.rotated > 0 && rope.rotated <= head_dim && rope.rotated % 2 == 0,
         "the rotated part must be even and fit a head");
    need(rope.theta > 0 && rope.factor > 0 && rope.max_positions > 0,
         "a rope setting is out of range");
  }
  for (const LayerConfig& layer : layers) {
    need(
        layer.window >= 0 && (!layer.uses_rope ||
                              (layer.rope >= 0 && layer.rope < static_cast<int64_t>(ropes.size()))),
        "a layer's window or rope is out of range");
  }
}

Decoder::Decoder(DecoderConfig config, const WeightSource& source) : config_(std::move(config)) {
  config_.check();
  embed_ = Matrix("embed", source.matrix("embed", config_.vocab, config_.hidden));
  embed_site_ = {"embed", SiteKind::kEmbedding, config_.vocab, config_.hidden, -1, {}};
  for (int64_t i = 0; i < static_cast<int64_t>(config_.layers.size()); ++i) {
    blocks_.push_back(std::make_unique<Block>(config_, i, source));
  }
  final_norm_.name = "final_norm";
  final_norm_.value = source.vector("final_norm", config_.hidden);
  final_norm_.is_trainable = false;
  final_norm_.decays = false;
  head_site_ = {"head", SiteKind::kLinear, config_.hidden, config_.vocab, -1, {}};
  if (!config_.ties_embeddings)
    head_ = Matrix("head", source.matrix("head", config_.vocab, config_.hidden));
}

Decoder::~Decoder() = default;

Tensor Decoder::forward(const Batch& batch, const ForwardOptions& options) const {
  MOXIE_ASSERT(options.states.empty() ||
               static_cast<int64_t>(options.states.size()) == batch.sequences());
  Pass pass{batch, options, {&batch.tokens, options.is_training, options.dropout_seed}, {}};
  int64_t length = 0;
  for (const int32_t position : batch.positions) length = std::max<int64_t>(length, position + 1);
  for (const RopeConfig& rope : config_.ropes) {
    RopeFrequencies frequencies = rope_frequencies(rope, length);
    auto angles = std::make_shared<ops::RopeAngles>(
        ops::RopeAngles{batch.positions, std::move(frequencies.values), frequencies.amplitude});
    if (dtype_ == DType::kF32) ops::tabulate(*angles);
    pass.angles.push_back(std::move(angles));
  }
  Tensor stream = embed_site_.run_taps({}, embed_.gather(batch.tokens, dtype_), pass.taps);
  if (config_.embedding_scale != 1) stream = ops::scale(stream, config_.embedding_scale);
  for (const auto& block : blocks_) {
    if (options.recomputes && ops::Tape::active() != nullptr) {
      // The segment runs again in the backward, when this call has returned: it owns what it reads.
      const auto owned = std::make_shared<std::pair<Batch, ForwardOptions>>(batch, options);
      const Block* at = block.get();
      stream = ops::Tape::active()->recompute(
          {stream}, [this, at, owned, angles = pass.angles](const std::vector<Tensor>& in) {
            const Pass again{
                owned->first,
                owned->second,
                {&owned->first.tokens, owned->second.is_training, owned->second.dropout_seed},
                angles};
            return at->forward(config_, in[0], again);
          });
    } else {
      stream = block->forward(config_, stream, pass);
    }
  }
  for (size_t s = 0; s < options.states.size(); ++s) {
    options.states[s]->advance(batch.offsets[s + 1] - batch.offsets[s]);
  }
  return ops::rms_norm(stream, use(const_cast<Param&>(final_norm_)), config_.norm_epsilon,
                       config_.norm_shift, head().keeps_bf16());
}

Tensor Decoder::loss(const Tensor& hidden, std::vector<int64_t> labels,
                     const ForwardOptions& options) const {
  const Matrix& projection = head();
  const bool learns = std::any_of(labels.begin(), labels.end(), [](int64_t l) { return l >= 0; });
  if (!head_site_.taps.empty() && learns) return adapted_loss(hidden, labels, options);
  if (projection.is_frozen())
    return ops::cross_entropy(hidden, projection.frozen(), std::move(labels), logit_options());
  return ops::cross_entropy(hidden, use(*projection.param()), std::move(labels), logit_options(),
                            projection.training_arithmetic());
}

// The head with what is attached to it, a block of labelled rows at a time: each block's logits are
// made again in the backward, so no more than one block of them exists.
Tensor Decoder::adapted_loss(const Tensor& hidden, const std::vector<int64_t>& labels,
                             const ForwardOptions& options) const {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] >= 0) rows.push_back(static_cast<int64_t>(i));
  }
  const auto block = static_cast<size_t>(ops::logit_rows_a_block(config_.vocab, sizeof(float)));
  Tensor total;
  for (size_t first = 0; first < rows.size(); first += block) {
    const std::vector<int64_t> ids(
        rows.begin() + static_cast<std::ptrdiff_t>(first),
        rows.begin() + static_cast<std::ptrdiff_t>(std::min(rows.size(), first + block)));
    std::vector<int64_t> wanted;
    for (const int64_t row : ids) wanted.push_back(labels[static_cast<size_t>(row)]);
    // Each block drops other elements: a seed of its own.
    const uint64_t seed = options.dropout_seed + first * 0x9E3779B97F4A7C15u;
    const auto segment = [this, ids, wanted, seed,
                          trains = options.is_training](const std::vector<Tensor>& in) {
      const Tensor x = ops::gather_rows(in[0], ids);
      return ops::logit_loss(head_site_.run_taps(x, head().logits(x), {nullptr, trains, seed}),
                             wanted, logit_options());
    };
    ops::Tape* tape = ops::Tape::active();
    Tensor part = tape != nullptr ? tape->recompute({hidden}, segment) : segment({hidden});
    total = total.defined() ? ops::add(total, part) : part;
  }
  return total;
}

void Decoder::for_logit_blocks(const Tensor& hidden,
                               const std::function<void(int64_t, const Tensor&)>& visit) const {
  const Matrix& projection = head();
  std::function<Tensor(const Tensor&, Tensor)> adapt;
  if (!head_site_.taps.empty()) {
    adapt = [this](const Tensor& x, Tensor y) { return head_site_.run_taps(x, std::move(y), {}); };
  }
  ops::for_logit_blocks(hidden, projection.frozen(),
                        projection.is_frozen() ? Tensor() : projection.param()->value,
                        logit_options(), visit, adapt);
}

Tensor Decoder::logits(const Tensor& hidden) const {
  Tensor all;
  for_logit_blocks(hidden, [&](int64_t first, const Tensor& block) {
    if (block.rows() == hidden.rows()) {
      all = block;
      return;
    }
    if (first == 0) all = Tensor::empty({hidden.rows(), config_.vocab}, hidden.dtype());
    std::memcpy(all.slice_rows(first, first + block.rows()).raw(), block.raw(), block.bytes());
  });
  return all;
}

std::vector<Site*> Decoder::sites() {
  std::vector<Site*> list = {&embed_site_};
  for (const auto& block : blocks_) {
    block->visit_linears([&](Linear& linear) { list.push_back(&linear.site); });
    list.insert(list.end(),
                {&block->keys, &block->values, &block->attn_stream, &block->mlp_stream});
  }
  list.push_back(&head_site_);
  return list;
}

std::vector<Matrix*> Decoder::matrices() {
  std::vector<Matrix*> list = {&embed_};
  for (const auto& block : blocks_) {
    block->visit_linears([&](Linear& linear) { list.push_back(&linear.weight); });
  }
  if (!config_.ties_embeddings) list.push_back(&head_);
  return list;
}

std::vector<Param*> Decoder::vectors() {
  std::vector<Param*> list;
  for (const auto& block : blocks_) {
    block->visit_vectors([&](Param& param) { list.push_back(&param); });
  }
  list.push_back(&final_norm_);
  return list;
}

ParamList Decoder::params() {
  ParamList list;
  for (Matrix* matrix : matrices()) {
    if (matrix->param() != nullptr) list.push_back(matrix->param());
  }
  for (Param* param : vectors()) list.push_back(param);
  return list;
}

void Decoder::make_trainable() {
  for (Matrix* matrix : matrices()) matrix->make_trainable();
  for (Param* param : vectors()) param->is_trainable = true;
}

void Decoder::untie() {
  if (!config_.ties_embeddings) return;
  MOXIE_ASSERT(embed_.is_frozen());
  head_ = Matrix("head", embed_.frozen());
  config_.ties_embeddings = false;
}

void Decoder::set_compute(quant::Compute compute) {
  for (Matrix* matrix : matrices()) matrix->set_compute(compute);
}

void Decoder::widen() {
  dtype_ = DType::kF64;
  for (Matrix* matrix : matrices()) matrix->widen();
  for (Param* param : vectors()) param->value = param->value.to(DType::kF64);
}

SequenceState Decoder::new_state() const {
  return {static_cast<int64_t>(config_.layers.size()), config_.kv_heads * config_.head_dim,
          cache_dtype_};
}

}  // namespace moxie::nn
