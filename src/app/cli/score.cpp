// What a model thinks of given tokens: log-probabilities, loss, logits.
#include "infer/score.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "app/cli/verb.h"
#include "base/text_util.h"
#include "data/reader.h"
#include "io/safetensors.h"
#include "recipes/workbench.h"

namespace moxie::cli {
namespace {

struct ScoreOptions {
  std::string model, adapter, text, data, format, logits, dtype = "auto";
  std::vector<std::string> tokens;

  void visit(auto& v) {
    v("model", model, "a GGUF file, a Hugging Face folder, or a pulled name");
    v("adapter", adapter, "PEFT folder to attach");
    v("text", text, "what to score");
    v("tokens", tokens, "token ids to score, such as 1,2,3");
    v("data", data, "a data file: the loss over what training would learn of each example");
    v("format", format, "shape of the data; detected when empty");
    v("logits", logits, "write the logits, f32 [tokens, vocab], to this safetensors file");
    v("dtype", dtype,
      "what products compute in; auto is int8 on quantised weights (prompts in bf16 where there "
      "is AMX) and the CPU's fastest elsewhere; f32 is exact",
      one_of({"auto", "f32", "bf16", "int8", "int16"}));
  }
};

std::vector<int32_t> parse_tokens(const std::vector<std::string>& words, int64_t vocab) {
  std::vector<int32_t> ids;
  for (const auto& word : words) {
    int32_t id = -1;
    const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (status != std::errc() || end != word.data() + word.size() || id < 0 || id >= vocab) {
      fail(ErrorCode::kInvalidArgument, "score",
           "'{}' is not a token id of this model; choose 0 to {}", word, vocab - 1);
    }
    ids.push_back(id);
  }
  return ids;
}

// The first token is predicted by nothing.
Json logprobs_json(const std::vector<double>& logprobs) {
  Json list = Json::array();
  for (size_t i = 0; i < logprobs.size(); ++i) {
    list.push_back(i == 0 ? Json() : Json(logprobs[i]));
  }
  return list;
}

void score_one(const ScoreOptions& options, const recipes::Workbench& bench,
               const std::vector<int32_t>& ids, const Context& context) {
  if (ids.empty()) fail(ErrorCode::kInvalidArgument, "score", "there is no token to score");
  const infer::Scored scored = infer::score_tokens(bench.model, ids);
  if (!options.logits.empty()) {
    io::write_safetensors(options.logits, {{"logits", infer::all_logits(bench.model, ids)}});
  }
  if (context.globals.json) {
    fmt::print("{}\n", Json{{"tokens", ids},
                            {"logprobs", logprobs_json(scored.logprobs)},
                            {"loss", scored.loss},
                            {"perplexity", scored.perplexity}}
                           .dump());
    return;
  }
  if (ids.size() == 1) {
    fmt::print("one token: nothing before it predicts it\n");
    return;
  }
  fmt::print("loss {:.6g}, perplexity {:.6g} over {} predicted tokens\n", scored.loss,
             scored.perplexity, ids.size() - 1);
}

void score_data(const ScoreOptions& options, const recipes::Workbench& bench,
                const Context& context) {
  data::EncodeOptions encoding;
  encoding.max_length = bench.model.decoder->config().max_positions;
  const data::Encoder encoder = recipes::make_encoder(bench.model, encoding);
  data::Reader reader(options.data, {.format = options.format});
  double total = 0;
  int64_t learnt = 0;
  while (const auto record = reader.next()) {
    for (const auto& sample : encoder.encode(*record)) {
      const infer::Scored scored = infer::score_tokens(bench.model, sample.tokens);
      double loss = 0;
      for (size_t i = 1; i < sample.tokens.size(); ++i)
        loss -= sample.is_learnt[i] != 0 ? scored.logprobs[i] : 0;
      const int64_t count = sample.learnt_count();
      total += loss;
      learnt += count;
      if (context.globals.json) {
        fmt::print("{}\n",
                   Json{{"where", record->where},
                        {"tokens", sample.tokens},
                        {"learnt", sample.is_learnt},
                        {"logprobs", logprobs_json(scored.logprobs)},
                        {"loss", count > 0 ? Json(loss / static_cast<double>(count)) : Json()}}
                       .dump());
      } else {
        fmt::print("{:.6g}\t{}\n", loss / static_cast<double>(std::max<int64_t>(1, count)),
                   record->where);
      }
    }
  }
  if (!context.globals.json && learnt > 0) {
    const double mean = total / static_cast<double>(learnt);
    fmt::print(stderr, "loss {:.6g}, perplexity {:.6g} over {} learnt tokens\n", mean,
               std::exp(mean), learnt);
  }
}

void run(ScoreOptions& options, Context& context) {
  const int given = (options.text.empty() ? 0 : 1) + (options.tokens.empty() ? 0 : 1) +
                    (options.data.empty() ? 0 : 1);
  if (given != 1)
    fail(ErrorCode::kInvalidArgument, "score", "give one of --text, --tokens and --data");
  if (!options.data.empty() && !options.logits.empty()) {
    fail(ErrorCode::kInvalidArgument, "score",
         "--logits goes with --text or --tokens, not with --data");
  }
  const recipes::Workbench bench =
      recipes::open_workbench(options.model, options.adapter, options.dtype);
  if (!options.data.empty()) {
    score_data(options, bench, context);
  } else if (!options.tokens.empty()) {
    score_one(options, bench, parse_tokens(options.tokens, bench.model.decoder->config().vocab),
              context);
  } else {
    score_one(options, bench, bench.model.tokenizer().encode(options.text).ids, context);
  }
}

}  // namespace

extern const Verb score_entry;
const Verb score_entry = {
    .group = Group::kUse,
    .summary = "log-probabilities, loss and logits of given text or tokens",
    .positionals = "model",
    .examples =
        "moxie score model.gguf --text 'The sky is blue.'\n"
        "moxie score model.gguf --tokens 1,2,3 --logits out.safetensors --dtype f32\n"
        "moxie score model.gguf --adapter my-adapter --data heldout.jsonl --json",
    .reads_recipe = true,
    .create = invocation<ScoreOptions, run>};

}  // namespace moxie::cli
