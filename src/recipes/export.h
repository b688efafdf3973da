#pragma once
// The recipe `export`: a model or an adapter in another layout.
#include <string>

#include "base/json.h"
#include "base/options.h"

namespace moxie::recipes {

struct ExportOptions {
  std::string model, adapter, to, quant, out;
  bool merge = false;

  void visit(auto& v) {
    v("model", model, "a GGUF file, a Hugging Face folder, or a pulled name");
    v("adapter", adapter, "PEFT folder");
    v("to", to, "layout: hf and gguf are models, peft and gguf-adapter are adapters",
      one_of({"hf", "gguf", "gguf-adapter", "peft"}));
    v("out", out, "file or folder to write");
    v("merge", merge, "fold the adapter into the weights");
    v("quant", quant,
      "format of the weights: f32, bf16, f16 for hf; also q8_0, q4_0, ... for gguf; their own when "
      "empty");
  }
};

// Throws rather than drop anything. Returns what was written.
Json export_model(const ExportOptions& options);

}  // namespace moxie::recipes
