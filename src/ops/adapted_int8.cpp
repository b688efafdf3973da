#include "ops/adapted_int8.h"

#include <memory>

#include "ops/low_rank.h"
#include "quant/low_rank.h"

namespace moxie::ops {

bool takes_lora_in_int8(const quant::Weight& weight, int64_t n) {
  return weight.runs_int8(n) && weight.gradients_are_int8(n);
}

bool runs_int8(const AdaptedMatrix& matrix, int64_t n) {
  const int64_t rank = matrix.is_adapted() ? matrix.a.rows() : 0;
  return takes_lora_in_int8(matrix.weight, n) && rank <= kernels::ThinTerm::kMostRank;
}

Int8Results multiply_int8(std::span<const AdaptedMatrix* const> matrices, const Tensor& x) {
  const int64_t n = x.rows();
  Int8Results results;
  std::vector<std::shared_ptr<const quant::LowRankCopy>> copies;  // null also where none can be
  std::vector<quant::Weight::Product> products;
  for (const AdaptedMatrix* matrix : matrices) {
    const auto& [weight, a, b, scaling] = *matrix;
    Tensor z = Tensor::empty({n, weight.rows()}, DType::kF32);
    Tensor h;
    std::shared_ptr<const quant::LowRankCopy> copy;
    if (a.defined()) {
      copy = quant::LowRankCopy::make(a.data<float>(), b.data<float>(), a.rows(), x.cols(),
                                      weight.rows(), scaling);
    }
    if (copy != nullptr) h = Tensor::empty({n, a.rows()}, DType::kF32);
    products.push_back(
        {weight, z.data<float>(), copy.get(), copy != nullptr ? h.data<float>() : nullptr});
    results.z.push_back(std::move(z));
    results.h.push_back(std::move(h));
    copies.push_back(std::move(copy));
  }
  quant::Weight::matmul_together(products, x.data<float>(), n);
  for (size_t i = 0; i < matrices.size(); ++i) {
    const AdaptedMatrix& matrix = *matrices[i];
    if (copies[i] != nullptr) {
      for (float& number : results.h[i].span<float>()) number *= copies[i]->unit();
    } else if (matrix.is_adapted()) {
      results.h[i] = add_low_rank(x, {matrix.a, matrix.b, matrix.scaling}, results.z[i]);
    }
  }
  return results;
}

Tensor multiply_back_int8(const AdaptedMatrix& matrix, const Tensor& dz, const Tensor& dx,
                          bool adds) {
  const auto& [weight, a, b, scaling] = matrix;
  const int64_t n = dz.rows();
  if (!matrix.is_adapted()) {
    if (dx.defined()) weight.matmul_transposed(dz.data<float>(), n, dx.data<float>(), adds);
    return {};
  }
  Tensor dh = Tensor::empty({n, a.rows()}, DType::kF32);
  const auto factor = static_cast<float>(scaling);
  if (dx.defined()) {
    const kernels::ThinTerm thin{a.rows(), b.data<float>(), a.data<float>(), factor,
                                 dh.data<float>()};
    weight.matmul_transposed(dz.data<float>(), n, thin, dx.data<float>(), adds);
  } else {
    kernels::gemm_nn(n, a.rows(), dz.cols(), dz.data<float>(), b.data<float>(), dh.data<float>(),
                     false, factor);
  }
  return dh;
}

LoraGradients lora_gradients_int8(const AdaptedMatrix& matrix, const Tensor& x, const Tensor& h,
                                  const Tensor& dz, const Tensor& dh) {
  return {thin_gradient(dh, x, 1.0f),
          transposed(thin_gradient(h, dz, static_cast<float>(matrix.scaling)))};
}

}  // namespace moxie::ops
