#pragma once
// Next-token prediction over a ragged batch: the loss of supervised tuning and of plain language
// modelling. Only the rows whose next token is learnt reach the output projection.
#include "nn/decoder.h"
#include "train/objective.h"

namespace moxie::train {

class CausalLm : public Objective {
 public:
  // `params` are what trains (of an adapter, or of the model); `recomputes` trades time for memory.
  CausalLm(const nn::Decoder& decoder, nn::ParamList params, bool recomputes = false)
      : decoder_(decoder), params_(std::move(params)), recomputes_(recomputes) {}
  nn::ParamList params() override { return params_; }
  LossSum forward_backward(const std::vector<const data::Sample*>& micro_batch, double weight,
                           uint64_t dropout_seed, bool with_gradient) override;

 private:
  const nn::Decoder& decoder_;
  nn::ParamList params_;
  bool recomputes_;
};

}  // namespace moxie::train
