#pragma once
// Matrix: a projection's weight, frozen in the bytes of its file or trainable in f32.
// Linear: a matrix, an optional bias, and the site where adapters attach.
#include <initializer_list>
#include <memory>
#include <optional>
#include <vector>

#include "nn/param.h"
#include "nn/site.h"
#include "ops/gated_mlp.h"
#include "quant/weight.h"

namespace moxie::nn {

class Matrix {
 public:
  Matrix() = default;
  Matrix(std::string name, quant::Weight weight)
      : name_(std::move(name)), frozen_(std::move(weight)) {}
  const std::string& name() const { return name_; }
  int64_t rows() const { return param_ ? param_->value.rows() : frozen_.rows(); }
  int64_t cols() const { return param_ ? param_->value.cols() : frozen_.cols(); }
  bool is_frozen() const { return param_ == nullptr; }
  const quant::Weight& frozen() const { return frozen_; }
  Param* param() const { return param_.get(); }  // null while frozen
  void make_trainable();                         // decodes to f32; the frozen bytes are let go
  void replace(quant::Weight weight);            // another frozen weight of the same shape
  void set_compute(quant::Compute compute) { frozen_.set_compute(compute); }
  kernels::Arithmetic arithmetic() const { return quant::arithmetic_of(frozen_.compute()); }
  bool keeps_bf16() const { return quant::keeps_bf16(frozen_.compute()); }
  // Of a loss's products, once it trains, and of attention's in training.
  kernels::Arithmetic training_arithmetic() const;
  void widen();  // a trainable value becomes f64, for tests

  // x [n, cols] -> [n, rows]. packed is x in tiles, or null: made here if that is how it is
  // multiplied, for others that multiply it.
  Tensor apply(const Tensor& x, kernels::SharedRows& packed) const;
  Tensor logits(const Tensor& x) const;  // the same, for a softmax's gradients (Weight)
  Tensor decode() const;                 // f32 [rows, cols], a copy
  // Rows by token id; recorded when it trains.
  Tensor gather(const std::vector<int32_t>& ids, DType dtype) const;

 private:
  std::string name_;
  quant::Weight frozen_;
  std::unique_ptr<Param> param_;
};

struct Linear {
  Matrix weight;
  std::unique_ptr<Param> bias;  // null: none
  Site site;
  // `packed`: what is there already of x in other forms.
  Tensor forward(const Tensor& x, const TapContext& context, kernels::SharedRows packed = {}) const;
  // Bias and taps: what follows the product y.
  Tensor finish(const Tensor& x, Tensor y, const TapContext& context) const;
  // The product and its only tap as one recorded op, where that can be; else undefined. `packed`:
  // x, packed here if it is not yet and the op takes it so.
  Tensor adapted(const Tensor& x, kernels::SharedRows& packed, const TapContext& context) const;
  // The product and its only tap, if it has one, where both can be part of an op over n rows,
  // packed or, while a tape records, in AVX2's integers: all but the bias.
  std::optional<ops::AdaptedMatrix> part(int64_t n, const TapContext& context) const;
  // All that the taps do, where the weight's product with n rows can take it along; else null.
  std::shared_ptr<const quant::LowRankCopy> attached(const TapContext& context, int64_t n) const;
};

// forward() of several linears with the same input. Where nothing is recorded and all are frozen,
// their products run as one.
std::vector<Tensor> forward_together(std::initializer_list<const Linear*> linears, const Tensor& x,
                                     const TapContext& context, kernels::SharedRows packed = {});

}  // namespace moxie::nn
