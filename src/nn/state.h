#pragma once
// What a sequence leaves behind in each layer: here keys and values in full, in f32 or rounded to
// f16. Grows twofold while it is short, then by a quarter; can be cut back to a shorter length
// (speculation, /reset) and copied.
#include <vector>

#include "kernels/attention.h"
#include "tensor/tensor.h"

namespace moxie::nn {

class SequenceState {
 public:
  // Rows have `width` = kv_heads * head_dim numbers of `dtype`: f32 or f16.
  SequenceState(int64_t layers, int64_t width, DType dtype)
      : layers_(static_cast<size_t>(layers)), width_(width), dtype_(dtype) {}
  int64_t length() const { return length_; }  // positions that every layer holds
  int64_t width() const { return width_; }
  DType dtype() const { return dtype_; }
  void truncate(int64_t length) { length_ = std::min(length_, length); }
  void advance(int64_t count) { length_ += count; }  // after all layers have appended

  // Copies `count` more rows behind what the layer holds; in f16, those beyond its range become its
  // largest number.
  void append(int64_t layer, int64_t count, const float* keys, const float* values);
  kernels::KeyRows<float> keys(int64_t layer) const {
    return view(layers_[static_cast<size_t>(layer)].keys);
  }
  kernels::KeyRows<float> values(int64_t layer) const {
    return view(layers_[static_cast<size_t>(layer)].values);
  }

 private:
  struct Layer {
    Tensor keys, values;  // [capacity, width]
  };
  kernels::KeyRows<float> view(const Tensor& rows) const;
  void grow(Tensor& rows, int64_t needed) const;
  void copy(const float* from, int64_t first, int64_t last, Tensor& rows) const;
  std::vector<Layer> layers_;
  int64_t width_;
  DType dtype_;
  int64_t length_ = 0;
};

}  // namespace moxie::nn
