#pragma once
// Tensor: a dense, row-major, contiguous array that shares its storage. No maths.
// A copy is a second handle on the same memory; clone() copies the elements.
#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/dtype.h"

namespace moxie {

std::string dims_to_string(std::span<const int64_t> dims);  // "[2, 3]", of any number of them

class Shape {  // in place: a decoding step makes hundreds of them
 public:
  static constexpr size_t kMostRank = 8;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims);  // throws kUnsupported beyond kMostRank
  int64_t rank() const { return rank_; }
  int64_t operator[](int64_t i) const { return dims_[static_cast<size_t>(i)]; }
  int64_t count() const {  // product of the dimensions; 1 for rank 0
    int64_t product = 1;
    for (int64_t i = 0; i < rank_; ++i) product *= (*this)[i];
    return product;
  }
  int64_t last() const { return (*this)[rank_ - 1]; }
  std::vector<int64_t> dims() const { return {dims_.begin(), dims_.begin() + rank_}; }
  // The same but for the first dimension, which there must be.
  Shape with_first(int64_t count) const;
  bool operator==(const Shape&) const = default;
  std::string to_string() const {
    return dims_to_string({dims_.data(), static_cast<size_t>(rank_)});
  }

 private:
  std::array<int64_t, kMostRank> dims_{};  // zeros beyond the rank
  int64_t rank_ = 0;
};

class Tensor {
 public:
  Tensor();  // undefined: no storage
  // Not inlined: ops copy and drop tensors in so many places that their code would not stay in a
  // cache that weights stream through.
  ~Tensor();
  Tensor(const Tensor& other);
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(const Tensor& other);
  Tensor& operator=(Tensor&& other) noexcept;
  static Tensor empty(Shape shape, DType dtype);  // uninitialised, 64-byte aligned
  static Tensor zeros(Shape shape, DType dtype);
  // Views foreign memory; `owner` keeps it alive.
  static Tensor wrap(void* data, Shape shape, DType dtype, std::shared_ptr<const void> owner);
  template <class T>
  static Tensor of(std::span<const T> values, Shape shape);

  bool defined() const { return data_ != nullptr; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  int64_t count() const { return shape_.count(); }
  size_t bytes() const { return static_cast<size_t>(count()) * size_of(dtype_); }
  int64_t cols() const { return shape_.last(); }  // the last dimension
  int64_t rows() const { return cols() == 0 ? 0 : count() / cols(); }

  template <class T>
  T* data() const {  // throws kInternal when T is not this tensor's type
    MOXIE_ASSERT(DTypeOf<T>::value == dtype_);
    return static_cast<T*>(data_);
  }
  void* raw() const { return data_; }
  template <class T>
  std::span<T> span() const {
    return {data<T>(), static_cast<size_t>(count())};
  }

  Tensor reshape(Shape shape) const;                    // same memory, same count
  Tensor slice_rows(int64_t begin, int64_t end) const;  // a view along the first dimension
  Tensor clone() const;
  Tensor to(DType dtype) const;  // converts floating types; a copy
  bool sole_owner() const { return owner_.use_count() == 1; }

  // The tape's number for this value; 0 when nothing records it (see ops/tape.h).
  int64_t var = 0;

 private:
  Shape shape_;
  DType dtype_ = DType::kF32;
  std::shared_ptr<const void> owner_;
  void* data_ = nullptr;
};

template <class T>
Tensor Tensor::of(std::span<const T> values, Shape shape) {
  Tensor tensor = empty(shape, DTypeOf<T>::value);
  MOXIE_ASSERT(static_cast<size_t>(tensor.count()) == values.size());
  std::copy(values.begin(), values.end(), tensor.data<T>());
  return tensor;
}

// Calls f(T{}) with T = float or double according to `dtype`; throws for any other type.
template <class F>
decltype(auto) dispatch_float(DType dtype, std::string_view where, F&& f) {
  if (dtype == DType::kF32) return f(float{});
  if (dtype == DType::kF64) return f(double{});
  fail(ErrorCode::kInvalidArgument, where, "works on f32 and f64, not {}", name_of(dtype));
}

// Bytes that tensors hold now, and the most they held since reset_peak_tensor_bytes().
uint64_t live_tensor_bytes();
uint64_t peak_tensor_bytes();
void reset_peak_tensor_bytes();

}  // namespace moxie
