#include "optim/optimizer.h"

#include <algorithm>

#include "base/threads.h"

namespace moxie::optim {
namespace {

constexpr int64_t kChunk = 16384;

void check_f32(const nn::Param& param, const Tensor& tensor, std::string_view what) {
  if (tensor.dtype() != DType::kF32 || tensor.shape() != param.value.shape()) {
    fail(ErrorCode::kInvalidArgument, "optim",
         "the {} of '{}' is {} {}; it must be f32 {} like the value", what, param.name,
         name_of(tensor.dtype()), tensor.shape().to_string(), param.value.shape().to_string());
  }
}

}  // namespace

void Optimizer::attach(const nn::ParamList& params) {
  MOXIE_ASSERT(params_.empty());
  const size_t states = state_names().size();
  for (nn::Param* param : params) {
    if (!param->is_trainable) continue;
    check_f32(*param, param->value, "value");
    for (int64_t at = 0; at < param->value.count(); at += kChunk) {
      chunks_.push_back({params_.size(), at, std::min(at + kChunk, param->value.count())});
    }
    params_.push_back(param);
    auto& tensors = state_.emplace_back();
    for (size_t i = 0; i < states; ++i) {
      tensors.push_back(Tensor::zeros(param->value.shape(), DType::kF32));
    }
  }
  if (params_.empty()) {
    fail(ErrorCode::kInvalidArgument, "optim",
         "none of the {} parameters given is trainable; attach an adapter or unfreeze some",
         params.size());
  }
  steps_ = Tensor::zeros({static_cast<int64_t>(params_.size())}, DType::kI64);
}

void Optimizer::step(double learning_rate, float gradient_factor) {
  int64_t* steps = steps_.data<int64_t>();
  for (size_t i = 0; i < params_.size(); ++i) {
    if (!params_[i]->gradient.defined()) continue;
    check_f32(*params_[i], params_[i]->gradient, "gradient");
    ++steps[i];
    ++params_[i]->changes;
  }
  parallel_for(static_cast<int64_t>(chunks_.size()), 1, [&](int64_t begin, int64_t end) {
    std::vector<float*> state;
    for (int64_t c = begin; c < end; ++c) {
      const Chunk& chunk = chunks_[static_cast<size_t>(c)];
      const nn::Param& param = *params_[chunk.param];
      if (!param.gradient.defined()) continue;
      state.clear();
      for (const Tensor& tensor : state_[chunk.param]) {
        state.push_back(tensor.data<float>() + chunk.begin);
      }
      update({learning_rate, gradient_factor, steps[chunk.param], param.decays},
             {param.value.data<float>() + chunk.begin, param.gradient.data<float>() + chunk.begin,
              state.data(), chunk.end - chunk.begin});
    }
  });
}

std::vector<StateTensor> Optimizer::state() const {
  std::vector<StateTensor> list;
  const auto names = state_names();
  for (size_t i = 0; i < params_.size(); ++i) {
    for (size_t k = 0; k < names.size(); ++k) {
      list.push_back({params_[i]->name + "." + names[k], state_[i][k]});
    }
  }
  list.push_back({"steps", steps_});
  return list;
}

int64_t Optimizer::state_bytes() const {
  int64_t bytes = 0;
  for (const auto& entry : state()) bytes += static_cast<int64_t>(entry.tensor.bytes());
  return bytes;
}

}  // namespace moxie::optim
