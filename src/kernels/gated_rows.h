#pragma once
// The middle of a gated MLP in packed rows: gate, up and activation as one product's result, and
// the gradients likewise, made 32 x 32 numbers at a time in L1. Of the three matrices none is ever
// written in f32.
#include "kernels/packed_rows.h"
#include "kernels/panels.h"
#include "kernels/rowwise.h"

namespace moxie::kernels {

// g = x gate^T + spare thin^T, u likewise with `up` [n, x.cols()], y = f(g) u, n = y.cols(). g and
// u are kept where they are given [rows, n], in bf16.
void multiply_gated(const PackedRows& x, const Factor& gate, const Factor& up, Activation kind,
                    PackedRows* g, PackedRows* u, PackedRows& y);
// The gradients of g and u, from that of y, dz down + spare thin with `down` [dz.cols(), n]; in
// bf16 they may take the place of g and u. y is made once more where it is given, in bf16, so that
// nobody need keep it. `in_codes`: the product is one of codes (coded_panel.h).
void multiply_gated_backward(const PackedRows& dz, const Factor& down, Activation kind,
                             const PackedRows& g, const PackedRows& u, PackedRows& dg,
                             PackedRows& du, PackedRows* y, bool in_codes);

}  // namespace moxie::kernels
