#pragma once
// A site is a named place where something attaches. What attaches may change the value (an
// adapter), record it (statistics) or replace it (patching): looking inside and adapting are one
// mechanism.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/gemm.h"
#include "nn/param.h"
#include "tensor/tensor.h"

namespace moxie::quant {
class LowRankCopy;  // low_rank.h
}

namespace moxie::nn {

enum class SiteKind { kLinear, kStream, kKv, kEmbedding };

struct TapContext {
  const std::vector<int32_t>* tokens = nullptr;  // of the batch; an embedding's tap reads them
  bool is_training = false;                      // dropout is on
  uint64_t dropout_seed = 0;                     // one a micro-batch
  // Of the product that a linear's tap follows; a tap's own products may be made in it too.
  kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32;
};

// What adds scaling * (x A^T) B^T and nothing else, A and B as the active tape sees them.
struct TapedLowRank {
  Tensor a, b;
  double scaling;
};

// What adds scaling * (x A^T) B^T and nothing else: W + scaling * B A.
struct LowRank {
  const Tensor& a;  // [r, in]
  const Tensor& b;  // [out, r]
  double scaling;
};

class Tap {
 public:
  virtual ~Tap() = default;
  // x: what entered the site [N, in] (undefined but at linear sites); y: what it returned [N, out].
  // Returns the value that goes on. Records on the active tape when its params train.
  virtual Tensor apply(const Tensor& x, Tensor y, const TapContext& context) = 0;
  // For a tap that can be said so, apart from dropout: what runs it, or stores it, may use that.
  virtual std::optional<LowRank> low_rank() const { return {}; }
  // Where it does nothing else in this context, without dropout: then it and its linear may run as
  // one op (ops/adapted_linear.h).
  virtual std::optional<TapedLowRank> low_rank_in(const TapContext& /*context*/) { return {}; }
  // A copy of it, rounded for inference, of what its params hold now; null where there is none.
  virtual std::shared_ptr<const quant::LowRankCopy> rounded_low_rank() { return {}; }
};

struct Site {
  std::string name;  // "layers.3.attn.q", "embed"
  SiteKind kind = SiteKind::kLinear;
  int64_t in = 0, out = 0;
  int64_t layer = -1;  // -1 outside the blocks
  std::vector<std::shared_ptr<Tap>> taps;

  Tensor run_taps(const Tensor& x, Tensor y, const TapContext& context) const {
    for (const auto& tap : taps) y = tap->apply(x, std::move(y), context);
    return y;
  }
};

}  // namespace moxie::nn
