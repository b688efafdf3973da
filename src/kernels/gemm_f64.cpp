#include <algorithm>

#include "base/threads.h"
#include "kernels/gemm.h"

// The reference in double: one definition, sums over k in order.
namespace moxie::kernels {
namespace {

// Element (i, p) of A is a[i * a_row + p * a_step]; row p of B is contiguous.
void rows_of_b(int64_t m, int64_t n, int64_t k, const double* a, int64_t a_row, int64_t a_step,
               const double* b, double* c, bool accumulate, double alpha) {
  parallel_for(m, 1 + 65536 / (n * k + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double* out = c + i * n;
      if (!accumulate) std::fill(out, out + n, 0.0);
      for (int64_t p = 0; p < k; ++p) {
        const double scale = alpha * a[i * a_row + p * a_step];
        for (int64_t j = 0; j < n; ++j) out[j] += scale * b[p * n + j];
      }
    }
  });
}

}  // namespace

void gemm_nn(int64_t m, int64_t n, int64_t k, const double* a, const double* b, double* c,
             bool accumulate, double alpha, Arithmetic /*arithmetic*/) {
  rows_of_b(m, n, k, a, k, 1, b, c, accumulate, alpha);
}

void gemm_tn(int64_t m, int64_t n, int64_t k, const double* a, const double* b, double* c,
             bool accumulate, double alpha, Arithmetic /*arithmetic*/) {
  rows_of_b(m, n, k, a, 1, m, b, c, accumulate, alpha);
}

void gemm_nt(int64_t m, int64_t n, int64_t k, const double* a, const double* b, double* c,
             bool accumulate, double alpha, Arithmetic /*arithmetic*/) {
  parallel_for(m, 1 + 65536 / (n * k + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double sums[4] = {};
        int64_t p = 0;
        for (; p + 4 <= k; p += 4) {
          for (int64_t u = 0; u < 4; ++u) sums[u] += a[i * k + p + u] * b[j * k + p + u];
        }
        for (; p < k; ++p) sums[0] += a[i * k + p] * b[j * k + p];
        double& out = c[i * n + j];
        out = (accumulate ? out : 0.0) + alpha * ((sums[0] + sums[1]) + (sums[2] + sums[3]));
      }
    }
  });
}

}  // namespace moxie::kernels
