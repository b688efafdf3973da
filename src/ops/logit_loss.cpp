// l = c tanh(s z / c);   loss = sum_i logsumexp(l_i) - l_i[label_i]
// dl = softmax(l) - onehot, dz = dl s (1 - (l / c)^2)
#include "ops/logit_loss.h"

#include "base/threads.h"
#include "ops/checks.h"
#include "ops/logit_rows.h"
#include "ops/scale.h"

namespace moxie::ops {
namespace {

struct Attributes {
  std::vector<int64_t> labels;
  LogitOptions options;
};

Tensor forward(Call& call, std::span<const Tensor> in) {
  const auto& attributes = attributes_of<Attributes>(call);
  const std::vector<int64_t>& labels = attributes.labels;
  check_float("logit_loss", in[0]);
  if (static_cast<int64_t>(labels.size()) != in[0].rows()) {
    fail(ErrorCode::kInvalidArgument, "logit_loss", "logits {} with {} labels do not fit",
         in[0].shape().to_string(), labels.size());
  }
  check_ids("logit_loss", labels, in[0].cols());
  const bool wanted = call.any_wanted();
  const int64_t vocab = in[0].cols();
  Tensor rows = in[0].clone();
  std::vector<double> losses(labels.size());
  Tensor loss = Tensor::empty({1}, in[0].dtype());
  dispatch_float(loss.dtype(), "logit_loss", [&](auto zero) {
    using T = decltype(zero);
    parallel_for(rows.rows(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        losses[static_cast<size_t>(i)] = visit_row(attributes.options, rows.data<T>() + i * vocab,
                                                   vocab, labels[static_cast<size_t>(i)], wanted);
      }
    });
    double sum = 0;
    for (const double row : losses) sum += row;
    *loss.data<T>() = static_cast<T>(sum);
  });
  if (wanted) call.saved = {rows};
  return loss;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const double factor = dispatch_float(dy.dtype(), "logit_loss", [&](auto zero) {
    return static_cast<double>(*dy.data<decltype(zero)>());
  });
  if (factor == 1) return {call.saved[0]};
  return {scale(call.saved[0], factor)};
}

std::vector<Sample> samples(Rng& rng) {
  const std::vector<int64_t> labels = {3, 0, 10};
  return {
      {"plain", {random_normal(rng, {3, 11})}, Attributes{labels, {}}, {true}},
      {"scaled and capped", {random_normal(rng, {3, 11})}, Attributes{labels, {0.5, 3}}, {true}}};
}

}  // namespace

extern const OpDef logit_loss_entry;
const OpDef logit_loss_entry{"cross-entropy of given logits", forward, backward, nullptr, samples};

Tensor logit_loss(const Tensor& logits, std::vector<int64_t> labels, LogitOptions options) {
  return record(logit_loss_entry, {&logits, 1}, Attributes{std::move(labels), options});
}

}  // namespace moxie::ops
