#include "recipes/tune_plan.h"

#include <algorithm>

#include "base/clock.h"
#include "ops/adapted_int8.h"
#include "ops/logit_rows.h"

namespace moxie::recipes {
namespace {

constexpr uint64_t kFloat = sizeof(float), kHalf = 2;
constexpr uint64_t kProcessBytes = uint64_t{24} << 20;  // code, stacks, scratch, the report

// Whether a block's gate, up and down run as one op (ops/gated_mlp.h), which keeps none of their
// results in f32.
bool fuses_mlp(const nn::DecoderConfig& c, bool is_one_op) {
  return is_one_op && !c.fuses_gate_up && !c.mlp_bias;
}

// How a decoder's products are made of `n` rows, and so what is kept for the backward.
struct Form {
  bool halves = false;     // attention and norms keep numbers of bf16 (ops/kept.h)
  bool is_int8 = false;    // and projections, whose adapters run along (ops/adapted_int8.h)
  bool packs_x = false;    // matrices that train keep their inputs in tiles (ops/dense.h)
  bool is_packed = false;  // projections keep tiles (kernels/packed_rows.h), and of what
  kernels::Tiles tiles = kernels::Tiles::kBF16;
};

// Whether the taps of a site can be part of its product's op (nn/linear.h).
bool can_run_along(const nn::Site* site) {
  const nn::TapContext training{.is_training = true};
  return site->taps.empty() ||
         (site->taps.size() == 1 && site->taps.front()->low_rank_in(training).has_value());
}

Form form_of(nn::Decoder& decoder, int64_t n) {
  Form form;
  const auto sites = decoder.sites();
  const bool runs_along = std::all_of(sites.begin(), sites.end(), can_run_along);
  for (const nn::Matrix* matrix : decoder.matrices()) {
    const bool is_bf16 = matrix->arithmetic() == kernels::Arithmetic::kBF16;
    form.halves = form.halves || matrix->keeps_bf16();
    form.is_int8 = form.is_int8 || (matrix->is_frozen() && matrix != &decoder.head() &&
                                    runs_along && ops::takes_lora_in_int8(matrix->frozen(), n));
    form.packs_x = form.packs_x || (is_bf16 && !matrix->is_frozen());
    if (!matrix->is_frozen() || !matrix->frozen().runs_packed(n)) continue;
    form.is_packed = true;
    form.tiles = matrix->frozen().tiles(n);
  }
  return form;
}

uint64_t packed_bytes(int64_t numbers, kernels::Tiles tiles) {
  return static_cast<uint64_t>(numbers * kernels::tile_size(tiles) / kernels::kTileSize) * kHalf;
}

// Bytes that one block keeps a token for its backward: inputs of norms, q, k, v and the output of
// attention, gate and up; and inputs of projections with an adapter, with room for the adapter's
// numbers where they are packed, but then the output of attention is there in both ways and down's
// input is not kept. In integers nothing is there twice.
uint64_t kept_a_token(const nn::DecoderConfig& c, const Form& form) {
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  int64_t rounded = 2 * c.hidden + 2 * q + 2 * kv;
  if (c.placement == nn::NormPlacement::kSandwich) rounded += 2 * c.hidden;
  if (c.qk_norm != nn::QkNorm::kNone) rounded += q + kv;
  int64_t plain = c.heads;
  const bool is_fused = fuses_mlp(c, form.is_packed || form.is_int8);
  const bool is_packed = form.is_packed && is_fused;
  if (form.is_int8) {
    rounded += 2 * c.hidden + (is_fused ? 2 * c.ffn : c.ffn);
  } else if (is_packed) {
    plain += c.ffn + kernels::kTileDepth;
  }
  if (!is_fused) plain += 2 * c.ffn;
  if (c.fuses_qkv) plain += q + 2 * kv;
  if (c.fuses_gate_up) plain += 2 * c.ffn;
  const int64_t inputs = 2 * c.hidden + (is_fused ? 0 : c.ffn);
  const bool packs_inputs = form.is_packed || form.packs_x;
  if (!packs_inputs && !form.is_int8) plain += inputs + (form.halves ? q : 0);
  uint64_t bytes = static_cast<uint64_t>(rounded) * (form.halves ? kHalf : kFloat) +
                   static_cast<uint64_t>(plain) * kFloat;
  if (packs_inputs) bytes += packed_bytes(inputs + q + 4 * kernels::kTileDepth, form.tiles);
  return bytes;
}

// The logits of a block of `learnt` rows that carry a label.
uint64_t logit_bytes(const nn::DecoderConfig& c, const nn::Matrix& head, int64_t learnt) {
  const ops::LogitOptions options{c.logit_scale, c.logit_softcap};
  const ops::LogitForm logits =
      head.is_frozen() ? ops::logit_form(head.frozen(), options, learnt) : ops::LogitForm::kF32;
  if (logits == ops::LogitForm::kF32) {
    const int64_t most = ops::logit_rows_a_block(c.vocab, kFloat, head.is_frozen() ? 0 : c.hidden);
    return static_cast<uint64_t>(std::min(learnt, most) * c.vocab) * kFloat;
  }
  const int64_t rows = std::min(learnt, ops::logit_rows_of_16_bits(c.vocab));
  const bool is_packed = logits == ops::LogitForm::kPacked;
  const bool is_int8 = head.frozen().softmax_arithmetic() == kernels::Arithmetic::kInt8;
  if (!is_packed) return static_cast<uint64_t>(rows * c.vocab) * (is_int8 ? 1 : kHalf);
  return packed_bytes(rows * c.vocab, head.frozen().tiles(rows));
}

}  // namespace

MemoryPlan plan_memory(nn::Decoder& decoder, const nn::ParamList& params,
                       const MemoryInputs& inputs) {
  const nn::DecoderConfig& c = decoder.config();
  MemoryPlan plan;
  for (const nn::Matrix* matrix : decoder.matrices()) {
    if (matrix->is_frozen()) plan.weights += matrix->frozen().bytes().size();
  }
  const Form form = form_of(decoder, inputs.micro_tokens);
  const auto elements = static_cast<uint64_t>(nn::count_elements(params));
  plan.training = elements * kFloat * static_cast<uint64_t>(2 + inputs.state_tensors);
  const auto n = static_cast<uint64_t>(inputs.micro_tokens);
  const auto layers = static_cast<uint64_t>(c.layers.size());
  const uint64_t block = kept_a_token(c, form) * n;
  plan.activations = inputs.recomputes
                         ? block + layers * n * static_cast<uint64_t>(c.hidden) * kFloat
                         : layers * block;
  // Gradients in flight through one block, and the logits of a block of rows with what feeds them.
  const bool is_tiled = form.is_packed && fuses_mlp(c, true);
  const int64_t wide = is_tiled ? c.ffn : 4 * c.ffn;
  plan.activations += n * static_cast<uint64_t>(wide + 6 * c.hidden) * kFloat;
  plan.activations += logit_bytes(c, decoder.head(), inputs.learnt_share);
  if (inputs.trains_base) {  // the head's gradient exists once more on its way
    plan.activations += static_cast<uint64_t>(c.vocab * c.hidden) * kFloat;
  }
  // What is here already, without the values that `training` counts. Pages of the model's file
  // count where it was read and is not needed any more; else they are `weights`.
  const HeldMemory now = held_memory();
  const uint64_t held = now.own + (inputs.trains_base ? now.mapped : 0);
  plan.base = kProcessBytes + std::max(held, elements * kFloat) - elements * kFloat;
  return plan;
}

Json to_json(const MemoryPlan& plan) {
  return {{"weights_bytes", plan.weights},
          {"training_bytes", plan.training},
          {"activation_bytes", plan.activations},
          {"base_bytes", plan.base},
          {"total_bytes", plan.total()}};
}

std::vector<std::pair<std::string, int64_t>> elements_by_site(const nn::ParamList& params) {
  std::vector<std::pair<std::string, int64_t>> list;
  for (const nn::Param* param : params) {
    const std::string site = param->name.substr(0, param->name.rfind('.'));
    if (list.empty() || list.back().first != site) list.emplace_back(site, 0);
    list.back().second += param->value.count();
  }
  return list;
}

}  // namespace moxie::recipes
