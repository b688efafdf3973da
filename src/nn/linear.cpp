#include "nn/linear.h"

#include <algorithm>

#include "ops/adapted_linear.h"
#include "ops/add_bias.h"
#include "ops/dense.h"
#include "ops/gather_rows.h"
#include "ops/kept.h"
#include "ops/linear.h"
#include "ops/tape.h"

namespace moxie::nn {
namespace {

// x in tiles with room for `spare` numbers a row, unless it is there already.
const std::shared_ptr<kernels::PackedRows>& pack(const Tensor& x, int64_t spare,
                                                 kernels::Tiles tiles,
                                                 kernels::SharedRows& packed) {
  auto& rows = packed.of(tiles);
  if (rows == nullptr || rows->spare() != spare) {
    rows = std::make_shared<kernels::PackedRows>(x.rows(), x.cols(), spare, tiles);
    rows->pack(x.data<float>(), x.cols(), 1);
  }
  return rows;
}

}  // namespace

void Matrix::make_trainable() {
  if (param_) return;
  param_ = std::make_unique<Param>();
  param_->name = name_ + ".weight";
  param_->value = frozen_.decode();
  const quant::Compute compute = frozen_.compute();
  frozen_ = quant::Weight();
  frozen_.set_compute(compute);
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

Tensor Matrix::apply(const Tensor& x, kernels::SharedRows& packed) const {
  if (!param_) return ops::linear(x, frozen_);
  const kernels::Arithmetic arithmetic = quant::trainable_arithmetic_of(frozen_.compute());
  const bool packs = this->arithmetic() == kernels::Arithmetic::kBF16 && x.dtype() == DType::kF32 &&
                     x.rows() > kernels::kFewRows;
  if (!packs) return ops::dense(x, use(*param_), arithmetic);
  kernels::SharedRows own;
  if (arithmetic == kernels::Arithmetic::kTiles8) {
    own.int8 = pack(x, 0, kernels::Tiles::kInt8, packed);
    if (ops::Tape::active() != nullptr && !packed.plain.defined())
      packed.plain = ops::kept(x, true);
    own.plain = packed.plain;
  } else {
    own.bf16 = pack(x, 0, kernels::Tiles::kBF16, packed);
  }
  return ops::dense(x, use(*param_), arithmetic, own);
}

// As frozen heads are multiplied: in tiles, or with gradients of more than 8 bits.
kernels::Arithmetic Matrix::training_arithmetic() const {
  const auto trainable = quant::trainable_arithmetic_of(frozen_.compute());
  return trainable == kernels::Arithmetic::kTiles8 ? trainable : arithmetic();
}

Tensor Matrix::logits(const Tensor& x) const {
  if (!param_) return ops::linear(x, frozen_.with_fine_gradients());
  return ops::dense(x, use(*param_), arithmetic());
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

Tensor Linear::forward(const Tensor& x, const TapContext& context,
                       kernels::SharedRows packed) const {
  return std::move(forward_together({this}, x, context, std::move(packed)).front());
}

Tensor Linear::finish(const Tensor& x, Tensor y, const TapContext& context) const {
  if (bias) y = ops::add_bias(y, use(*bias));
  TapContext own = context;
  own.arithmetic = weight.arithmetic();
  return site.run_taps(x, std::move(y), own);
}

Tensor Linear::adapted(const Tensor& x, kernels::SharedRows& packed,
                       const TapContext& context) const {
  if (x.dtype() != DType::kF32 || site.taps.empty()) return {};
  const auto own = part(x.rows(), context);
  if (!own) return {};
  Tensor y;
  if (own->weight.runs_packed(x.rows())) {
    y = ops::adapted_linear(x, *own, pack(x, own->a.rows(), own->weight.tiles(x.rows()), packed));
  } else {
    if (!packed.plain.defined()) packed.plain = ops::kept(x, true);
    y = ops::adapted_linear(x, *own, nullptr, packed.plain);
  }
  return bias ? ops::add_bias(y, use(*bias)) : y;
}

std::optional<ops::AdaptedMatrix> Linear::part(int64_t n, const TapContext& context) const {
  if (!weight.is_frozen()) return {};
  const quant::Weight& frozen = weight.frozen();
  const bool is_recorded = ops::Tape::active() != nullptr;
  const bool can = frozen.runs_packed(n) || (is_recorded && ops::takes_lora_in_int8(frozen, n));
  if (!can || site.taps.size() > 1) return {};
  ops::AdaptedMatrix result{weight.frozen(), {}, {}};
  if (site.taps.empty()) return result;
  auto tap = site.taps.front()->low_rank_in(context);
  if (!tap) return {};
  result.a = std::move(tap->a);
  result.b = std::move(tap->b);
  result.scaling = tap->scaling;
  return result;
}

std::shared_ptr<const quant::LowRankCopy> Linear::attached(const TapContext& context,
                                                           int64_t n) const {
  if (context.is_training || site.taps.size() != 1 || !weight.frozen().runs_int8(n)) return {};
  return site.taps.front()->rounded_low_rank();
}

std::vector<Tensor> forward_together(std::initializer_list<const Linear*> linears, const Tensor& x,
                                     const TapContext& context, kernels::SharedRows packed) {
  std::vector<Tensor> results;
  results.reserve(linears.size());  // a decoding step feels every allocation
  const bool is_plain = ops::Tape::active() == nullptr && x.dtype() == DType::kF32 &&
                        std::all_of(linears.begin(), linears.end(), [&](const Linear* linear) {
                          return linear->weight.is_frozen() && linear->weight.cols() == x.cols();
                        });
  // Where products are packed, an adapter's ride along with the weight's also when nothing is
  // recorded.
  const bool rides = std::any_of(linears.begin(), linears.end(), [&](const Linear* linear) {
    return !linear->site.taps.empty() && linear->weight.frozen().runs_packed(x.rows());
  });
  if (!is_plain || rides) {
    for (const Linear* linear : linears) {
      Tensor y = linear->adapted(x, packed, context);
      results.push_back(y.defined() ? std::move(y)
                                    : linear->finish(x, linear->weight.apply(x, packed), context));
    }
    return results;
  }
  std::vector<std::shared_ptr<const quant::LowRankCopy>> attached;
  std::vector<quant::Weight::Product> products;
  attached.reserve(linears.size());
  products.reserve(linears.size());
  for (const Linear* linear : linears) {
    results.push_back(Tensor::empty({x.rows(), linear->weight.rows()}, DType::kF32));
    attached.push_back(linear->attached(context, x.rows()));
    products.push_back(
        {linear->weight.frozen(), results.back().data<float>(), attached.back().get()});
  }
  quant::Weight::matmul_together(products, x.data<float>(), x.rows());
  size_t i = 0;
  for (const Linear* linear : linears) {
    if (attached[i] == nullptr) {
      results[i] = linear->finish(x, std::move(results[i]), context);
    } else if (linear->bias) {
      results[i] = ops::add_bias(results[i], use(*linear->bias));
    }
    ++i;
  }
  return results;
}

}  // namespace moxie::nn
