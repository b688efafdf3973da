#include "nn/param.h"

#include <cstring>

#include "ops/tape.h"

namespace moxie::nn {

Tensor use(Param& param) {
  ops::Tape* tape = ops::Tape::active();
  if (tape == nullptr || !param.is_trainable) return param.value;
  if (!param.gradient.defined())
    param.gradient = Tensor::zeros(param.value.shape(), param.value.dtype());
  return tape->leaf_into(param.value, param.gradient, &param.is_blank);
}

void zero_gradients(const ParamList& params) {
  for (Param* param : params) param->is_blank = param->gradient.defined();
}

void settle_gradients(const ParamList& params) {
  for (Param* param : params) {
    if (param->is_blank) std::memset(param->gradient.raw(), 0, param->gradient.bytes());
    param->is_blank = false;
  }
}

int64_t count_elements(const ParamList& params) {
  int64_t total = 0;
  for (const Param* param : params) total += param->value.count();
  return total;
}

}  // namespace moxie::nn
