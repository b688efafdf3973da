#include "ops/low_rank.h"

#include <type_traits>

#include "ops/checks.h"

namespace moxie::ops {

Tensor transposed(const Tensor& matrix) {
  const int64_t rows = matrix.rows();
  const int64_t cols = matrix.cols();
  Tensor result = Tensor::empty({cols, rows}, matrix.dtype());
  dispatch_float(matrix.dtype(), "transposed", [&](auto zero) {
    using T = decltype(zero);
    const T* from = matrix.data<T>();
    T* to = result.data<T>();
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) to[j * rows + i] = from[i * cols + j];
    }
  });
  return result;
}

void check_low_rank(std::string_view op, const Tensor& x, int64_t rows, int64_t out,
                    const LowRankTerm& term) {
  for (const Tensor* tensor : {&x, &term.a, &term.b}) check_float(op, *tensor);
  if (term.a.cols() != x.cols() || term.b.rows() != out || term.a.rows() != term.b.cols() ||
      x.rows() != rows) {
    fail(ErrorCode::kInvalidArgument, op, "x {}, {} rows of {}, A {} and B {} do not fit",
         x.shape().to_string(), rows, out, term.a.shape().to_string(), term.b.shape().to_string());
  }
}

Tensor add_low_rank(const Tensor& x, const LowRankTerm& term, const Tensor& z) {
  const int64_t n = x.rows();
  const int64_t r = term.a.rows();
  Tensor h = Tensor::empty({n, r}, x.dtype());
  dispatch_float(x.dtype(), "lora", [&](auto zero) {
    using T = decltype(zero);
    kernels::gemm_nt(n, r, x.cols(), x.data<T>(), term.a.data<T>(), h.data<T>(), false, T{1},
                     term.arithmetic);
    kernels::gemm_nt(n, z.cols(), r, h.data<T>(), term.b.data<T>(), z.data<T>(), true,
                     static_cast<T>(term.scaling), term.arithmetic);
  });
  return h;
}

template <class T>
Tensor thin_gradient(const Tensor& h, const Tensor& z, T scaling, kernels::Arithmetic arithmetic) {
  const int64_t r = h.cols(), cols = z.cols(), n = z.rows();
  Tensor result = Tensor::empty({r, cols}, h.dtype());
  if constexpr (std::is_same_v<T, float>) {
    if (z.dtype() == DType::kBF16) {
      kernels::thin_tn(r, cols, n, h.data<T>(), z.data<BFloat16>(), result.data<T>(), scaling);
      return result;
    }
    if (arithmetic == kernels::Arithmetic::kF32) {
      kernels::thin_tn(r, cols, n, h.data<T>(), z.data<T>(), result.data<T>(), scaling);
      return result;
    }
  }
  kernels::gemm_tn(r, cols, n, h.data<T>(), z.data<T>(), result.data<T>(), false, scaling,
                   arithmetic);
  return result;
}
template Tensor thin_gradient(const Tensor&, const Tensor&, float, kernels::Arithmetic);

LowRankGradients low_rank_gradients(const Tensor& x, const Tensor& h, const LowRankTerm& term,
                                    const Tensor& dz, LowRankWishes wishes) {
  const Tensor &a = term.a, &b = term.b;
  const int64_t n = dz.rows();
  const int64_t r = a.rows();
  LowRankGradients found;
  dispatch_float(dz.dtype(), "lora", [&](auto zero) {
    using T = decltype(zero);
    const auto scaling = static_cast<T>(term.scaling);
    if (wishes.db) found.db = transposed(thin_gradient<T>(h, dz, scaling, term.arithmetic));
    if (!wishes.dx && !wishes.da) return;
    Tensor dh = Tensor::empty(h.shape(), h.dtype());
    kernels::gemm_nn(n, r, dz.cols(), dz.data<T>(), b.data<T>(), dh.data<T>(), false, scaling,
                     term.arithmetic);
    if (wishes.da) found.da = thin_gradient<T>(dh, x, T{1}, term.arithmetic);
    if (wishes.dx) {
      found.dx = Tensor::empty({n, a.cols()}, a.dtype());
      kernels::gemm_nn(n, a.cols(), r, dh.data<T>(), a.data<T>(), found.dx.data<T>(), false, T{1},
                       term.arithmetic);
    }
  });
  return found;
}

Tensor packed_inner(const kernels::PackedRows& x, const Tensor& a) {
  Tensor h = Tensor::empty({x.rows(), a.rows()}, DType::kF32);
  multiply_nt(x, a.rows(), a.data<float>(), h.data<float>());
  return h;
}

Tensor packed_gradient_b(const kernels::PackedRows& dz, const Tensor& h, double scaling) {
  Tensor across = Tensor::empty({h.cols(), dz.cols()}, DType::kF32);
  multiply_tn(h.cols(), h.data<float>(), dz, static_cast<float>(scaling), across.data<float>());
  return transposed(across);
}

Tensor packed_gradient_inner(kernels::PackedRows& dz, const Tensor& b, double scaling) {
  Tensor dh = Tensor::empty({dz.rows(), b.cols()}, DType::kF32);
  multiply_nn(dz, b.cols(), b.data<float>(), static_cast<float>(scaling), dh.data<float>());
  dz.set_spare(dh.data<float>(), 1);
  return dh;
}

Tensor packed_gradient_a(const Tensor& dh, const kernels::PackedRows& x) {
  Tensor da = Tensor::empty({dh.cols(), x.cols()}, DType::kF32);
  multiply_tn(dh.cols(), dh.data<float>(), x, 1, da.data<float>());
  return da;
}

}  // namespace moxie::ops
