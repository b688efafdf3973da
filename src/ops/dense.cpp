// y = x W^T;   dx = dy W, dW = dy^T x
#include "ops/dense.h"

#include <utility>

#include "ops/checks.h"
#include "ops/kept.h"

namespace moxie::ops {
namespace {

using kernels::Arithmetic;
using kernels::PackedRows;
using kernels::SharedRows;

struct Attributes {
  Arithmetic arithmetic;
  SharedRows packed;  // x: see dense()
};

Tensor forward(Call& call, std::span<const Tensor> in) {
  const Tensor& x = in[0];
  const Tensor& w = in[1];
  check_float("dense", x);
  check_float("dense", w);
  if (w.shape().rank() != 2 || x.cols() != w.cols() || x.dtype() != w.dtype()) {
    fail(ErrorCode::kInvalidArgument, "dense", "{} {} times the transpose of {} {} does not fit",
         name_of(x.dtype()), x.shape().to_string(), name_of(w.dtype()), w.shape().to_string());
  }
  const Arithmetic arithmetic = attributes_of<Attributes>(call).arithmetic;
  SharedRows& packed = std::any_cast<Attributes&>(call.attributes).packed;
  Tensor kept_x = std::move(packed.plain);
  if (call.wanted[1] && packed.bf16 == nullptr && !kept_x.defined())
    kept_x = kept(x, arithmetic == Arithmetic::kTiles8);
  call.saved = {std::move(kept_x), call.wanted[0] ? w : Tensor()};
  Tensor y = Tensor::empty({x.rows(), w.rows()}, x.dtype());
  // The backward has no use for tiles of 8-bit integers.
  const auto rounded = std::move(packed.int8);
  if (const PackedRows* rows = rounded != nullptr ? rounded.get() : packed.bf16.get()) {
    MOXIE_ASSERT(rows->rows() == x.rows() && rows->cols() == x.cols());
    kernels::multiply_nt(*rows, w.rows(), w.data<float>(), y.data<float>());
    return y;
  }
  dispatch_float(y.dtype(), "dense", [&](auto zero) {
    using T = decltype(zero);
    kernels::gemm_nt(x.rows(), w.rows(), x.cols(), x.data<T>(), w.data<T>(), y.data<T>(), false,
                     T{1}, arithmetic);
  });
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const Arithmetic arithmetic = attributes_of<Attributes>(call).arithmetic;
  const PackedRows* packed = attributes_of<Attributes>(call).packed.bf16.get();
  const Tensor &x = call.saved[0], &w = call.saved[1];
  Tensor dx;
  Tensor dw;
  if (w.defined()) {
    const bool adds = call.gathered[0].defined();
    dx = call.gradient_of(0, {dy.rows(), w.cols()}, dy.dtype());
    dispatch_float(dy.dtype(), "dense", [&](auto zero) {
      using T = decltype(zero);
      kernels::gemm_nn(dy.rows(), w.cols(), dy.cols(), dy.data<T>(), w.data<T>(), dx.data<T>(),
                       adds, T{1}, arithmetic);
    });
  }
  if (call.wanted[1]) {
    const bool adds = call.gathered[1].defined();
    const int64_t cols = packed != nullptr ? packed->cols() : x.cols();
    dw = call.gradient_of(1, {dy.cols(), cols}, dy.dtype());
    if (packed != nullptr) {
      kernels::multiply_tn(dy.cols(), dy.data<float>(), *packed, 1, dw.data<float>(), adds);
      return {dx, dw};
    }
    if (x.dtype() == DType::kBF16) {
      kernels::gemm_tn(dy.cols(), cols, dy.rows(), dy.data<float>(), x.data<BFloat16>(),
                       dw.data<float>(), adds);
      return {dx, dw};
    }
    dispatch_float(dy.dtype(), "dense", [&](auto zero) {
      using T = decltype(zero);
      kernels::gemm_tn(dy.cols(), cols, dy.rows(), dy.data<T>(), x.data<T>(), dw.data<T>(), adds,
                       T{1}, arithmetic);
    });
  }
  return {dx, dw};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"both",
           {random_normal(rng, {6, 5}), random_normal(rng, {7, 5})},
           Attributes{Arithmetic::kF32, {}},
           {true, true}},
          {"weight only",
           {random_normal(rng, {2, 5}), random_normal(rng, {3, 5})},
           Attributes{Arithmetic::kF32, {}},
           {false, true}}};
}

}  // namespace

extern const OpDef dense_entry;
const OpDef dense_entry{"product with a trainable matrix", forward, backward, nullptr, samples};

Tensor dense(const Tensor& x, const Tensor& weight, Arithmetic arithmetic, SharedRows packed) {
  const Tensor inputs[] = {x, weight};
  return record(dense_entry, inputs, Attributes{arithmetic, std::move(packed)});
}

}  // namespace moxie::ops
