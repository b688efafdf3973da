#pragma once
// The tape: ops record what they did, and backward() walks it in reverse. One tape a micro-batch,
// one thread. With no tape active an op only computes its result.
//
//   Tape tape;                              // active until it goes out of scope
//   Tensor x = tape.leaf(value);            // a value whose gradient is wanted
//   Tensor loss = ops::sum(ops::silu(x));
//   tape.backward(loss);                    // d loss = 1
//   Tensor dx = tape.grad(x);
#include <any>
#include <bitset>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/registry.h"
#include "base/rng.h"
#include "tensor/tensor.h"

namespace moxie::ops {

// One call of an op, alive from its forward to its backward. `saved` is what forward keeps: only
// that is held in memory, not the inputs as such.
struct Call {
  std::any attributes;     // the op's own struct
  std::bitset<64> wanted;  // per input: is its gradient asked for (none without a tape)
  std::vector<Tensor> saved;
  // Per input, in the backward: the gradient that other uses of it have gathered, where nothing
  // else reads it, or what leaf_into() was given. An op may move it out, add its own and return it
  // as the gradient.
  std::vector<Tensor> gathered;
  std::vector<Tensor> blank;  // per input: where the gradient is to be written, if anywhere
  bool any_wanted() const { return wanted.any(); }
  // The gathered gradient of input i, to add to, moved out; where there is none, memory to write.
  Tensor gradient_of(size_t i, Shape shape, DType dtype);
};

struct Sample {  // one case of the conformance tests, in f64; made from a seed
  std::string_view label;
  std::vector<Tensor> inputs;
  std::any attributes;
  std::vector<bool> differentiable;  // per input
};

struct OpDef {
  const char* summary;
  // Checks shapes (throws kInvalidArgument with the op's name and both facts) and computes.
  Tensor (*forward)(Call& call, std::span<const Tensor> inputs);
  // Gradients for the inputs that are wanted; others may stay undefined. dy has the output's shape
  // and may be overwritten when it is returned as a gradient.
  std::vector<Tensor> (*backward)(Call& call, const Tensor& dy);  // null: see no_gradient
  const char* no_gradient;  // why there is none; null when backward is given
  std::vector<Sample> (*samples)(Rng& rng);
};

Table<OpDef> op_table();

class Tape {
 public:
  Tape();  // becomes the active tape of this thread; tapes nest, the inner one is active
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  static Tape* active();

  Tensor leaf(const Tensor& value);  // a handle on the same memory that this tape differentiates
  // As leaf, but the gradient is added into `gradient` (same shape) during backward. Where
  // is_blank is given and true, what is added first is written instead, and it becomes false.
  Tensor leaf_into(const Tensor& value, const Tensor& gradient, bool* is_blank = nullptr);
  void backward(const Tensor& output, const Tensor& d_output = {});
  Tensor grad(const Tensor& leaf) const;  // undefined when nothing reached it
  bool records(const Tensor& value) const { return value.var != 0; }

  // Runs `segment` now without keeping anything, and again during backward (recompute). `inputs`
  // are the tensors it reads; parameters inside it must be added with leaf_into.
  Tensor recompute(const std::vector<Tensor>& inputs,
                   const std::function<Tensor(const std::vector<Tensor>&)>& segment);

 private:
  friend Tensor record(const OpDef& op, std::span<const Tensor> inputs, std::any attributes);
  struct Node {
    const OpDef* op;              // null: a recompute segment
    std::vector<int64_t> inputs;  // vars, 0 where no gradient flows
    int64_t output;
    Call call;
    std::function<Tensor(const std::vector<Tensor>&)> segment;
  };
  struct Sink {
    Tensor gradient;  // defined for leaf_into
    bool* is_blank = nullptr;
    bool is_filled() const { return is_blank == nullptr || !*is_blank; }
  };
  void accumulate(int64_t var, Tensor gradient);
  void lend_gradients(Node& node);
  Tape* outer_;
  std::vector<Node> nodes_;
  std::vector<Tensor> gradients_;  // by var - 1
  std::vector<Sink> sinks_;        // by var - 1
};

// Runs an op and, when a tape is active and an input is recorded, writes it down.
Tensor record(const OpDef& op, std::span<const Tensor> inputs, std::any attributes = {});

// While alive, ops of this thread are not recorded.
class NoTape {
 public:
  NoTape();
  ~NoTape();
  NoTape(const NoTape&) = delete;
  NoTape& operator=(const NoTape&) = delete;

 private:
  Tape* hidden_;
};

}  // namespace moxie::ops
