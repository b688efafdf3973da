#include "ops/kept.h"

#include "base/threads.h"
#include "kernels/rowwise.h"
#include "ops/checks.h"

namespace moxie::ops {

Tensor kept(const Tensor& x, bool in_bf16) {
  if (!in_bf16 || x.dtype() != DType::kF32) return x;
  Tensor kept = Tensor::empty(x.shape(), DType::kBF16);
  parallel_for(x.count(), kElementGrain, [&](int64_t begin, int64_t end) {
    kernels::row_kernels<float>().narrow_bf16(x.data<float>() + begin,
                                              kept.data<BFloat16>() + begin, end - begin);
  });
  return kept;
}

Tensor restored(const Tensor& kept) {
  if (!kept.defined() || kept.dtype() != DType::kBF16) return kept;
  Tensor x = Tensor::empty(kept.shape(), DType::kF32);
  parallel_for(x.count(), kElementGrain, [&](int64_t begin, int64_t end) {
    kernels::row_kernels<float>().widen_bf16(kept.data<BFloat16>() + begin, x.data<float>() + begin,
                                             end - begin);
  });
  return x;
}

}  // namespace moxie::ops
