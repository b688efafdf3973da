// LoRA: y = W x + s B A x, s = alpha / r, or alpha / sqrt(r) with rsLoRA (Hu et al., 2021;
// Kalajdzievski, 2023). A starts Kaiming-uniform with a = sqrt(5), B at zero, as in PEFT. On an
// embedding: E[t] + s B A[:, t].
#include <cmath>
#include <mutex>
#include <numeric>
#include <tuple>

#include "adapt/targets.h"
#include "kernels/gemm.h"
#include "ops/add.h"
#include "ops/dense.h"
#include "ops/dropout.h"
#include "ops/gather_columns.h"
#include "ops/lora.h"
#include "ops/scale.h"
#include "ops/tape.h"
#include "quant/low_rank.h"

namespace moxie::adapt {
namespace {

struct LoraOptions {
  int64_t rank = 16;
  double alpha = 32;
  double dropout = 0;
  bool rslora = false;
  std::map<std::string, double> rank_pattern, alpha_pattern;

  void visit(auto& v) {
    v("rank", rank, "width of the adapter", range(1, 4096));
    v("alpha", alpha, "numerator of the scale: alpha / rank", range(1e-6, 1e6));
    v("dropout", dropout, "probability that an input element is dropped while training",
      range(0, 0.99));
    v("rslora", rslora, "scale by alpha / sqrt(rank)");
    v("rank_pattern", rank_pattern, "ranks of their own for modules that match", range(1, 4096));
    v("alpha_pattern", alpha_pattern, "alphas of their own for modules that match",
      range(1e-6, 1e6));
  }
};

constexpr size_t kMostPatterns = 256;  // of a PEFT folder

uint64_t stream_of(const std::string& name) {  // FNV-1a: a stable number for a site's random stream
  uint64_t hash = 14695981039346656037u;
  for (const unsigned char c : name) hash = (hash ^ c) * 1099511628211u;
  return hash;
}

// The copy that inference multiplies with: made when it is asked for, and again once A or B
// changed.
class RoundedCopy {
 public:
  std::shared_ptr<const quant::LowRankCopy> of(const nn::Param& a, const nn::Param& b,
                                               double scaling) {
    const std::lock_guard<std::mutex> lock(guard_);
    const Source source{a.value.raw(), b.value.raw(), a.changes, b.changes};
    if (source != source_) {
      copy_ = quant::LowRankCopy::make(a.value.data<float>(), b.value.data<float>(), a.value.rows(),
                                       a.value.cols(), b.value.rows(), scaling);
      source_ = source;
    }
    return copy_;
  }
  void drop() {
    const std::lock_guard<std::mutex> lock(guard_);
    copy_.reset();
    source_ = {};
  }

 private:
  using Source = std::tuple<const void*, const void*, uint64_t, uint64_t>;
  std::mutex guard_;
  Source source_;  // what copy_ was made of
  std::shared_ptr<const quant::LowRankCopy> copy_;
};

class LoraAdapter : public Adapter {
 public:
  LoraAdapter(const nn::Site& site, int64_t rank, double scaling, double dropout, Rng rng)
      : Adapter(site),
        is_embedding_(site.kind == nn::SiteKind::kEmbedding),
        scaling_(scaling),
        dropout_(dropout),
        stream_(stream_of(site.name)) {
    // Embeddings are kept transposed to the file, as rows by token, so that a step touches only
    // rows it uses.
    a_.name = site.name + ".lora_a";
    b_.name = site.name + ".lora_b";
    a_.owner = b_.owner = nn::Owner::kAdapter;
    a_.value = Tensor::zeros({rank, site.in}, DType::kF32);
    b_.value = Tensor::zeros({site.out, rank}, DType::kF32);
    if (is_embedding_) {  // PEFT starts an embedding's A at zero and draws B
      for (float& value : b_.value.span<float>()) value = static_cast<float>(rng.normal());
    } else {
      const double bound = 1.0 / std::sqrt(static_cast<double>(site.in));
      for (float& value : a_.value.span<float>())
        value = static_cast<float>(bound * (2 * rng.uniform() - 1));
    }
  }

  Tensor apply(const Tensor& x, Tensor y, const nn::TapContext& context) override {
    if (ops::Tape::active() != nullptr) rounded_.drop();  // it trains: no memory for a copy
    if (is_embedding_) return apply_to_embedding(y, context);
    const Tensor a = matched(a_, y.dtype());
    const Tensor b = matched(b_, y.dtype());
    const bool drops = context.is_training && dropout_ > 0;
    // Beside products of integers the adapter's stay in f32.
    const bool is_bf16 = context.arithmetic == kernels::Arithmetic::kBF16;
    const auto arithmetic = is_bf16 ? context.arithmetic : kernels::Arithmetic::kF32;
    return ops::lora(drops ? ops::dropout(x, dropout_, context.dropout_seed, stream_) : x,
                     std::move(y), a, b, scaling_, arithmetic);
  }

  std::optional<nn::TapedLowRank> low_rank_in(const nn::TapContext& context) override {
    if (is_embedding_ || (context.is_training && dropout_ > 0)) return {};
    if (ops::Tape::active() != nullptr) rounded_.drop();
    return nn::TapedLowRank{matched(a_, DType::kF32), matched(b_, DType::kF32), scaling_};
  }

  std::vector<nn::Param*> params() override { return {&a_, &b_}; }
  std::optional<nn::LowRank> low_rank() const override {
    return nn::LowRank{a_.value, b_.value, scaling_};
  }
  std::shared_ptr<const quant::LowRankCopy> rounded_low_rank() override {
    if (is_embedding_ || a_.value.dtype() != DType::kF32) return {};
    return rounded_.of(a_, b_, scaling_);
  }

  std::vector<std::string> peft_keys() const override {
    if (is_embedding_) return {"lora_embedding_A", "lora_embedding_B"};
    return {"lora_A.weight", "lora_B.weight"};
  }

  void merge_into(Tensor& matrix) const override {
    const int64_t rank = a_.value.rows();
    const auto scale = static_cast<float>(scaling_);
    if (is_embedding_) {  // matrix [vocab, dim] += s (B A)^T = s A^T B^T
      const int64_t vocab = a_.value.cols();
      const int64_t dim = b_.value.rows();
      Tensor b_rows = Tensor::empty({rank, dim}, DType::kF32);
      for (int64_t i = 0; i < dim; ++i) {
        for (int64_t r = 0; r < rank; ++r)
          b_rows.data<float>()[r * dim + i] = b_.value.data<float>()[i * rank + r];
      }
      kernels::gemm_tn(vocab, dim, rank, a_.value.data<float>(), b_rows.data<float>(),
                       matrix.data<float>(), true, scale);
      return;
    }
    kernels::gemm_nn(b_.value.rows(), a_.value.cols(), rank, b_.value.data<float>(),
                     a_.value.data<float>(), matrix.data<float>(), true, scale);
  }

 private:
  static Tensor matched(nn::Param& param, DType dtype) {
    if (param.value.dtype() != dtype) param.value = param.value.to(dtype);  // f64 runs of the tests
    return nn::use(param);
  }

  Tensor apply_to_embedding(const Tensor& y, const nn::TapContext& context) {
    // A [r, vocab]: gather its columns by token through the transpose.
    const Tensor columns = ops::gather_columns(matched(a_, y.dtype()),
                                               {context.tokens->begin(), context.tokens->end()});
    return ops::add(y, ops::scale(ops::dense(columns, matched(b_, y.dtype())), scaling_));
  }

  bool is_embedding_;
  double scaling_, dropout_;
  uint64_t stream_;
  nn::Param a_, b_;
  RoundedCopy rounded_;
};

// Settings of PEFT's LoraConfig that change what an adapter computes, and the values that mean "not
// used".
void refuse(const Json& config, const char* key, const std::string& where, const char* why) {
  if (!config.contains(key)) return;
  const Json& value = config.at(key);
  const bool unused = value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
                      (value.is_structured() && value.empty()) ||
                      (value.is_string() && (value == "none" || value.get<std::string>().empty()));
  if (!unused)
    fail(ErrorCode::kUnsupported, where, "the adapter sets {} = {}: {}", key, value.dump(), why);
}

class Lora : public Method {
 public:
  std::vector<Option> options() override { return list_options(options_); }
  std::vector<nn::SiteKind> site_kinds() const override {
    return {nn::SiteKind::kLinear, nn::SiteKind::kEmbedding};
  }

  std::shared_ptr<Adapter> make(const nn::Site& site, const std::string& module, Rng rng) override {
    const auto rank = static_cast<int64_t>(
        pattern_value(options_.rank_pattern, module, static_cast<double>(options_.rank)));
    const double alpha = pattern_value(options_.alpha_pattern, module, options_.alpha);
    if (rank > std::min(site.in, site.out)) {
      fail(ErrorCode::kInvalidArgument, "lora",
           "rank {} exceeds min(in={}, out={}) of {}; choose rank <= {}", rank, site.in, site.out,
           module, std::min(site.in, site.out));
    }
    const double divisor =
        options_.rslora ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank);
    return std::make_shared<LoraAdapter>(site, rank, alpha / divisor, options_.dropout, rng);
  }

  Json to_peft_config() const override {
    Json config = {{"r", options_.rank},
                   {"lora_alpha", options_.alpha},
                   {"lora_dropout", options_.dropout},
                   {"use_rslora", options_.rslora},
                   {"rank_pattern", Json::object()},
                   {"alpha_pattern", Json::object()}};
    for (const auto& [pattern, rank] : options_.rank_pattern)
      config["rank_pattern"][pattern] = static_cast<int64_t>(rank);
    for (const auto& [pattern, alpha] : options_.alpha_pattern)
      config["alpha_pattern"][pattern] = alpha;
    if (options_.alpha == std::floor(options_.alpha))
      config["lora_alpha"] = static_cast<int64_t>(options_.alpha);
    config.update({{"bias", "none"},
                   {"use_dora", false},
                   {"lora_bias", false},
                   {"fan_in_fan_out", false},
                   {"init_lora_weights", true},
                   {"layer_replication", nullptr},
                   {"modules_to_save", nullptr}});
    return config;
  }

  void from_peft_config(const Json& config, const std::string& where) override {
    refuse(config, "use_dora", where,
           "DoRA's magnitudes are not a LoRA; it cannot be loaded as one");
    refuse(config, "bias", where, "trained biases are not supported");
    refuse(config, "lora_bias", where, "biases of B are not supported");
    refuse(config, "layer_replication", where, "replicated layers are not supported");
    refuse(config, "modules_to_save", where,
           "whole trained modules are not supported; merge them with PEFT first");
    refuse(config, "fan_in_fan_out", where, "transposed (Conv1D) weights are not supported");
    refuse(config, "target_parameters", where, "adapters on bare parameters are not supported");
    refuse(config, "trainable_token_indices", where, "trained tokens are not supported");
    options_ = LoraOptions();
    options_.rank = 8;  // PEFT's defaults, for what the file leaves out
    options_.alpha = 8;
    Json mine = Json::object();
    const std::pair<const char*, const char*> keys[] = {{"r", "rank"},
                                                        {"lora_alpha", "alpha"},
                                                        {"lora_dropout", "dropout"},
                                                        {"use_rslora", "rslora"},
                                                        {"rank_pattern", "rank_pattern"},
                                                        {"alpha_pattern", "alpha_pattern"}};
    for (const auto& [peft, name] : keys) {
      if (!config.contains(peft) || config.at(peft).is_null()) continue;
      if (config.at(peft).is_object() && config.at(peft).size() > kMostPatterns) {
        fail(ErrorCode::kUnsupported, where, "{} has {} patterns; {} are allowed", peft,
             config.at(peft).size(), kMostPatterns);
      }
      mine[name] = config.at(peft);
    }
    set_options(options(), mine, where);
  }

 private:
  // PEFT's rule: a key is a regular expression for the end of a module's name; the first that
  // matches wins. Their order is not kept here, so two that disagree are refused.
  static double pattern_value(const std::map<std::string, double>& patterns,
                              const std::string& module, double fallback) {
    const std::pair<const std::string, double>* found = nullptr;
    for (const auto& entry : patterns) {
      const std::string& pattern = entry.first;
      if (!matches_module(pattern, module) && !matches_module("(.*\\.)?(" + pattern + ")", module))
        continue;
      if (found != nullptr && found->second != entry.second) {
        fail(ErrorCode::kInvalidArgument, "lora",
             "the patterns '{}' and '{}' give {} different values; write them so that one matches",
             found->first, pattern, module);
      }
      found = &entry;
    }
    return found != nullptr ? found->second : fallback;
  }

  LoraOptions options_;
};

std::unique_ptr<Method> create() {
  return std::make_unique<Lora>();
}

}  // namespace

extern const MethodEntry lora_entry;
const MethodEntry lora_entry{"low-rank update of linear layers and embeddings",
                             "Hu et al., 2021, arXiv:2106.09685", "LORA", nullptr, create};

}  // namespace moxie::adapt
