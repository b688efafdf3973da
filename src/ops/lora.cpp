// h = x A^T, z = y + s h B^T
// dy = dz, dB = s dz^T h, dh = s dz B, dA = dh^T x, dx = dh A
#include "ops/lora.h"

#include "kernels/gemm.h"
#include "ops/checks.h"

namespace moxie::ops {
namespace {

struct Attributes {
  double scaling;
  bool overwrites = false;  // y's memory becomes z's
  kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32;
};

Tensor forward(Call& call, std::span<const Tensor> in) {
  const Tensor &x = in[0], &y = in[1], &a = in[2], &b = in[3];
  for (const Tensor& tensor : in) check_float("lora", tensor);
  if (a.cols() != x.cols() || b.rows() != y.cols() || a.rows() != b.cols() ||
      x.rows() != y.rows()) {
    fail(ErrorCode::kInvalidArgument, "lora", "x {}, y {}, A {} and B {} do not fit",
         x.shape().to_string(), y.shape().to_string(), a.shape().to_string(),
         b.shape().to_string());
  }
  const auto& attributes = attributes_of<Attributes>(call);
  const int64_t n = x.rows();
  const int64_t r = a.rows();
  Tensor z = attributes.overwrites ? y : y.clone();
  Tensor h = Tensor::empty({n, r}, x.dtype());
  dispatch_float(x.dtype(), "lora", [&](auto zero) {
    using T = decltype(zero);
    kernels::gemm_nt(n, r, x.cols(), x.data<T>(), a.data<T>(), h.data<T>(), false, T{1},
                     attributes.arithmetic);
    kernels::gemm_nt(n, y.cols(), r, h.data<T>(), b.data<T>(), z.data<T>(), true,
                     static_cast<T>(attributes.scaling), attributes.arithmetic);
  });
  if (call.any_wanted()) call.saved = {call.wanted[2] ? x : Tensor(), h, a, b};
  return z;
}

// to[j, i] = from[i, j]
template <class T>
void transpose(const T* from, int64_t rows, int64_t cols, T* to) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) to[j * rows + i] = from[i * cols + j];
  }
}

std::vector<Tensor> backward(Call& call, const Tensor& dz) {
  const Tensor &x = call.saved[0], &h = call.saved[1], &a = call.saved[2], &b = call.saved[3];
  const auto& attributes = attributes_of<Attributes>(call);
  const double scaling = attributes.scaling;
  const kernels::Arithmetic arithmetic = attributes.arithmetic;
  const int64_t n = dz.rows();
  const int64_t r = a.rows();
  Tensor dx;
  Tensor da;
  Tensor db;
  dispatch_float(dz.dtype(), "lora", [&](auto zero) {
    using T = decltype(zero);
    if (call.wanted[3]) {
      db = Tensor::empty(b.shape(), b.dtype());
      kernels::gemm_tn(dz.cols(), r, n, dz.data<T>(), h.data<T>(), db.data<T>(), false,
                       static_cast<T>(scaling), arithmetic);
    }
    if (!call.wanted[0] && !call.wanted[2]) return;
    Tensor dh = Tensor::empty(h.shape(), h.dtype());
    kernels::gemm_nn(n, r, dz.cols(), dz.data<T>(), b.data<T>(), dh.data<T>(), false,
                     static_cast<T>(scaling), arithmetic);
    if (call.wanted[2]) {
      da = Tensor::empty(a.shape(), a.dtype());
      Tensor across = Tensor::empty({a.cols(), r}, a.dtype());  // x^T dh: x is not packed for it
      kernels::gemm_tn(a.cols(), r, n, x.data<T>(), dh.data<T>(), across.data<T>(), false,
                       T{1}, arithmetic);
      transpose(across.data<T>(), a.cols(), r, da.data<T>());
    }
    if (call.wanted[0]) {
      dx = Tensor::empty({n, a.cols()}, a.dtype());
      kernels::gemm_nn(n, a.cols(), r, dh.data<T>(), a.data<T>(), dx.data<T>(), false, T{1},
                       arithmetic);
    }
  });
  return {dx, dz, da, db};
}

std::vector<Sample> samples(Rng& rng) {
  const auto make = [&](int64_t n, int64_t in, int64_t out, int64_t r) -> std::vector<Tensor> {
    return {random_normal(rng, {n, in}), random_normal(rng, {n, out}), random_normal(rng, {r, in}),
            random_normal(rng, {out, r})};
  };
  return {{"all", make(6, 5, 7, 2), Attributes{0.5}, {true, true, true, true}},
          {"first layer", make(3, 4, 4, 3), Attributes{2.0}, {false, false, true, true}}};
}

}  // namespace

extern const OpDef lora_entry;
const OpDef lora_entry{"adds scaling * (x A^T) B^T", forward, backward, nullptr, samples};

Tensor lora(const Tensor& x, Tensor y, const Tensor& a, const Tensor& b, double scaling,
            kernels::Arithmetic arithmetic) {
  // Whoever holds y alone has not saved it anywhere: a copy of it would be for nothing.
  const bool overwrites = y.sole_owner();
  const Tensor inputs[] = {x, std::move(y), a, b};
  return record(lora_entry, inputs, Attributes{scaling, overwrites, arithmetic});
}

}  // namespace moxie::ops
