#pragma once
// What a sequence leaves behind in each layer: here keys and values in full. Grows by doubling; can
// be cut back to a shorter length (speculation, /reset) and copied.
#include <cstring>
#include <vector>

#include "tensor/tensor.h"

namespace moxie::nn {

class SequenceState {
 public:
  SequenceState(int64_t layers, int64_t width)
      : layers_(static_cast<size_t>(layers)), width_(width) {}
  int64_t length() const { return length_; }  // positions that every layer holds
  int64_t width() const { return width_; }    // kv_heads * head_dim
  void truncate(int64_t length) { length_ = std::min(length_, length); }
  void advance(int64_t count) { length_ += count; }  // after all layers have appended

  // Room for `count` more rows; returns where they go.
  struct Rows {
    float* keys;
    float* values;
  };
  Rows append(int64_t layer, int64_t count) {
    Layer& at = layers_[static_cast<size_t>(layer)];
    const int64_t needed = length_ + count;
    if (!at.keys.defined() || at.keys.rows() < needed) {
      grow(at.keys, needed);
      grow(at.values, needed);
    }
    return {at.keys.data<float>() + length_ * width_, at.values.data<float>() + length_ * width_};
  }
  const float* keys(int64_t layer) const {
    return layers_[static_cast<size_t>(layer)].keys.data<float>();
  }
  const float* values(int64_t layer) const {
    return layers_[static_cast<size_t>(layer)].values.data<float>();
  }

 private:
  struct Layer {
    Tensor keys, values;  // [capacity, width]
  };
  void grow(Tensor& rows, int64_t needed) const {
    const int64_t held = rows.defined() ? rows.rows() : 0;
    Tensor larger = Tensor::empty({std::max<int64_t>({64, needed, 2 * held}), width_}, DType::kF32);
    if (held > 0)
      std::memcpy(larger.raw(), rows.raw(), static_cast<size_t>(length_ * width_) * sizeof(float));
    rows = larger;
  }
  std::vector<Layer> layers_;
  int64_t width_;
  int64_t length_ = 0;
};

}  // namespace moxie::nn
