#include "nn/state.h"

#include <algorithm>
#include <cstring>

#include "base/threads.h"
#include "kernels/rowwise.h"

namespace moxie::nn {

kernels::KeyRows<float> SequenceState::view(const Tensor& rows) const {
  if (dtype_ == DType::kF16) return rows.data<Float16>();
  return rows.data<float>();
}

void SequenceState::grow(Tensor& rows, int64_t needed) const {
  const int64_t held = rows.defined() ? rows.rows() : 0;
  if (held >= needed) return;
  // What is there but not yet filled may be in memory all the same, in large pages.
  const int64_t more = held < 256 ? held : held / 4;
  const int64_t capacity = std::max<int64_t>({64, needed, held + more});
  const Tensor larger = Tensor::empty({capacity, width_}, dtype_);
  if (held > 0)
    std::memcpy(larger.raw(), rows.raw(), static_cast<size_t>(length_ * width_) * size_of(dtype_));
  rows = larger;
}

// Rows [first, last) of those that come next.
void SequenceState::copy(const float* from, int64_t first, int64_t last, Tensor& rows) const {
  const int64_t count = (last - first) * width_;
  const int64_t to = (length_ + first) * width_;
  if (dtype_ == DType::kF16) {
    kernels::row_kernels<float>().narrow(from + first * width_, rows.data<Float16>() + to, count);
  } else {
    std::copy_n(from + first * width_, count, rows.data<float>() + to);
  }
}

void SequenceState::append(int64_t layer, int64_t count, const float* keys, const float* values) {
  Layer& at = layers_[static_cast<size_t>(layer)];
  grow(at.keys, length_ + count);
  grow(at.values, length_ + count);
  parallel_for(count, 64, [&](int64_t first, int64_t last) {
    copy(keys, first, last, at.keys);
    copy(values, first, last, at.values);
  });
}

}  // namespace moxie::nn
