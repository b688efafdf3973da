// One answer to one prompt.
#include "infer/generate.h"

#include <fmt/format.h>

#include <iostream>
#include <iterator>

#include "app/cli/verb.h"
#include "base/text_util.h"
#include "recipes/workbench.h"
#include "train/stop_signal.h"

namespace moxie::cli {
namespace {

struct GenerateOptions {
  std::string model, prompt, adapter, system, dtype = "auto", cache_type = "auto";
  std::vector<std::string> stop;
  bool raw = false;
  int64_t max_tokens = 256;
  infer::SamplerOptions sampling;

  void visit(auto& v) {
    v("model", model, "a GGUF file, a Hugging Face folder, or a pulled name");
    v("prompt", prompt, "what to answer or, with --raw, to continue; - reads standard input");
    v("adapter", adapter, "PEFT folder to attach");
    v("system", system, "system message");
    v("raw", raw, "continue the text as it is, without the chat template");
    v("max_tokens", max_tokens, "longest answer", range(1, 1 << 20));
    v("stop", stop, "texts that end the answer");
    sampling.visit(v);
    v("dtype", dtype,
      "what products compute in; auto is int8 on quantised weights (prompts in bf16 where there "
      "is AMX) and the CPU's fastest elsewhere; f32 is exact",
      one_of({"auto", "f32", "bf16", "int8", "int16"}));
    v("cache_type", cache_type,
      "what keys and values of the text so far are kept in; auto is f16, half the memory, and f32 "
      "where all products are exact",
      one_of({"auto", "f16", "f32"}));
  }
};

std::string prompt_text(const GenerateOptions& options) {
  if (options.prompt != "-") return options.prompt;
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

std::vector<int32_t> prompt_tokens(const GenerateOptions& options, const models::Model& model) {
  const std::string text = prompt_text(options);
  if (options.raw || model.text.chat == nullptr) return model.tokenizer().encode(text).ids;
  Json messages = Json::array();
  if (!options.system.empty())
    messages.push_back({{"role", "system"}, {"content", options.system}});
  messages.push_back({{"role", "user"}, {"content", text}});
  const std::string rendered = model.chat().render(messages, true).text;
  return model.tokenizer().encode(rendered, {.add_special = false, .parse_special = true}).ids;
}

void run(GenerateOptions& options, Context& context) {
  if (options.prompt.empty())
    fail(ErrorCode::kInvalidArgument, "generate", "no prompt was given; add --prompt TEXT");
  const recipes::Workbench bench =
      recipes::open_workbench(options.model, options.adapter, options.dtype,
                              recipes::Purpose::kInference, options.cache_type);
  const train::StopSignal stop;
  const bool is_streamed = !context.globals.json;
  infer::Session session(bench.model);
  const infer::GenerateOptions how{options.max_tokens, options.stop, options.sampling};
  const auto made =
      session.generate(prompt_tokens(options, bench.model), how, [&](std::string_view piece) {
        if (is_streamed) {
          fmt::print("{}", context.out.is_terminal ? printable(piece) : std::string(piece));
          std::fflush(stdout);
        }
        return !train::StopSignal::requested();
      });
  if (is_streamed) {
    fmt::print("\n");
  } else {
    fmt::print("{}\n", Json{{"text", made.text},
                            {"tokens", made.tokens},
                            {"finish_reason", made.finish_reason},
                            {"prompt_tokens", made.prompt_tokens},
                            {"prompt_seconds", made.prompt_seconds},
                            {"decode_seconds", made.decode_seconds}}
                           .dump(2));
  }
  if (made.finish_reason == "interrupted") fail(ErrorCode::kInterrupted, "generate", "stopped");
}

}  // namespace

extern const Verb generate_entry;
const Verb generate_entry = {
    .group = Group::kUse,
    .summary = "answer one prompt",
    .positionals = "model [prompt]",
    .examples =
        "moxie generate model.gguf --prompt 'Name three rivers.'\n"
        "moxie generate model.gguf --adapter my-adapter --prompt 'Lights off'\n"
        "echo 'Once upon a time' | moxie generate model.gguf --prompt - --raw",
    .reads_recipe = true,
    .create = invocation<GenerateOptions, run>};

}  // namespace moxie::cli
