#include "kernels/gated_rows.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/coded_panel.h"
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
                             PackedRows& du, PackedRows* y, bool in_codes) {
  MOXIE_ASSERT(g.rows() == dz.rows() && u.rows() == dz.rows() && g.cols() == u.cols() &&
               g.kind() == Tiles::kBF16 && u.kind() == Tiles::kBF16 && dg.kind() == dz.kind() &&
               du.kind() == dz.kind() && (y == nullptr || y->kind() == Tiles::kBF16));
  const FusedTiles& kernels = fused(dz.kind());
  const auto take = [&](int64_t i, int64_t j, const float* dy) {
    kernels.gate_backward(kind, dy, tiles_at(g, i, j), tiles_at(u, i, j), tiles_at(dg, i, j),
                          tiles_at(du, i, j), y != nullptr ? tiles_at(*y, i, j) : nullptr);
  };
  if (!in_codes) return Panels(dz, g.cols(), false, {down}).run(take);
  alignas(64) static thread_local float sums[kBlockNumbers];
  CodedProduct{dz, g.cols(), {.decoder = &down.w, .ld = g.cols()}, down.thin, dz.cols()}.run(
      false,
      [&](int64_t i, int64_t j) {  // rows and columns that are not there give zeros
        if ((i + 1) * kBandLines > dz.rows() || (j + 1) * kBandLines > g.cols())
          std::fill_n(sums, kBlockNumbers, 0.0f);
        return SumsPlace{sums, kBandLines};
      },
      [&](int64_t i, int64_t j) { take(i, j, sums); });
}

}  // namespace moxie::kernels
