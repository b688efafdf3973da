#include "ops/tape.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/threads.h"

namespace moxie::ops {
namespace {

thread_local Tape* active_tape = nullptr;

// into += from, elementwise.
void add_into(const Tensor& into, const Tensor& from) {
  MOXIE_ASSERT(into.count() == from.count() && into.dtype() == from.dtype());
  dispatch_float(into.dtype(), "tape", [&](auto zero) {
    using T = decltype(zero);
    T* a = into.data<T>();
    const T* b = from.data<T>();
    parallel_for(into.count(), 1 << 15, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) a[i] += b[i];
    });
  });
}

// Which of an op's inputs a tape follows.
decltype(Call::wanted) followed(std::span<const Tensor> inputs) {
  decltype(Call::wanted) bits;
  MOXIE_ASSERT(inputs.size() <= bits.size());
  for (size_t i = 0; i < inputs.size(); ++i) bits[i] = inputs[i].var != 0;
  return bits;
}

Tensor ones_like(const Tensor& x) {
  Tensor ones = Tensor::empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "tape", [&](auto zero) {
    using T = decltype(zero);
    std::fill_n(ones.data<T>(), ones.count(), T{1});
  });
  return ones;
}

}  // namespace

Tensor Call::gradient_of(size_t i, Shape shape, DType dtype) {
  if (gathered[i].defined()) return std::exchange(gathered[i], Tensor());
  if (blank[i].defined()) return std::exchange(blank[i], Tensor());
  return Tensor::empty(shape, dtype);
}

Tape::Tape() : outer_(active_tape) {
  active_tape = this;
}
Tape::~Tape() {
  active_tape = outer_;
}
Tape* Tape::active() {
  return active_tape;
}

NoTape::NoTape() : hidden_(active_tape) {
  active_tape = nullptr;
}
NoTape::~NoTape() {
  active_tape = hidden_;
}

Tensor Tape::leaf(const Tensor& value) {
  return leaf_into(value, {});
}

Tensor Tape::leaf_into(const Tensor& value, const Tensor& gradient, bool* is_blank) {
  MOXIE_ASSERT(!gradient.defined() || gradient.shape() == value.shape());
  Tensor handle = value;
  gradients_.emplace_back();
  sinks_.push_back({gradient, is_blank});
  handle.var = static_cast<int64_t>(gradients_.size());
  return handle;
}

Tensor record(const OpDef& op, std::span<const Tensor> inputs, std::any attributes) {
  Tape* tape = active_tape;
  Call call;
  call.attributes = std::move(attributes);
  if (tape != nullptr && op.backward != nullptr) call.wanted = followed(inputs);
  Tensor output = op.forward(call, inputs);
  output.var = 0;
  if (!call.any_wanted()) return output;
  tape->gradients_.emplace_back();
  tape->sinks_.emplace_back();
  output.var = static_cast<int64_t>(tape->gradients_.size());
  std::vector<int64_t> vars;
  for (const Tensor& input : inputs) vars.push_back(input.var);
  tape->nodes_.push_back({&op, std::move(vars), output.var, std::move(call), nullptr});
  return output;
}

Tensor Tape::recompute(const std::vector<Tensor>& inputs,
                       const std::function<Tensor(const std::vector<Tensor>&)>& segment) {
  Tensor output;
  {
    const NoTape quiet;
    output = segment(inputs);
  }
  Call call;
  call.wanted = followed(inputs);
  call.saved = inputs;
  std::vector<int64_t> vars;
  for (const Tensor& input : inputs) vars.push_back(input.var);
  gradients_.emplace_back();
  sinks_.emplace_back();
  output.var = static_cast<int64_t>(gradients_.size());
  nodes_.push_back({nullptr, std::move(vars), output.var, std::move(call), segment});
  return output;
}

void Tape::accumulate(int64_t var, Tensor gradient) {
  const auto index = static_cast<size_t>(var - 1);
  gradient.var = 0;
  if (const Sink& sink = sinks_[index]; sink.gradient.defined()) {
    if (gradient.raw() != sink.gradient.raw()) {  // else it was lent, and added to
      if (sink.is_filled()) {
        add_into(sink.gradient, gradient);
      } else {
        std::memcpy(sink.gradient.raw(), gradient.raw(), gradient.bytes());
      }
    }
    if (sink.is_blank != nullptr) *sink.is_blank = false;
    return;
  }
  Tensor& held = gradients_[index];
  if (!held.defined()) {
    held = std::move(gradient);
    return;
  }
  // Another value's gradient may be the same memory: what is written into must be this one's alone.
  if (!held.sole_owner()) {
    std::swap(held, gradient);
    if (!held.sole_owner()) held = held.clone();
  }
  add_into(held, gradient);
}

void Tape::lend_gradients(Node& node) {
  node.call.gathered.resize(node.inputs.size());
  node.call.blank.resize(node.inputs.size());
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i] == 0) continue;
    const auto index = static_cast<size_t>(node.inputs[i] - 1);
    if (const Sink& sink = sinks_[index]; sink.gradient.defined()) {
      // What two inputs share is written once: the other's is added to it.
      const auto is_it = [&](const Tensor& lent) { return lent.raw() == sink.gradient.raw(); };
      if (sink.is_filled()) {
        node.call.gathered[i] = sink.gradient;
      } else if (std::none_of(node.call.blank.begin(), node.call.blank.end(), is_it)) {
        node.call.blank[i] = sink.gradient;
      }
      continue;
    }
    Tensor& held = gradients_[index];
    if (held.defined() && held.sole_owner()) {
      node.call.gathered[i] = std::exchange(held, Tensor());
    }
  }
}

void Tape::backward(const Tensor& output, const Tensor& d_output) {
  if (output.var == 0) {
    fail(ErrorCode::kInvalidArgument, "tape",
         "nothing that trains reaches this value; mark a leaf first");
  }
  accumulate(output.var, d_output.defined() ? d_output : ones_like(output));
  for (size_t n = nodes_.size(); n-- > 0;) {
    Node node = std::move(nodes_[n]);  // moved out: what it saved is freed as soon as it is done
    nodes_.pop_back();
    const Tensor dy = std::move(gradients_[static_cast<size_t>(node.output - 1)]);
    gradients_[static_cast<size_t>(node.output - 1)] = Tensor();
    if (!dy.defined()) continue;
    std::vector<Tensor> gradients;
    if (node.op != nullptr) {
      const NoTape quiet;
      lend_gradients(node);
      gradients = node.op->backward(node.call, dy);
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (!node.call.gathered[i].defined()) continue;
        const auto index = static_cast<size_t>(node.inputs[i] - 1);
        if (!sinks_[index].gradient.defined()) gradients_[index] = std::move(node.call.gathered[i]);
      }
    } else {
      Tape inner;
      std::vector<Tensor> leaves;
      for (size_t i = 0; i < node.call.saved.size(); ++i) {
        Tensor input = node.call.saved[i];
        input.var = 0;
        leaves.push_back(node.call.wanted[i] ? inner.leaf(input) : input);
      }
      const Tensor result = node.segment(leaves);
      if (result.var != 0) inner.backward(result, dy);
      for (const Tensor& leaf : leaves) gradients.push_back(inner.grad(leaf));
    }
    MOXIE_ASSERT(gradients.size() == node.inputs.size());
    for (size_t i = 0; i < gradients.size(); ++i) {
      if (node.inputs[i] != 0 && gradients[i].defined()) {
        accumulate(node.inputs[i], std::move(gradients[i]));
      }
    }
  }
}

Tensor Tape::grad(const Tensor& leaf) const {
  if (leaf.var == 0) return {};
  const auto index = static_cast<size_t>(leaf.var - 1);
  return sinks_[index].gradient.defined() ? sinks_[index].gradient : gradients_[index];
}

}  // namespace moxie::ops
