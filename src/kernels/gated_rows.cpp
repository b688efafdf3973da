#include "kernels/gated_rows.h"

#include "base/error.h"
#include "kernels/panels.h"

namespace moxie::kernels {

void multiply_gated(const PackedRows& x, const Factor& gate, const Factor& up, Activation kind,
                    PackedRows* g, PackedRows* u, PackedRows& y) {
  MOXIE_ASSERT(y.rows() == x.rows() && y.kind() == x.kind());
  Panels(x, y.cols(), true, {gate, up}).run([&](int64_t i, int64_t j, const float* sums) {
    fused(y.kind()).gate(kind, sums, sums + kBlockNumbers, tiles_at(y, i, j),
                         g != nullptr ? tiles_at(*g, i, j) : nullptr,
                         u != nullptr ? tiles_at(*u, i, j) : nullptr);
  });
}

void multiply_gated_backward(const PackedRows& dz, const Factor& down, Activation kind,
                             const PackedRows& g, const PackedRows& u, PackedRows& dg,
                             PackedRows& du, PackedRows* y) {
  MOXIE_ASSERT(g.rows() == dz.rows() && u.rows() == dz.rows() && g.cols() == u.cols() &&
               g.kind() == Tiles::kBF16 && u.kind() == Tiles::kBF16 && dg.kind() == dz.kind() &&
               du.kind() == dz.kind() && (y == nullptr || y->kind() == Tiles::kBF16));
  Panels(dz, g.cols(), false, {down}).run([&](int64_t i, int64_t j, const float* dy) {
    fused(dz.kind()).gate_backward(kind, dy, tiles_at(g, i, j), tiles_at(u, i, j),
                                   tiles_at(dg, i, j), tiles_at(du, i, j),
                                   y != nullptr ? tiles_at(*y, i, j) : nullptr);
  });
}

}  // namespace moxie::kernels
