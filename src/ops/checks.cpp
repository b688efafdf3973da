#include "ops/checks.h"

namespace moxie::ops {

void check_float(std::string_view op, const Tensor& x) {
  if (!x.defined()) fail(ErrorCode::kInternal, op, "an input is undefined");
  if (x.dtype() != DType::kF32 && x.dtype() != DType::kF64) {
    fail(ErrorCode::kInvalidArgument, op, "works on f32 and f64, not {}; convert first",
         name_of(x.dtype()));
  }
}

void check_same(std::string_view op, const Tensor& a, const Tensor& b) {
  check_float(op, a);
  check_float(op, b);
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) {
    fail(ErrorCode::kInvalidArgument, op, "the inputs must agree, but are {} {} and {} {}",
         name_of(a.dtype()), a.shape().to_string(), name_of(b.dtype()), b.shape().to_string());
  }
}

void check_vector(std::string_view op, const Tensor& w, const Tensor& x) {
  check_float(op, w);
  if (w.count() != x.cols() || w.dtype() != x.dtype()) {
    fail(ErrorCode::kInvalidArgument, op, "the vector is {} {}, but the rows are {} wide in {}",
         name_of(w.dtype()), w.shape().to_string(), x.cols(), name_of(x.dtype()));
  }
}

void check_ids(std::string_view op, const std::vector<int64_t>& ids, int64_t bound) {
  for (const int64_t id : ids) {
    if (id < 0 || id >= bound) {
      fail(ErrorCode::kInvalidArgument, op, "index {} is outside [0, {})", id, bound);
    }
  }
}

Tensor random_normal(Rng& rng, Shape shape, double deviation) {
  Tensor tensor = Tensor::empty(shape, DType::kF64);
  for (double& value : tensor.span<double>()) value = deviation * rng.normal();
  return tensor;
}

}  // namespace moxie::ops
