#pragma once
// Products by oneDNN with a frozen matrix packed once, for CPUs whose bf16 instructions (AVX-512
// BF16, AMX) are beyond the kernels here. onednn.cpp is the only file that calls oneDNN, and
// compiles against its generations 2 and 3.
#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/gemm.h"

namespace moxie::kernels {

class PackedMatrix {
 public:
  enum class Type { kBF16, kF32 };  // of both factors; sums are f32. kF32 runs on any CPU.

  // B[k, n]: w's rows are its columns (is_transposed, y = x W^T) or its rows (dx = dy W). Decodes
  // all of w once, rounded to `type`, into the layout oneDNN chooses. Throws kUnsupported if this
  // CPU cannot multiply in `type`.
  PackedMatrix(int64_t k, int64_t n, const RowDecoder& w, bool is_transposed, Type type);
  ~PackedMatrix();
  PackedMatrix(const PackedMatrix&) = delete;
  PackedMatrix& operator=(const PackedMatrix&) = delete;

  // c[m, n] = a[m, k] B, added to c when `accumulate`. Safe to call from several threads.
  void multiply(const float* a, int64_t m, float* c, bool accumulate) const;
  size_t bytes() const;  // of the packed matrix

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moxie::kernels
