// g = x Wg^T + s hg Bg^T, hg = x Ag^T, u likewise, y = f(g) u, z = y Wd^T + s hd Bd^T, hd = y Ad^T
// dy = dz Wd + dhd Ad, dg = dy u f'(g), du = dy f(g), dx = dg Wg + dhg Ag + du Wu + dhu Au; of each
// LoRA dh = s dz B, dB = s dz^T h, dA = dh^T x, with its own linear's dz and x
#include "ops/gated_mlp.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/threads.h"
#include "kernels/gated_rows.h"
#include "kernels/rowwise.h"
#include "ops/adapted_linear.h"
#include "ops/checks.h"
#include "ops/columns.h"
#include "ops/kept.h"
#include "ops/linear.h"
#include "ops/low_rank.h"
#include "ops/swiglu.h"

namespace moxie::ops {
namespace {

using kernels::PackedRows;

constexpr int64_t kPiece = 1024;  // numbers of each matrix that are worked on in L1

// What the backward needs of a packed forward: x for LoRAs alone, h is both LoRAs' of x, side by
// side; y it makes again of gate and up.
struct Kept {
  PackedRows x, gate, up;
  Tensor h, h_down;  // in bf16
};
// The same where rows are multiplied in integers: x, gate and up in bf16, each LoRA's own h.
struct KeptRows {
  Tensor x, gate, up, h_gate, h_up, h_down;
};

struct Attributes {
  MlpParts parts;
  Activation activation;
  std::shared_ptr<Kept> kept;
  std::shared_ptr<KeptRows> rows;
};

// x, then A and B of the parts that have a LoRA.
std::vector<Tensor> inputs_of(const Tensor& x, const MlpParts& parts) {
  std::vector<Tensor> inputs{x};
  for (const AdaptedMatrix* part : {&parts.gate, &parts.up, &parts.down}) {
    if (part->is_adapted()) inputs.insert(inputs.end(), {part->a, part->b});
  }
  return inputs;
}

MlpParts with_inputs(MlpParts parts, std::span<const Tensor> in) {
  size_t next = 1;
  for (AdaptedMatrix* part : {&parts.gate, &parts.up, &parts.down}) {
    if (!part->is_adapted()) continue;
    part->a = in[next++];
    part->b = in[next++];
  }
  return parts;
}

bool runs_packed(const MlpParts& parts, const Tensor& x) {
  const int64_t n = x.rows();
  const auto fits = [&](const AdaptedMatrix& part) {
    return part.weight.runs_packed(n) && part.weight.tiles(n) == parts.gate.weight.tiles(n);
  };
  return x.dtype() == DType::kF32 && fits(parts.gate) && fits(parts.up) && fits(parts.down);
}

bool runs_int8(const MlpParts& parts, const Tensor& x) {
  const int64_t n = x.rows();
  return x.dtype() == DType::kF32 && ops::runs_int8(parts.gate, n) && ops::runs_int8(parts.up, n) &&
         ops::runs_int8(parts.down, n);
}

Tensor step_by_step(const Tensor& x, const MlpParts& parts, Activation activation) {
  const auto apply = [](const AdaptedMatrix& part, const Tensor& in) {
    if (!part.is_adapted()) return linear(in, part.weight);
    return adapted_linear(in, part);
  };
  return apply(parts.down, swiglu(apply(parts.gate, x), apply(parts.up, x), activation));
}

int64_t rank_of(const AdaptedMatrix& part) {
  return part.is_adapted() ? part.a.rows() : 0;
}

// to[:, at + j] = factor from[:, j]
void put_columns(const Tensor& from, float factor, const Tensor& to, int64_t at) {
  for (int64_t i = 0; i < from.rows(); ++i) {
    const float* source = from.data<float>() + i * from.cols();
    float* target = to.data<float>() + i * to.cols() + at;
    for (int64_t j = 0; j < from.cols(); ++j) target[j] = factor * source[j];
  }
}

// What meets the spare numbers of x beside a part's weight: s B, and 0 for the other part's.
Tensor thin_of(const AdaptedMatrix& part, int64_t at, int64_t cols) {
  if (!part.is_adapted()) return {};
  Tensor thin = Tensor::zeros({part.b.rows(), cols}, DType::kF32);
  put_columns(part.b, static_cast<float>(part.scaling), thin, at);
  return thin;
}

// Rows of one matrix after those of another; either may be undefined.
Tensor stacked(const Tensor& first, const Tensor& second) {
  if (!first.defined() || !second.defined()) return first.defined() ? first : second;
  Tensor both = Tensor::empty({first.rows() + second.rows(), first.cols()}, DType::kF32);
  std::copy_n(first.data<float>(), first.count(), both.data<float>());
  std::copy_n(second.data<float>(), second.count(), both.data<float>() + first.count());
  return both;
}

const float* data_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.data<float>() : nullptr;
}

Tensor forward_packed(Call& call, const Tensor& input, const MlpParts& parts) {
  const auto& attributes = attributes_of<Attributes>(call);
  const auto& [gate, up, down] = parts;
  const int64_t n = input.rows();
  const int64_t r_gate = rank_of(gate);
  const int64_t r = r_gate + rank_of(up);
  const int64_t width = gate.weight.rows();
  const bool keeps = call.any_wanted();
  Kept kept;
  const kernels::Tiles tiles = gate.weight.tiles(n);
  kept.x = PackedRows(n, input.cols(), r, tiles);
  PackedRows y(n, width, rank_of(down), tiles);
  kept.x.pack(input.data<float>(), input.cols(), 1);
  if (r > 0) {
    const Tensor h = packed_inner(kept.x, stacked(gate.a, up.a));
    kept.x.set_spare(h.data<float>(), 1);
    if (keeps) kept.h = ops::kept(h, true);
  }
  if (keeps) {
    kept.gate = PackedRows(n, width, r_gate);
    kept.up = PackedRows(n, width, r - r_gate);
  }
  const Tensor thin_gate = thin_of(gate, 0, r);
  const Tensor thin_up = thin_of(up, r_gate, r);
  kernels::multiply_gated(kept.x, {gate.weight.decoder(n), data_of(thin_gate)},
                          {up.weight.decoder(n), data_of(thin_up)}, attributes.activation,
                          keeps ? &kept.gate : nullptr, keeps ? &kept.up : nullptr, y);
  if (down.is_adapted()) {
    const Tensor h = packed_inner(y, down.a);
    y.set_spare(h.data<float>(), static_cast<float>(down.scaling));
    if (keeps) kept.h_down = ops::kept(h, true);
  }
  Tensor z = Tensor::empty({n, down.weight.rows()}, DType::kF32);
  down.weight.matmul(y, z.data<float>(), data_of(down.b));
  if (r == 0) kept.x = PackedRows();
  if (keeps) *attributes.kept = std::move(kept);
  return z;
}

// Work on `count` numbers in pieces that fit L1; on all threads.
template <class Work>
void by_pieces(int64_t count, const Work& work) {
  parallel_for(count, kElementGrain / 4, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += kPiece) work(at, std::min(kPiece, end - at));
  });
}

// y in place of the first of gate and up, which are kept if `rows` is given.
Tensor gate_int8(const std::vector<Tensor>& both, Activation activation, KeptRows* rows) {
  const Tensor &gate = both[0], &up = both[1];
  if (rows != nullptr) {
    rows->gate = Tensor::empty(gate.shape(), DType::kBF16);
    rows->up = Tensor::empty(up.shape(), DType::kBF16);
  }
  const auto& kernels = kernels::row_kernels<float>();
  by_pieces(gate.count(), [&](int64_t at, int64_t count) {
    float* g = gate.data<float>() + at;
    const float* u = up.data<float>() + at;
    if (rows != nullptr) {
      kernels.narrow_bf16(g, rows->gate.data<BFloat16>() + at, count);
      kernels.narrow_bf16(u, rows->up.data<BFloat16>() + at, count);
    }
    kernels.gate(activation, g, u, g, count);
  });
  return gate;
}

Tensor forward_int8(Call& call, const Tensor& x, const MlpParts& parts) {
  const auto& attributes = attributes_of<Attributes>(call);
  const AdaptedMatrix* both[] = {&parts.gate, &parts.up};
  Int8Results first = multiply_int8(both, x);
  KeptRows* rows = call.any_wanted() ? attributes.rows.get() : nullptr;
  const bool needs_x = parts.gate.is_adapted() || parts.up.is_adapted();
  if (rows != nullptr)
    *rows = {needs_x ? kept(x, true) : Tensor(), {}, {}, first.h[0], first.h[1], {}};
  const Tensor y = gate_int8(first.z, attributes.activation, rows);
  first.z.clear();
  const AdaptedMatrix* down = &parts.down;
  const Int8Results last = multiply_int8({&down, 1}, y);
  if (rows != nullptr) rows->h_down = last.h[0];
  return last.z[0];
}

Tensor forward(Call& call, std::span<const Tensor> in) {
  const auto& attributes = attributes_of<Attributes>(call);
  const MlpParts parts = with_inputs(attributes.parts, in);
  const Tensor& x = in[0];
  const auto check = [](const AdaptedMatrix& part, int64_t rows, int64_t cols) {
    const auto& w = part.weight;
    bool fits = w.rows() == rows && w.cols() == cols;
    if (part.is_adapted()) {
      fits =
          fits && part.a.cols() == cols && part.b.rows() == rows && part.a.rows() == part.b.cols();
    }
    if (fits) return;
    fail(ErrorCode::kInvalidArgument, "gated_mlp",
         "a weight [{}, {}] with A {} and B {} is not what {} numbers become {} by", w.rows(),
         w.cols(), part.a.shape().to_string(), part.b.shape().to_string(), cols, rows);
  };
  const int64_t width = parts.gate.weight.rows();
  check(parts.gate, width, x.cols());
  check(parts.up, width, x.cols());
  check(parts.down, parts.down.weight.rows(), width);
  if (call.any_wanted()) call.saved.assign(in.begin(), in.end());
  if (runs_packed(parts, x)) {
    if (call.any_wanted()) call.saved[0] = Tensor();  // what it needs of x is packed
    return forward_packed(call, x, parts);
  }
  const NoTape quiet;
  if (runs_int8(parts, x)) {
    if (call.any_wanted()) call.saved[0] = Tensor();
    return forward_int8(call, x, parts);
  }
  return step_by_step(x, parts, attributes.activation);
}

std::vector<Tensor> backward_packed(Call& call, const Tensor& dz) {
  const auto& attributes = attributes_of<Attributes>(call);
  const MlpParts parts = with_inputs(attributes.parts, call.saved);
  const auto& [gate, up, down] = parts;
  Kept& kept = *attributes.kept;
  const int64_t n = dz.rows();
  Tensor da_down, db_down, dh_down;
  PackedRows rows(n, dz.cols(), rank_of(down), down.weight.tiles(n));
  rows.pack(dz.data<float>(), dz.cols(), 1);
  if (down.is_adapted()) {
    db_down = packed_gradient_b(rows, restored(kept.h_down), down.scaling);
    dh_down = packed_gradient_inner(rows, down.b, down.scaling);
  }
  PackedRows y = down.is_adapted() ? PackedRows(n, kept.gate.cols()) : PackedRows();
  const bool takes_place = rows.kind() == kernels::Tiles::kBF16;
  const auto gradient_of = [&](const PackedRows& of) {
    return takes_place ? of : PackedRows(n, of.cols(), of.spare(), rows.kind());
  };
  PackedRows d_gate = gradient_of(kept.gate), d_up = gradient_of(kept.up);
  kernels::multiply_gated_backward(
      rows, {down.weight.decoder(n), data_of(down.a)}, attributes.activation, kept.gate, kept.up,
      d_gate, d_up, down.is_adapted() ? &y : nullptr, down.weight.gradients_are_codes(n));
  if (down.is_adapted()) da_down = packed_gradient_a(dh_down, y);
  rows = y = kept.gate = kept.up = PackedRows();
  const bool adds = call.gathered[0].defined();
  Tensor dx;
  if (call.wanted[0]) dx = call.gradient_of(0, {n, gate.weight.cols()}, DType::kF32);
  const Tensor h = restored(kept.h);
  Tensor dh = Tensor::empty({n, rank_of(gate) + rank_of(up)}, DType::kF32);
  Tensor db[2];
  int64_t at = 0;
  for (const auto& [part, own, its_db] :
       {std::tuple(&gate, &d_gate, &db[0]), std::tuple(&up, &d_up, &db[1])}) {
    if (part->is_adapted()) {
      *its_db = packed_gradient_b(*own, columns(h, at, at + rank_of(*part)), part->scaling);
      put_columns(packed_gradient_inner(*own, part->b, part->scaling), 1, dh, at);
      at += rank_of(*part);
    }
    if (dx.defined()) {
      part->weight.matmul_transposed(*own, dx.data<float>(), data_of(part->a), adds || part == &up);
    }
    *own = PackedRows();
  }
  std::vector<Tensor> gradients{dx};
  if (at > 0) {  // both dA in one product, which turns x once
    const Tensor da = packed_gradient_a(dh, kept.x);
    const int64_t r = rank_of(gate);
    if (gate.is_adapted()) gradients.insert(gradients.end(), {da.slice_rows(0, r), db[0]});
    if (up.is_adapted()) gradients.insert(gradients.end(), {da.slice_rows(r, at), db[1]});
  }
  if (down.is_adapted()) gradients.insert(gradients.end(), {da_down, db_down});
  return gradients;
}

// dg in place of dy, and du; y once more if it is defined.
void gate_backward_int8(const KeptRows& kept, Activation activation, const Tensor& dy,
                        const Tensor& du, const Tensor& y) {
  const auto& kernels = kernels::row_kernels<float>();
  by_pieces(dy.count(), [&](int64_t at, int64_t count) {
    float gate[kPiece], up[kPiece];
    kernels.widen_bf16(kept.gate.data<BFloat16>() + at, gate, count);
    kernels.widen_bf16(kept.up.data<BFloat16>() + at, up, count);
    float* in_place = dy.data<float>() + at;
    kernels.gate_backward(activation, gate, up, in_place, in_place, du.data<float>() + at,
                          y.defined() ? y.data<float>() + at : nullptr, count);
  });
}

std::vector<Tensor> backward_int8(Call& call, const Tensor& dz) {
  const auto& attributes = attributes_of<Attributes>(call);
  const MlpParts parts = with_inputs(attributes.parts, call.saved);
  const auto& [gate, up, down] = parts;
  KeptRows& kept = *attributes.rows;
  Tensor dy = Tensor::empty({dz.rows(), down.weight.cols()}, DType::kF32);
  const Tensor dh = multiply_back_int8(down, dz, dy, false);
  Tensor du = Tensor::empty(dy.shape(), DType::kF32);
  Tensor y = down.is_adapted() ? Tensor::empty(dy.shape(), DType::kF32) : Tensor();
  gate_backward_int8(kept, attributes.activation, dy, du, y);
  kept.gate = kept.up = Tensor();
  LoraGradients of_down;
  if (down.is_adapted()) of_down = lora_gradients_int8(down, y, kept.h_down, dz, dh);
  y = Tensor();
  bool adds = call.gathered[0].defined();
  Tensor dx;
  if (call.wanted[0]) dx = call.gradient_of(0, {dz.rows(), gate.weight.cols()}, DType::kF32);
  std::vector<Tensor> gradients{dx};
  for (const auto& [part, own, h] :
       {std::tuple(&gate, &dy, &kept.h_gate), std::tuple(&up, &du, &kept.h_up)}) {
    const Tensor inner = multiply_back_int8(*part, *own, dx, adds);
    adds = true;
    if (!part->is_adapted()) continue;
    const auto [da, db] = lora_gradients_int8(*part, kept.x, *h, *own, inner);
    gradients.insert(gradients.end(), {da, db});
  }
  if (down.is_adapted()) gradients.insert(gradients.end(), {of_down.da, of_down.db});
  return gradients;
}

std::vector<Tensor> backward(Call& call, const Tensor& dz) {
  const auto& attributes = attributes_of<Attributes>(call);
  if (attributes.kept->gate.rows() > 0) return backward_packed(call, dz);
  if (attributes.rows->gate.defined()) return backward_int8(call, dz);
  Tape tape;
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < call.saved.size(); ++i) {
    inputs.push_back(call.wanted[i] ? tape.leaf(call.saved[i]) : call.saved[i]);
  }
  tape.backward(
      step_by_step(inputs[0], with_inputs(attributes.parts, inputs), attributes.activation), dz);
  std::vector<Tensor> gradients;
  for (const Tensor& input : inputs) gradients.push_back(tape.grad(input));
  return gradients;
}

Attributes attributes_for(const MlpParts& parts, Activation activation) {
  return {parts, activation, std::make_shared<Kept>(), std::make_shared<KeptRows>()};
}

std::vector<Sample> samples(Rng& rng) {
  const auto part = [&](int64_t out, int64_t in, int64_t r) {
    AdaptedMatrix made{
        quant::Weight::from_tensor(random_normal(rng, {out, in}).to(DType::kF32)), {}, {}};
    if (r > 0) {
      made.a = random_normal(rng, {r, in});
      made.b = random_normal(rng, {out, r});
      made.scaling = 0.5;
    }
    return made;
  };
  std::vector<Sample> list;
  const auto add = [&](const char* label, const MlpParts& parts, Activation activation) {
    const auto in = inputs_of(random_normal(rng, {4, 8}), parts);
    const std::vector<bool> differentiable(in.size(), true);
    list.push_back({label, in, attributes_for(parts, activation), differentiable});
  };
  add("three LoRAs", {part(6, 8, 2), part(6, 8, 3), part(8, 6, 2)}, Activation::kSilu);
  add("one LoRA", {part(6, 8, 0), part(6, 8, 2), part(8, 6, 0)}, Activation::kGeluTanh);
  add("none", {part(6, 8, 0), part(6, 8, 0), part(8, 6, 0)}, Activation::kSilu);
  return list;
}

}  // namespace

extern const OpDef gated_mlp_entry;
const OpDef gated_mlp_entry{"a gated MLP of frozen matrices and the LoRAs beside them", forward,
                            backward, nullptr, samples};

Tensor gated_mlp(const Tensor& x, const MlpParts& parts, Activation activation) {
  return record(gated_mlp_entry, inputs_of(x, parts), attributes_for(parts, activation));
}

}  // namespace moxie::ops
