#include "infer/score.h"

#include <algorithm>
#include <cmath>

#include "ops/tape.h"

namespace moxie::infer {
namespace {

Tensor hidden_of(const models::Model& model, const std::vector<int32_t>& tokens) {
  if (tokens.empty())
    fail(ErrorCode::kInvalidArgument, "score", "there are no tokens; give some text");
  const ops::NoTape quiet;
  nn::Batch batch;
  batch.add(tokens);
  return model.decoder->forward(batch);
}

}  // namespace

Scored score_tokens(const models::Model& model, const std::vector<int32_t>& tokens) {
  const Tensor hidden = hidden_of(model, tokens);
  Scored scored;
  scored.logprobs.assign(tokens.size(), 0.0);
  double total = 0;
  model.decoder->for_logit_blocks(hidden, [&](int64_t first, const Tensor& logits) {
    for (int64_t i = 0; i < logits.rows(); ++i) {
      const auto next = static_cast<size_t>(first + i + 1);
      if (next >= tokens.size()) continue;
      const float* row = logits.data<float>() + i * logits.cols();
      const float top = *std::max_element(row, row + logits.cols());
      double sum = 0;
      for (int64_t j = 0; j < logits.cols(); ++j)
        sum += std::exp(static_cast<double>(row[j] - top));
      scored.logprobs[next] = static_cast<double>(row[tokens[next]] - top) - std::log(sum);
      total += scored.logprobs[next];
    }
  });
  scored.loss = tokens.size() > 1 ? -total / static_cast<double>(tokens.size() - 1) : 0;
  scored.perplexity = std::exp(scored.loss);
  return scored;
}

Tensor all_logits(const models::Model& model, const std::vector<int32_t>& tokens) {
  return model.decoder->logits(hidden_of(model, tokens));
}

}  // namespace moxie::infer
