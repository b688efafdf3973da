// z = h W^T, with s = scale and cap c: l = c tanh(s z / c);   loss = sum_i logsumexp(l_i) -
// l_i[label_i] dl = softmax(l) - onehot, dz = dl s (1 - (l / c)^2);   dh = dz W, dW = dz^T h
#include "ops/cross_entropy.h"

#include <algorithm>

#include "base/threads.h"
#include "kernels/gemm.h"
#include "kernels/gemm_parts.h"
#include "kernels/softmax_codes.h"
#include "kernels/softmax_rows.h"
#include "ops/checks.h"
#include "ops/logit_rows.h"

namespace moxie::ops {
namespace {

struct Attributes {
  quant::Weight head;  // undefined when the head is an input
  std::vector<int64_t> labels;
  LogitOptions options;
  kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32;  // of a head that is an input
};

struct Head {  // the output projection, frozen or trainable
  const quant::Weight& frozen;
  const Tensor& dense;
  kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32;
  int64_t vocab() const { return dense.defined() ? dense.rows() : frozen.rows(); }
  int64_t width() const { return dense.defined() ? dense.cols() : frozen.cols(); }

  template <class T>
  void project(const T* h, int64_t n, T* logits) const {
    if (dense.defined()) {
      kernels::gemm_nt(n, vocab(), width(), h, dense.data<T>(), logits, false, T{1}, arithmetic);
    } else {
      frozen.matmul(h, n, logits);
    }
  }
  template <class T>
  void project_back(const T* d_logits, int64_t n, T* dh) const {
    if (dense.defined()) {
      kernels::gemm_nn(n, width(), vocab(), d_logits, dense.data<T>(), dh, false, T{1}, arithmetic);
    } else {
      frozen.with_fine_gradients().matmul_transposed(d_logits, n, dh);
    }
  }
};

struct Visit {  // one pass over the labelled rows
  double loss = 0;
  Tensor dh, dw;
};

// to[i] = from[rows[i]]
template <class T>
void pick(const Tensor& from, std::span<const int64_t> rows, const Tensor& to) {
  const int64_t d = from.cols();
  T* out = to.data<T>();
  for (const int64_t row : rows) out = std::copy_n(from.data<T>() + row * d, d, out);
}
// to[rows[i]] = from[i]
template <class T>
void put_back(const Tensor& from, std::span<const int64_t> rows, const Tensor& to) {
  const int64_t d = from.cols();
  const T* in = from.data<T>();
  for (const int64_t row : rows) {
    std::copy_n(in, d, to.data<T>() + row * d);
    in += d;
  }
}

std::vector<int64_t> labels_of(const Attributes& attributes, std::span<const int64_t> rows) {
  std::vector<int64_t> labels;
  labels.reserve(rows.size());
  for (const int64_t row : rows) labels.push_back(attributes.labels[static_cast<size_t>(row)]);
  return labels;
}

// What is made of a block of rows whose logits stay in 16 bits.
struct Block {
  int64_t n;
  float* rows;  // [n, d]: hidden; becomes its gradient where that is wanted
  const int64_t* labels;
  double* losses;
};

// A pass over blocks of at most `size` rows.
template <class F>
void visit_blocks(const Tensor& hidden, const Attributes& attributes,
                  const std::vector<int64_t>& rows, int64_t size, Visit& result, F visit) {
  const auto count = static_cast<int64_t>(rows.size());
  Tensor picked = Tensor::empty({size, hidden.cols()}, DType::kF32);
  std::vector<double> losses(static_cast<size_t>(size));
  for (int64_t first = 0; first < count; first += size) {
    const int64_t n = std::min(size, count - first);
    const auto own = std::span(rows).subspan(static_cast<size_t>(first), static_cast<size_t>(n));
    pick<float>(hidden, own, picked);
    const std::vector<int64_t> labels = labels_of(attributes, own);
    visit(Block{n, picked.data<float>(), labels.data(), losses.data()});
    for (int64_t i = 0; i < n; ++i) result.loss += losses[static_cast<size_t>(i)];
    if (result.dh.defined()) put_back<float>(picked, own, result.dh);
  }
}

// Adds to the gradients in a block what logits at its labels give them.
void add_at_labels(const quant::Weight& head, const Block& block, const float* at_labels) {
  const int64_t d = head.cols();
  parallel_for(block.n, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(d));
    for (int64_t i = begin; i < end; ++i) {
      head.decode_row(block.labels[i], row.data());
      kernels::row_kernels<float>().add_scaled(row.data(), at_labels[i], block.rows + i * d, d);
    }
  });
}

// Logits packed as tiles (kernels/softmax_rows.h).
void visit_packed(const quant::Weight& head, float scale, bool wants_h, const Block& block) {
  const kernels::Tiles tiles = head.tiles(block.n);
  kernels::PackedRows packed(block.n, head.cols(), 0, tiles);
  packed.pack(block.rows, head.cols(), 1);
  kernels::PackedRows gradient;
  if (wants_h) gradient = kernels::PackedRows(block.n, head.rows(), 0, tiles);
  std::vector<float> at_labels(static_cast<size_t>(block.n));
  kernels::multiply_cross_entropy(packed, {head.decoder(block.n), nullptr}, head.rows(), scale,
                                  block.labels, block.losses, wants_h ? &gradient : nullptr,
                                  wants_h ? at_labels.data() : nullptr);
  if (!wants_h) return;
  head.with_fine_gradients().matmul_transposed(gradient, block.rows);
  add_at_labels(head, block, at_labels.data());
}

// Logits as codes of integers (kernels/softmax_codes.h), in `gradient` where it is wanted.
void visit_rounded(const quant::Weight& head, float scale, kernels::RoundedRows* gradient,
                   const Block& block) {
  const quant::ProductInParts logits(head, block.rows, block.n);
  std::vector<float> at_labels(static_cast<size_t>(block.n));
  kernels::round_cross_entropy(
      block.n, head.rows(), [&](auto... part) { logits.make(part...); }, scale, block.labels,
      block.losses, gradient, gradient != nullptr ? at_labels.data() : nullptr);
  if (gradient == nullptr) return;
  head.matmul_transposed(*gradient, block.rows);
  add_at_labels(head, block, at_labels.data());
}

// The pass in blocks of logits of 16 bits or 8, if that can be.
bool visit_in_16_bits(const Tensor& hidden, const Head& head, const Attributes& attributes,
                      const std::vector<int64_t>& rows, Visit& result) {
  const auto count = static_cast<int64_t>(rows.size());
  if (hidden.dtype() != DType::kF32 || head.dense.defined()) return false;
  const LogitForm form = logit_form(head.frozen, attributes.options, count);
  if (form == LogitForm::kF32) return false;
  const bool wants_h = result.dh.defined();
  const auto scale = static_cast<float>(attributes.options.scale);
  const int64_t parts = kernels::ceil_div(count, logit_rows_of_16_bits(head.vocab()));
  const int64_t size = kernels::ceil_div(count, parts);
  if (form == LogitForm::kPacked) {
    visit_blocks(hidden, attributes, rows, kernels::round_up(size, kernels::kBandLines), result,
                 [&](const Block& block) { visit_packed(head.frozen, scale, wants_h, block); });
    return true;
  }
  kernels::RoundedRows gradient;
  visit_blocks(hidden, attributes, rows, size, result, [&](const Block& block) {
    if (wants_h && gradient.rows() != block.n)
      gradient = kernels::RoundedRows(block.n, head.vocab(), head.frozen.softmax_arithmetic());
    visit_rounded(head.frozen, scale, wants_h ? &gradient : nullptr, block);
  });
  return true;
}

// A block of rows whose logits have become gradients.
template <class T>
struct Gradients {
  int64_t n;
  T* logits;      // [n, vocab]
  const T* rows;  // [n, d]: hidden
  const int64_t* labels;
};

// What they give to the rows, dh [n, d], and to the head, dw [vocab, d]; either may be null.
template <class T>
void pass_back(const Head& head, const Gradients<T>& own, T* dh, T* dw, bool adds_to_w) {
  const int64_t d = head.width(), vocab = head.vocab();
  // In 8 bits little would be left of what shares a scale with a label's: this goes its own way.
  std::vector<T> at_labels;
  for (int64_t i = 0; head.arithmetic == kernels::Arithmetic::kTiles8 && i < own.n; ++i)
    at_labels.push_back(std::exchange(own.logits[i * vocab + own.labels[i]], T{0}));
  if (dw != nullptr)
    kernels::gemm_tn(vocab, d, own.n, own.logits, own.rows, dw, adds_to_w, T{1}, head.arithmetic);
  if (dh != nullptr) head.project_back(own.logits, own.n, dh);
  const auto& kernels = kernels::row_kernels<T>();
  for (size_t i = 0; i < at_labels.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) * d, at = own.labels[i] * d;
    if (dw != nullptr) kernels.add_scaled(own.rows + row, at_labels[i], dw + at, d);
    if (dh != nullptr) kernels.add_scaled(head.dense.data<T>() + at, at_labels[i], dh + row, d);
  }
}

template <class T>
Visit visit_all(const Tensor& hidden, const Head& head, const Attributes& attributes, bool wants_h,
                bool wants_w) {
  Visit result;
  const int64_t d = hidden.cols();
  const int64_t vocab = head.vocab();
  std::vector<int64_t> rows;
  for (size_t i = 0; i < attributes.labels.size(); ++i) {
    if (attributes.labels[i] >= 0) rows.push_back(static_cast<int64_t>(i));
  }
  if (wants_h) result.dh = Tensor::zeros(hidden.shape(), hidden.dtype());
  if (!wants_w && visit_in_16_bits(hidden, head, attributes, rows, result)) return result;
  const int64_t count = static_cast<int64_t>(rows.size());
  if (wants_w) {  // the first block writes it
    const Shape shape{vocab, d};
    result.dw =
        count == 0 ? Tensor::zeros(shape, hidden.dtype()) : Tensor::empty(shape, hidden.dtype());
  }
  if (count == 0) return result;
  // Even ones: every block decodes the whole head.
  const int64_t most = logit_rows_a_block(vocab, sizeof(T), wants_w ? d : 0);
  const int64_t parts = kernels::ceil_div(count, most);
  const int64_t block = kernels::ceil_div(count, parts);
  Tensor logits = Tensor::empty({block, vocab}, hidden.dtype());
  Tensor picked = Tensor::empty({block, d}, hidden.dtype());
  Tensor back = Tensor::empty({block, d}, hidden.dtype());
  std::vector<double> losses(static_cast<size_t>(block));
  for (int64_t first = 0; first < count; first += block) {
    const int64_t n = std::min(block, count - first);
    const auto own = std::span(rows).subspan(static_cast<size_t>(first), static_cast<size_t>(n));
    const std::vector<int64_t> labels = labels_of(attributes, own);
    pick<T>(hidden, own, picked);
    head.project(picked.data<T>(), n, logits.data<T>());
    parallel_for(n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const auto at = static_cast<size_t>(i);
        losses[at] = visit_row(attributes.options, logits.data<T>() + i * vocab, vocab, labels[at],
                               wants_h || wants_w);
      }
    });
    for (int64_t i = 0; i < n; ++i) result.loss += losses[static_cast<size_t>(i)];
    if (!wants_h && !wants_w) continue;
    pass_back<T>(head, {n, logits.data<T>(), picked.data<T>(), labels.data()},
                 wants_h ? back.data<T>() : nullptr, wants_w ? result.dw.data<T>() : nullptr,
                 first > 0);
    if (wants_h) put_back<T>(back, own, result.dh);
  }
  return result;
}

Tensor forward(Call& call, std::span<const Tensor> in) {
  const auto& attributes = attributes_of<Attributes>(call);
  const Tensor none;
  const Head head{attributes.head, in.size() > 1 ? in[1] : none, attributes.arithmetic};
  check_float("cross_entropy", in[0]);
  if (in[0].cols() != head.width() ||
      static_cast<int64_t>(attributes.labels.size()) != in[0].rows()) {
    fail(ErrorCode::kInvalidArgument, "cross_entropy",
         "hidden {} with {} labels and a head [{}, {}] does not fit", in[0].shape().to_string(),
         attributes.labels.size(), head.vocab(), head.width());
  }
  for (const int64_t label : attributes.labels) {
    if (label >= head.vocab()) {
      fail(ErrorCode::kInvalidArgument, "cross_entropy", "label {} is outside the vocabulary of {}",
           label, head.vocab());
    }
  }
  Tensor loss = Tensor::empty({1}, in[0].dtype());
  dispatch_float(loss.dtype(), "cross_entropy", [&](auto zero) {
    using T = decltype(zero);
    const bool wants_w = in.size() > 1 && call.wanted[1];
    Visit visit = visit_all<T>(in[0], head, attributes, call.wanted[0], wants_w);
    *loss.data<T>() = static_cast<T>(visit.loss);
    call.saved = {visit.dh, visit.dw};
  });
  return loss;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  std::vector<Tensor> gradients;
  for (size_t i = 0; i < call.gathered.size(); ++i) {
    const Tensor& kept = call.saved[i];
    if (!kept.defined()) {
      gradients.emplace_back();
      continue;
    }
    dispatch_float(dy.dtype(), "cross_entropy", [&](auto zero) {
      using T = decltype(zero);
      const T factor = *dy.data<T>();
      Tensor& gathered = call.gathered[i];
      if (!gathered.defined() && factor == T{1}) return;
      parallel_for(kept.count(), 1 << 15, [&](int64_t begin, int64_t end) {
        T* values = kept.data<T>() + begin;
        if (gathered.defined()) {
          kernels::row_kernels<T>().add_scaled(values, factor, gathered.data<T>() + begin,
                                               end - begin);
        } else {
          kernels::row_kernels<T>().scale(factor, values, end - begin);
        }
      });
    });
    if (call.gathered[i].defined()) {
      gradients.push_back(std::exchange(call.gathered[i], Tensor()));
      continue;
    }
    gradients.push_back(kept);
  }
  return gradients;
}

std::vector<Sample> samples(Rng& rng) {
  const auto head = quant::Weight::from_tensor(random_normal(rng, {11, 8}).to(DType::kF32));
  const std::vector<int64_t> labels = {3, -1, 0, 10};
  return {{"frozen head", {random_normal(rng, {4, 8})}, Attributes{head, labels, {}}, {true}},
          {"scaled and capped",
           {random_normal(rng, {4, 8})},
           Attributes{head, labels, {0.5, 3}},
           {true}},
          {"trainable head",
           {random_normal(rng, {4, 8}), random_normal(rng, {11, 8})},
           Attributes{{}, labels, {}},
           {true, true}},
          {"capped trainable head",
           {random_normal(rng, {4, 8}), random_normal(rng, {11, 8})},
           Attributes{{}, labels, {2, 5}},
           {true, true}}};
}

}  // namespace

extern const OpDef cross_entropy_entry;
const OpDef cross_entropy_entry{"cross-entropy fused with the output projection", forward, backward,
                                nullptr, samples};

Tensor cross_entropy(const Tensor& hidden, const quant::Weight& head, std::vector<int64_t> labels,
                     LogitOptions options) {
  return record(cross_entropy_entry, {&hidden, 1}, Attributes{head, std::move(labels), options});
}

Tensor cross_entropy(const Tensor& hidden, const Tensor& head, std::vector<int64_t> labels,
                     LogitOptions options, kernels::Arithmetic arithmetic) {
  const Tensor inputs[] = {hidden, head};
  return record(cross_entropy_entry, inputs,
                Attributes{{}, std::move(labels), options, arithmetic});
}

void for_logit_blocks(const Tensor& hidden, const quant::Weight& frozen, const Tensor& trainable,
                      LogitOptions options,
                      const std::function<void(int64_t, const Tensor&)>& visit,
                      const std::function<Tensor(const Tensor&, Tensor)>& adapt) {
  const Head head{frozen, trainable};
  const int64_t vocab = head.vocab();
  dispatch_float(hidden.dtype(), "logits", [&](auto zero) {
    using T = decltype(zero);
    const int64_t block =
        std::max<int64_t>(1, std::min(hidden.rows(), logit_rows_a_block(vocab, sizeof(T))));
    for (int64_t first = 0; first < hidden.rows(); first += block) {
      const int64_t n = std::min(block, hidden.rows() - first);
      Tensor logits = Tensor::empty({n, vocab}, hidden.dtype());
      head.project(hidden.data<T>() + first * hidden.cols(), n, logits.data<T>());
      if (adapt) logits = adapt(hidden.slice_rows(first, first + n), std::move(logits));
      parallel_for(n, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          apply_options(options, logits.data<T>() + i * vocab, vocab);
      });
      visit(first, logits);
    }
  });
}

}  // namespace moxie::ops
