#include "recipes/workbench.h"

#include "base/cpu.h"
#include "io/hub.h"

namespace moxie::recipes {

quant::Compute compute_for(const std::string& dtype) {
  if (dtype == "bf16") return quant::Compute::kBF16;
  return dtype == "auto" && bf16_is_native() ? quant::Compute::kBF16 : quant::Compute::kF32;
}

Workbench open_workbench(const std::string& model, const std::string& adapter,
                         const std::string& dtype) {
  if (model.empty())
    fail(ErrorCode::kInvalidArgument, "model",
         "no model was given; name a GGUF file, a folder or a pulled model");
  Workbench bench;
  bench.model = models::load(io::resolve_model(model));
  bench.model.decoder->set_compute(compute_for(dtype));
  if (!adapter.empty()) bench.adapter = adapt::Attachment::load(bench.model, adapter);
  return bench;
}

data::Encoder make_encoder(const models::Model& model, const data::EncodeOptions& options) {
  const auto& tokenizer = model.tokenizer();
  const std::string eos = model.text.eos ? tokenizer.token_text(*model.text.eos) : "";
  return {data::text_tools(tokenizer, model.text.chat.get(), eos), options};
}

}  // namespace moxie::recipes
