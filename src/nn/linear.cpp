#include "nn/linear.h"

#include "ops/add_bias.h"
#include "ops/dense.h"
#include "ops/gather_rows.h"
#include "ops/linear.h"

namespace moxie::nn {

void Matrix::make_trainable() {
  if (param_) return;
  param_ = std::make_unique<Param>();
  param_->name = name_ + ".weight";
  param_->value = frozen_.decode();
  frozen_ = quant::Weight();
}

void Matrix::replace(quant::Weight weight) {
  MOXIE_ASSERT(weight.rows() == rows() && weight.cols() == cols());
  weight.set_compute(frozen_.compute());
  param_.reset();
  frozen_ = std::move(weight);
}

void Matrix::widen() {
  if (param_) param_->value = param_->value.to(DType::kF64);
}

Tensor Matrix::apply(const Tensor& x) const {
  return param_ ? ops::dense(x, use(*param_)) : ops::linear(x, frozen_);
}

Tensor Matrix::decode() const {
  return param_ ? param_->value.to(DType::kF32) : frozen_.decode();
}

Tensor Matrix::gather(const std::vector<int32_t>& ids, DType dtype) const {
  for (const int32_t id : ids) {
    if (id < 0 || id >= rows()) {
      fail(ErrorCode::kInvalidArgument, "embedding",
           "token {} is outside the vocabulary of {}; check that the "
           "tokenizer belongs to this model",
           id, rows());
    }
  }
  if (param_) return ops::gather_rows(use(*param_), {ids.begin(), ids.end()});
  Tensor rows_out = Tensor::empty({static_cast<int64_t>(ids.size()), cols()}, DType::kF32);
  for (size_t i = 0; i < ids.size(); ++i) {
    frozen_.decode_row(ids[i], rows_out.data<float>() + static_cast<int64_t>(i) * cols());
  }
  return dtype == DType::kF32 ? rows_out : rows_out.to(dtype);
}

Tensor Linear::forward(const Tensor& x, const TapContext& context) const {
  Tensor y = weight.apply(x);
  if (bias) y = ops::add_bias(y, use(*bias));
  return site.run_taps(x, std::move(y), context);
}

}  // namespace moxie::nn
