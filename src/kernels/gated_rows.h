#pragma once
// The middle of a gated MLP in packed rows: gate, up and activation as one product's result, and
// the gradients likewise, made 32 x 32 numbers at a time in L1. Of the three matrices none is ever
// written in f32.
#include "kernels/packed_rows.h"
#include "kernels/panels.h"
#include "kernels/rowwise.h"

namespace moxie::kernels {

// g = x gate^T + spare thin^T, u likewise with `up` [n, x.cols()], y = f(g) u, n = y.cols(). g and
// u are kept where they are given [rows, n].
void multiply_gated(const PackedRows& x, const Factor& gate, const Factor& up, Activation kind,
                    PackedRows* g, PackedRows* u, PackedRows& y);
// From the gradient of y, dz down + spare thin with `down` [dz.cols(), n], g and u become their own
// gradients.
void multiply_gated_backward(const PackedRows& dz, const Factor& down, Activation kind,
                             PackedRows& g, PackedRows& u);

}  // namespace moxie::kernels
