#include "recipes/tune_plan.h"

#include <algorithm>

#include "base/clock.h"
#include "ops/logit_rows.h"

namespace moxie::recipes {
namespace {

constexpr uint64_t kFloat = sizeof(float), kHalf = 2;
constexpr uint64_t kProcessBytes = uint64_t{24} << 20;  // code, stacks, scratch, the report

// Whether a block's gate, up and down run as one op (ops/gated_mlp.h), which keeps none of their
// results in f32.
bool fuses_mlp(const nn::DecoderConfig& c, bool is_packed) {
  return is_packed && !c.fuses_gate_up && !c.mlp_bias;
}

// Elements that one block keeps a token for its backward: inputs of norms, q, k, v and the output
// of attention, gate and up; and inputs of projections with an adapter, which are half as large
// where they are packed (kernels/packed_rows.h), and room for the adapter's numbers, but then the
// output of attention is there in both ways.
uint64_t kept_a_token(const nn::DecoderConfig& c, bool is_packed) {
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  int64_t kept = 2 * c.hidden + 2 * q + 2 * kv + c.heads;
  kept += fuses_mlp(c, is_packed) ? c.ffn + kernels::kTileDepth : 2 * c.ffn;
  const int64_t inputs = 2 * c.hidden + c.ffn;
  kept += is_packed ? (inputs + q) / 2 + 4 * kernels::kTileDepth / 2 : inputs;
  if (c.placement == nn::NormPlacement::kSandwich) kept += 2 * c.hidden;
  if (c.qk_norm != nn::QkNorm::kNone) kept += q + kv;
  if (c.fuses_qkv) kept += q + 2 * kv;
  if (c.fuses_gate_up) kept += 2 * c.ffn;
  return static_cast<uint64_t>(kept);
}

// The logits of a block of `learnt` rows that carry a label.
uint64_t logit_bytes(const nn::DecoderConfig& c, const nn::Matrix& head, int64_t learnt) {
  const ops::LogitOptions options{c.logit_scale, c.logit_softcap};
  const bool is_f32 =
      !head.is_frozen() || ops::logit_form(head.frozen(), options, learnt) == ops::LogitForm::kF32;
  const int64_t rows =
      is_f32 ? ops::logit_rows_a_block(c.vocab, kFloat) : ops::logit_rows_of_16_bits(c.vocab);
  return static_cast<uint64_t>(std::min(rows, learnt) * c.vocab) * (is_f32 ? kFloat : kHalf);
}

}  // namespace

MemoryPlan plan_memory(nn::Decoder& decoder, const nn::ParamList& params,
                       const MemoryInputs& inputs) {
  const nn::DecoderConfig& c = decoder.config();
  MemoryPlan plan;
  bool is_packed = false;
  for (const nn::Matrix* matrix : decoder.matrices()) {
    if (!matrix->is_frozen()) continue;
    plan.weights += matrix->frozen().bytes().size();
    is_packed = is_packed || matrix->frozen().runs_packed(inputs.micro_tokens);
  }
  const auto elements = static_cast<uint64_t>(nn::count_elements(params));
  plan.training = elements * kFloat * static_cast<uint64_t>(2 + inputs.state_tensors);
  const auto n = static_cast<uint64_t>(inputs.micro_tokens);
  const auto layers = static_cast<uint64_t>(c.layers.size());
  const uint64_t block = kept_a_token(c, is_packed) * kFloat * n;
  plan.activations = inputs.recomputes
                         ? block + layers * n * static_cast<uint64_t>(c.hidden) * kFloat
                         : layers * block;
  // Gradients in flight through one block, and the logits of a block of rows with what feeds them.
  const int64_t wide = fuses_mlp(c, is_packed) ? c.ffn : 4 * c.ffn;
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
