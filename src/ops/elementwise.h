#pragma once
// Forward and backward of a lone activation, for silu and gelu.
#include "base/threads.h"
#include "ops/activation.h"
#include "ops/checks.h"

namespace moxie::ops {

inline Tensor activation_forward(std::string_view op, Activation kind, Call& call,
                                 const Tensor& x) {
  check_float(op, x);
  if (call.any_wanted()) call.saved = {x};
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), op, [&](auto zero) {
    using T = decltype(zero);
    const T* in = x.data<T>();
    T* out = y.data<T>();
    parallel_for(x.count(), kElementGrain / 4, [&](int64_t begin, int64_t end) {
      kernels::row_kernels<T>().activate(kind, in + begin, out + begin, end - begin);
    });
  });
  return y;
}

inline Tensor activation_backward(Activation kind, Call& call, const Tensor& dy) {
  const Tensor& x = call.saved[0];
  Tensor dx = Tensor::empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "activation", [&](auto zero) {
    using T = decltype(zero);
    const T* in = x.data<T>();
    const T* g = dy.data<T>();
    T* out = dx.data<T>();
    parallel_for(x.count(), kElementGrain / 4, [&](int64_t begin, int64_t end) {
      kernels::row_kernels<T>().activate_backward(kind, in + begin, g + begin, out + begin,
                                                  end - begin);
    });
  });
  return dx;
}

}  // namespace moxie::ops
