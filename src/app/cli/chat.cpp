// Talk with a model: several turns, streamed.
#include <fmt/format.h>

#include <iostream>

#include "app/cli/chat_session.h"
#include "infer/generate.h"
#include "recipes/workbench.h"
#include "train/stop_signal.h"

namespace moxie::cli {
namespace {

struct ChatOptions {
  std::string model, adapter, system, dtype = "auto", cache_type = "auto";
  int64_t max_tokens = 512;
  infer::SamplerOptions sampling;

  void visit(auto& v) {
    v("model", model, "a GGUF file, a Hugging Face folder, or a pulled name");
    v("adapter", adapter, "PEFT folder to attach");
    v("system", system, "system message");
    v("max_tokens", max_tokens, "longest answer", range(1, 1 << 20));
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

class Speaker final : public ChatModel {
 public:
  explicit Speaker(const ChatOptions& options)
      : options_(options),
        bench_(recipes::open_workbench(options.model, options.adapter, options.dtype,
                                       recipes::Purpose::kInference, options.cache_type)),
        session_(bench_.model) {
    bench_.model.chat();  // says so now when the model has no template
  }

  std::string answer(const Json& messages,
                     const std::function<void(std::string_view)>& on_text) override {
    const std::string text = bench_.model.chat().render(messages, true).text;
    const auto tokens =
        bench_.model.tokenizer().encode(text, {.add_special = false, .parse_special = true}).ids;
    const train::StopSignal stop;
    return session_
        .generate(tokens, {options_.max_tokens, {}, options_.sampling},
                  [&](std::string_view piece) {
                    on_text(piece);
                    return !train::StopSignal::requested();
                  })
        .text;
  }

  void use_adapter(const std::string& folder) override {
    session_.reset();  // what was read with other weights is no longer true
    try {
      attach(folder);
    } catch (const Error&) {
      attach(adapter_);
      throw;
    }
    adapter_ = folder;
  }

 private:
  void attach(const std::string& folder) {
    bench_.adapter.reset();  // the old one leaves its sites before the new one takes them
    if (!folder.empty()) bench_.adapter = adapt::Attachment::load(bench_.model, folder);
  }

  const ChatOptions& options_;
  recipes::Workbench bench_;
  infer::Session session_;
  std::string adapter_ = options_.adapter;  // the folder of the one attached; empty for none
};

void run(ChatOptions& options, Context& context) {
  Speaker speaker(options);
  ChatSession(speaker, options.system, context, std::cin, std::cout, std::cerr).run();
}

}  // namespace

extern const Verb chat_entry;
const Verb chat_entry = {
    .group = Group::kUse,
    .summary = "talk with a model",
    .positionals = "model",
    .examples =
        "moxie chat model.gguf\n"
        "moxie chat model.gguf --adapter my-adapter --system 'Reply with JSON.'\n"
        "moxie chat model.gguf --temperature 0.7 --top-p 0.9",
    .reads_recipe = true,
    .create = invocation<ChatOptions, run>};

}  // namespace moxie::cli
