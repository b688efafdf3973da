// s_ij = cap(scale q_i . k_j), p_ij = exp(s_ij - lse_i), o_i = sum_j p_ij v_j
// dv_j = sum_i p_ij do_i;  ds_ij = p_ij (do_i . v_j - do_i . o_i) cap'(s_ij) scale;
// dq_i = sum_j ds_ij k_j;  dk_j = sum_i ds_ij q_i;  dsink_h = -sum_i exp(sink_h - lse_i) do_i . o_i
#include "ops/attention.h"

#include "kernels/attention.h"
#include "ops/checks.h"
#include "ops/kept.h"

namespace moxie::ops {
namespace {

void check(std::span<const Tensor> in, const AttentionOptions& o) {
  for (const Tensor& tensor : in) check_float("attention", tensor);
  const int64_t n = in[0].rows();
  if (o.heads < 1 || o.kv_heads < 1 || o.heads % o.kv_heads != 0) {
    fail(ErrorCode::kInvalidArgument, "attention", "{} heads cannot share {} key heads evenly",
         o.heads, o.kv_heads);
  }
  if (in[0].cols() != o.heads * o.head_dim || in[1].cols() != o.kv_heads * o.head_dim ||
      in[1].shape() != in[2].shape() || in[1].rows() != n || o.offsets.empty() ||
      o.offsets.back() != n) {
    fail(ErrorCode::kInvalidArgument, "attention",
         "q {}, k {}, v {} with {} and {} heads of {} over {} rows do not fit",
         in[0].shape().to_string(), in[1].shape().to_string(), in[2].shape().to_string(), o.heads,
         o.kv_heads, o.head_dim, o.offsets.empty() ? 0 : o.offsets.back());
  }
  if (in.size() > 3 && in[3].count() != o.heads) {
    fail(ErrorCode::kInvalidArgument, "attention", "{} sinks for {} heads", in[3].count(), o.heads);
  }
}

template <class T>
std::vector<kernels::AttentionSequence<T>> sequences_of(const AttentionOptions& o, const T* k,
                                                        const T* v) {
  std::vector<kernels::AttentionSequence<T>> list;
  const int64_t stride = o.kv_heads * o.head_dim;
  for (size_t s = 0; s + 1 < o.offsets.size(); ++s) {
    const int64_t begin = o.offsets[s];
    const int64_t length = o.offsets[s + 1] - begin;
    list.push_back({begin, length, k + begin * stride, v + begin * stride, length});
  }
  return list;
}

template <class T>
kernels::AttentionShape<T> shape_of(const AttentionOptions& o, const T* sinks) {
  kernels::AttentionShape<T> shape;
  shape.heads = o.heads;
  shape.kv_heads = o.kv_heads;
  shape.head_dim = o.head_dim;
  shape.scale = static_cast<T>(o.scale);
  shape.is_causal = o.is_causal;
  shape.window = o.window;
  shape.softcap = static_cast<T>(o.softcap);
  shape.sinks = sinks;
  shape.arithmetic = o.arithmetic;
  return shape;
}

Tensor forward(Call& call, std::span<const Tensor> in) {
  const auto& options = attributes_of<AttentionOptions>(call);
  check(in, options);
  const bool rounds = options.keeps_bf16 && call.any_wanted();
  std::vector<Tensor> saved;
  for (const Tensor& tensor : in.first(3)) saved.push_back(kept(tensor, rounds));
  const bool sees_kept = rounds && !kernels::rounds_to_bf16(options.arithmetic);  // else the same
  const auto seen = [&](size_t i) { return sees_kept ? restored(saved[i]) : in[i]; };
  const Tensor q = seen(0), k = seen(1), v = seen(2);
  Tensor out = Tensor::empty(in[0].shape(), in[0].dtype());
  Tensor lse = Tensor::empty({in[0].rows(), options.heads}, in[0].dtype());
  dispatch_float(out.dtype(), "attention", [&](auto zero) {
    using T = decltype(zero);
    const T* sinks = in.size() > 3 ? in[3].data<T>() : nullptr;
    const auto list = sequences_of(options, k.data<T>(), v.data<T>());
    kernels::attention_forward<T>(shape_of(options, sinks), list, q.data<T>(), out.data<T>(),
                                  lse.data<T>());
  });
  if (call.any_wanted()) {
    saved.push_back(in.size() > 3 ? in[3] : Tensor());
    saved.push_back(kept(out, rounds));
    if (rounds && options.kept_out != nullptr) *options.kept_out = saved.back();
    saved.push_back(lse);
    call.saved = std::move(saved);
  }
  return out;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const auto& options = attributes_of<AttentionOptions>(call);
  for (Tensor& saved : call.saved) saved = restored(saved);
  const Tensor &q = call.saved[0], &k = call.saved[1], &v = call.saved[2], &sinks = call.saved[3];
  Tensor dq = Tensor::empty(q.shape(), q.dtype());
  Tensor dk = Tensor::empty(k.shape(), k.dtype());
  Tensor dv = Tensor::empty(v.shape(), v.dtype());
  Tensor dsinks = sinks.defined() ? Tensor::zeros(sinks.shape(), sinks.dtype()) : Tensor();
  dispatch_float(q.dtype(), "attention", [&](auto zero) {
    using T = decltype(zero);
    const auto list = sequences_of(options, k.data<T>(), v.data<T>());
    kernels::AttentionGradients<T> gradients;
    gradients.dq = dq.data<T>();
    gradients.dk = dk.data<T>();
    gradients.dv = dv.data<T>();
    gradients.dsinks = dsinks.defined() ? dsinks.data<T>() : nullptr;
    kernels::attention_backward<T>(shape_of(options, sinks.defined() ? sinks.data<T>() : nullptr),
                                   list, q.data<T>(), call.saved[4].data<T>(),
                                   call.saved[5].data<T>(), dy.data<T>(), gradients);
  });
  std::vector<Tensor> gradients = {dq, dk, dv};
  if (sinks.defined()) gradients.push_back(dsinks);
  return gradients;
}

Sample sample(Rng& rng, std::string_view label, AttentionOptions options, bool with_sinks) {
  const int64_t n = options.offsets.back();
  std::vector<Tensor> in = {random_normal(rng, {n, options.heads * options.head_dim}),
                            random_normal(rng, {n, options.kv_heads * options.head_dim}),
                            random_normal(rng, {n, options.kv_heads * options.head_dim})};
  if (with_sinks) in.push_back(random_normal(rng, {options.heads}));
  const std::vector<bool> differentiable(in.size(), true);
  return {label, std::move(in), std::move(options), differentiable};
}

std::vector<Sample> samples(Rng& rng) {
  return {sample(rng, "ragged, grouped", {4, 2, 3, 0.6, 0, 0, true, {0, 1, 6}}, false),
          sample(rng, "window", {2, 1, 4, 0.5, 2, 0, true, {0, 5}}, false),
          sample(rng, "soft cap", {2, 2, 4, 0.5, 0, 1.5, true, {0, 4}}, false),
          sample(rng, "sinks", {2, 1, 4, 0.5, 0, 0, true, {0, 2, 5}}, true),
          sample(rng, "both directions", {2, 2, 2, 0.7, 0, 0, false, {0, 4}}, false)};
}

}  // namespace

extern const OpDef attention_entry;
const OpDef attention_entry{"grouped, ragged, windowed attention", forward, backward, nullptr,
                            samples};

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& sinks,
                 AttentionOptions options) {
  std::vector<Tensor> inputs = {q, k, v};
  if (sinks.defined()) inputs.push_back(sinks);
  return record(attention_entry, inputs, std::move(options));
}

}  // namespace moxie::ops
