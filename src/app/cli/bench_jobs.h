#pragma once
// What `moxie bench` runs: a training step, the reading of a prompt, decoding; each several times
// after one run to warm up. A job reports the median of its rounds, the slowest and the fastest,
// the most memory the process held, and what a token costs, so that a speed can be divided by what
// the machine can do (measure.h). Attention, norms and adapters are work that a token's cost leaves
// out: shares are lower bounds.
#include <cstdint>
#include <string>

#include "app/cli/measure.h"
#include "base/json.h"
#include "base/options.h"

namespace moxie::cli {

struct BenchOptions {
  std::string what, model, data, dtype = "auto", cache_type = "auto", method = "lora";
  int64_t tokens = 256, context = 64, batch = 1, steps = 1, micro_tokens = 1024, rank = 16,
          rounds = 5;
  bool attach = false, recompute = false, skip_limits = false;

  void visit(auto& v) {
    v("what", what, "what to measure", one_of({"train", "prefill", "decode", "limits"}));
    v("model", model, "a GGUF file, a Hugging Face folder, or a pulled name; limits needs none");
    v("tokens", tokens, "tokens of the prompt, to generate, or of each training sequence",
      range(1, 1 << 20));
    v("batch", batch, "sequences of a training step, or decoded at once", range(1, 1 << 16));
    v("context", context, "tokens already there when decoding starts", range(1, 1 << 20));
    v("data", data, "train on this file's examples, at the lengths they have");
    v("steps", steps, "training steps a round", range(1, 1 << 20));
    v("method", method, "what trains", one_of({"lora", "full"}));
    v("rank", rank, "of the LoRA on all linear layers", range(1, 4096));
    v("attach", attach, "prefill and decode with such a LoRA attached, not merged");
    v("micro_tokens", micro_tokens, "tokens that train at once; whole sequences",
      range(1, 1 << 30));
    v("recompute", recompute, "keep only each block's input while training");
    v("rounds", rounds, "times the job is measured", range(1, 1000));
    v("skip_limits", skip_limits, "the speed alone, not the machine's limits");
    v("dtype", dtype, "arithmetic of the matrix products",
      one_of({"auto", "f32", "bf16", "int8", "int16"}));
    v("cache_type", cache_type,
      "what prefill and decode keep keys and values in; auto is f16, and f32 where all products "
      "are exact",
      one_of({"auto", "f16", "f32"}));
  }
};

// Every job's JSON has tokens_per_second (the median), slowest, fastest, peak_rss_mib, and gflops
// or gigabytes_per_second with share_of_limit and its formula. The machine is measured after the
// job, so that this does not count as the model's memory.
Json run_job(const BenchOptions& options);

}  // namespace moxie::cli
