#include "recipes/workbench.h"

#include <algorithm>

#include "base/cpu.h"
#include "io/hub.h"
#include "kernels/micro_codes.h"

namespace moxie::recipes {

quant::Compute compute_for(const std::string& dtype) {
  using quant::Compute;
  if (dtype == "f32") return Compute::kF32;
  if (dtype == "int16") return Compute::kInt16;
  if (dtype == "bf16") return Compute::kBF16;
  if (has_bf16_tiles()) return bf16_runs_on_fma() ? Compute::kInt16 : Compute::kBF16;
  return kernels::int16_is_faster() ? Compute::kInt8 : Compute::kF32;
}

namespace {

// Of weights whose format has products of 8-bit integers.
quant::Compute integers_for(const std::string& dtype, Purpose purpose) {
  using quant::Compute;
  const bool is_auto = dtype == "auto";
  if (purpose == Purpose::kTraining) {
    if (kernels::int8_tiles_are_fastest()) return Compute::kTiles8;
    if (kernels::codes_are_fastest()) return Compute::kGradients8;
    return is_auto && has_bf16_tiles() ? Compute::kBF16 : Compute::kInt8;
  }
  return is_auto && has_bf16_tiles() ? Compute::kMixed : Compute::kInt8;
}

}  // namespace

void set_compute(nn::Decoder& decoder, const std::string& dtype, Purpose purpose) {
  const quant::Compute plain = compute_for(dtype);
  const bool uses_int8 = dtype == "int8" || dtype == "auto";
  // Tiles round weights of any format, but only where that is asked for.
  const bool rounds_all =
      dtype == "int8" && purpose == Purpose::kTraining && kernels::int8_tiles_are_fastest();
  for (nn::Matrix* matrix : decoder.matrices()) {
    const bool has_int8 = matrix->is_frozen() && matrix->frozen().format()->int8 != nullptr;
    const bool is_int8 = uses_int8 && (has_int8 || rounds_all);
    matrix->set_compute(is_int8 ? integers_for(dtype, purpose) : plain);
  }
}

void set_cache_type(nn::Decoder& decoder, const std::string& cache_type) {
  const auto matrices = decoder.matrices();
  const bool rounds = std::any_of(matrices.begin(), matrices.end(), [](const nn::Matrix* matrix) {
    return matrix->frozen().compute() != quant::Compute::kF32;
  });
  const bool is_half = cache_type == "f16" || (cache_type == "auto" && rounds);
  decoder.set_cache_dtype(is_half ? DType::kF16 : DType::kF32);
}

Workbench open_workbench(const std::string& model, const std::string& adapter,
                         const std::string& dtype, Purpose purpose, const std::string& cache_type) {
  if (model.empty())
    fail(ErrorCode::kInvalidArgument, "model",
         "no model was given; name a GGUF file, a folder or a pulled model");
  Workbench bench;
  bench.model = models::load(io::resolve_model(model));
  set_compute(*bench.model.decoder, dtype, purpose);
  set_cache_type(*bench.model.decoder, cache_type);
  if (!adapter.empty()) bench.adapter = adapt::Attachment::load(bench.model, adapter);
  return bench;
}

data::Encoder make_encoder(const models::Model& model, const data::EncodeOptions& options) {
  const auto& tokenizer = model.tokenizer();
  const std::string eos = model.text.eos ? tokenizer.token_text(*model.text.eos) : "";
  return {data::text_tools(tokenizer, model.text.chat.get(), eos), options};
}

}  // namespace moxie::recipes
