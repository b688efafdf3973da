#include "quant/weight.h"

#include <algorithm>
#include <vector>

#include "base/threads.h"

namespace moxie::quant {
namespace {

float round_to(Compute compute, float x) {
  return compute == Compute::kBF16 ? to_float(to_bfloat16(x)) : x;
}
double round_to(Compute, double x) {
  return x;
}

const Named<QuantFormat>& format_of(DType dtype) {
  const auto* row = find_row(formats(), name_of(dtype));
  if (row == nullptr) {
    fail(ErrorCode::kInvalidArgument, "weight",
         "a matrix of {} cannot be a weight; convert it to f32, bf16 or f16", name_of(dtype));
  }
  return *row;
}

template <class T>
std::vector<T> rounded(const T* values, int64_t count, Compute compute) {
  std::vector<T> out(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) out[static_cast<size_t>(i)] = round_to(compute, values[i]);
  return out;
}

}  // namespace

Weight::Weight(const Named<QuantFormat>& format, int64_t rows, int64_t cols, const std::byte* bytes,
               std::shared_ptr<const void> owner)
    : format_(&format), rows_(rows), cols_(cols), bytes_(bytes), owner_(std::move(owner)) {
  if (cols % format->block != 0) {
    fail(ErrorCode::kInvalidArgument, "weight",
         "{} columns are not a multiple of {}'s block of {}; store this matrix in another format",
         cols, format.name, format->block);
  }
}

Weight Weight::from_tensor(const Tensor& matrix) {
  if (matrix.shape().rank() != 2) {
    fail(ErrorCode::kInvalidArgument, "weight", "a weight is a matrix, but the tensor is {}",
         matrix.shape().to_string());
  }
  const auto& format = format_of(matrix.dtype());
  auto owner = std::make_shared<Tensor>(matrix);
  return {format, matrix.shape()[0], matrix.shape()[1], static_cast<const std::byte*>(matrix.raw()),
          std::move(owner)};
}

std::span<const std::byte> Weight::bytes() const {
  return {bytes_, static_cast<size_t>(rows_ * row_bytes(*format_->entry, cols_))};
}

void Weight::decode_row(int64_t row, float* out) const {
  const QuantFormat& format = *format_->entry;
  format.decode(bytes_ + row * row_bytes(format, cols_), out, cols_);
}

Tensor Weight::decode() const {
  Tensor out = Tensor::empty({rows_, cols_}, DType::kF32);
  float* values = out.data<float>();
  parallel_for(rows_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) decode_row(r, values + r * cols_);
  });
  return out;
}

Weight Weight::slice_rows(int64_t begin, int64_t end) const {
  if (begin < 0 || begin > end || end > rows_) {
    fail(ErrorCode::kInvalidArgument, "weight", "rows [{}, {}) are not within the {} rows", begin,
         end, rows_);
  }
  Weight slice = *this;
  slice.bytes_ += begin * row_bytes(*format_->entry, cols_);
  slice.rows_ = end - begin;
  return slice;
}

namespace {

template <class T>
void forward(const Weight& w, const T* x_in, int64_t n, T* y, bool accumulate) {
  const std::vector<T> x = rounded(x_in, n * w.cols(), w.compute());
  parallel_for(w.rows(), 8, [&](int64_t begin, int64_t end) {
    std::vector<float> decoded(static_cast<size_t>(w.cols()));
    std::vector<T> row(decoded.size());
    for (int64_t r = begin; r < end; ++r) {
      w.decode_row(r, decoded.data());
      for (size_t c = 0; c < row.size(); ++c) row[c] = round_to(w.compute(), T(decoded[c]));
      for (int64_t i = 0; i < n; ++i) {
        T sums[16] = {};
        const T* xi = x.data() + i * w.cols();
        int64_t c = 0;
        for (; c + 16 <= w.cols(); c += 16) {
          for (int j = 0; j < 16; ++j) sums[j] += xi[c + j] * row[static_cast<size_t>(c + j)];
        }
        for (; c < w.cols(); ++c) sums[0] += xi[c] * row[static_cast<size_t>(c)];
        T sum = 0;
        for (T s : sums) sum += s;
        T& out = y[i * w.rows() + r];
        out = accumulate ? out + sum : sum;
      }
    }
  });
}

template <class T>
void backward(const Weight& w, const T* dy_in, int64_t n, T* dx, bool accumulate) {
  const std::vector<T> dy = rounded(dy_in, n * w.rows(), w.compute());
  parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> decoded(static_cast<size_t>(w.cols()));
    std::vector<T> row(decoded.size());
    if (!accumulate) std::fill(dx + begin * w.cols(), dx + end * w.cols(), T(0));
    for (int64_t r = 0; r < w.rows(); ++r) {
      w.decode_row(r, decoded.data());
      for (size_t c = 0; c < row.size(); ++c) row[c] = round_to(w.compute(), T(decoded[c]));
      for (int64_t i = begin; i < end; ++i) {
        const T g = dy[static_cast<size_t>(i * w.rows() + r)];
        T* out = dx + i * w.cols();
        for (size_t c = 0; c < row.size(); ++c) out[c] += g * row[c];
      }
    }
  });
}

}  // namespace

void Weight::matmul(const float* x, int64_t n, float* y, bool accumulate) const {
  forward(*this, x, n, y, accumulate);
}
void Weight::matmul(const double* x, int64_t n, double* y, bool accumulate) const {
  forward(*this, x, n, y, accumulate);
}
void Weight::matmul_transposed(const float* dy, int64_t n, float* dx, bool accumulate) const {
  backward(*this, dy, n, dx, accumulate);
}
void Weight::matmul_transposed(const double* dy, int64_t n, double* dx, bool accumulate) const {
  backward(*this, dy, n, dx, accumulate);
}

}  // namespace moxie::quant
