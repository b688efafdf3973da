#include "recipes/export.h"

#include <filesystem>

#include "adapt/gguf_adapter.h"
#include "models/save_gguf.h"
#include "models/save_hf.h"
#include "recipes/workbench.h"

namespace moxie::recipes {
namespace fs = std::filesystem;
namespace {

DType hf_dtype(const std::string& quant) {
  if (quant.empty() || quant == "f32") return DType::kF32;
  if (quant == "bf16") return DType::kBF16;
  if (quant == "f16") return DType::kF16;
  fail(ErrorCode::kInvalidArgument, "export",
       "hf folders hold f32, bf16 or f16 here, not '{}'; choose one, or --to gguf", quant);
}

// What is there already may be replaced by its like, and by nothing else.
void check_place(const ExportOptions& options) {
  const fs::path out = options.out;
  if (!fs::exists(out)) return;
  const bool is_file = options.to == "gguf" || options.to == "gguf-adapter";
  if (is_file != !fs::is_directory(out)) {
    fail(ErrorCode::kInvalidArgument, "export",
         "'{}' is a {}, and --to {} writes a {}; choose another --out", options.out,
         is_file ? "folder" : "file", options.to, is_file ? "file" : "folder");
  }
  const char* mark = options.to == "hf" ? "config.json" : "adapter_config.json";
  if (!is_file && !fs::is_empty(out) && !fs::exists(out / mark)) {
    fail(ErrorCode::kInvalidArgument, "export",
         "'{}' holds other things and no {}; give a new or an empty folder", options.out, mark);
  }
}

void check(const ExportOptions& options) {
  if (options.to.empty())
    fail(ErrorCode::kInvalidArgument, "export",
         "the layout is missing; add --to hf, gguf, gguf-adapter or peft");
  if (options.out.empty())
    fail(ErrorCode::kInvalidArgument, "export", "--out is missing: where the result goes");
  const bool is_adapter = options.to == "peft" || options.to == "gguf-adapter";
  if (is_adapter && (options.adapter.empty() || options.merge || !options.quant.empty())) {
    fail(ErrorCode::kInvalidArgument, "export",
         "--to {} writes an adapter: give --adapter, and leave --merge and --quant out",
         options.to);
  }
  if (!is_adapter && !options.adapter.empty() && !options.merge) {
    fail(ErrorCode::kInvalidArgument, "export",
         "--to {} writes a whole model; add --merge to fold the adapter in", options.to);
  }
  if (options.merge && options.adapter.empty())
    fail(ErrorCode::kInvalidArgument, "export", "--merge needs --adapter DIR");
  check_place(options);
}

}  // namespace

Json export_model(const ExportOptions& options) {
  check(options);
  Workbench bench = open_workbench(options.model, options.adapter, "f32");
  if (options.merge) bench.adapter->merge(bench.model);
  if (options.to == "hf") {
    models::save_hf(bench.model, options.out, hf_dtype(options.quant));
  } else if (options.to == "gguf") {
    models::save_gguf(bench.model, options.out, options.quant);
  } else if (options.to == "peft") {
    bench.adapter->save(options.out);
  } else {
    adapt::save_gguf_adapter(*bench.adapter, bench.model, options.out);
  }
  return {{"model", options.model},
          {"adapter", options.adapter},
          {"to", options.to},
          {"out", options.out},
          {"merged", options.merge}};
}

}  // namespace moxie::recipes
