#include "recipes/evaluate.h"

#include <cmath>
#include <sstream>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "data/reader.h"
#include "infer/generate.h"
#include "recipes/workbench.h"
#include "train/causal_lm.h"

namespace moxie::recipes {
namespace {

std::string trimmed(const std::string& text) {
  const char* white = " \t\r\n";
  const size_t begin = text.find_first_not_of(white);
  return begin == std::string::npos ? ""
                                    : text.substr(begin, text.find_last_not_of(white) - begin + 1);
}

std::vector<data::Record> read_records(const EvalOptions& options) {
  if (options.data.empty())
    fail(ErrorCode::kInvalidArgument, "eval", "no data was given; add --data FILE");
  data::Reader reader(options.data, {options.format, false});
  std::vector<data::Record> records;
  while (auto record = reader.next()) {
    records.push_back(std::move(*record));
    if (options.limit > 0 && static_cast<int64_t>(records.size()) == options.limit) break;
  }
  return records;
}

void write_predictions(const std::string& path, const std::vector<Prediction>& predictions) {
  std::ostringstream lines;
  for (const Prediction& p : predictions) {
    lines << Json({{"prompt", p.prompt},
                   {"expected", p.expected},
                   {"answer", p.answer},
                   {"match", p.is_match}})
                 .dump()
          << '\n';
  }
  write_file_atomically(path, lines.str());
}

void measure_matches(const EvalOptions& options, Workbench& bench,
                     const std::vector<data::Record>& records,
                     const std::function<bool(int64_t, int64_t)>& progress, EvalResult& result) {
  const data::Encoder encoder = make_encoder(bench.model, {});
  std::vector<std::vector<int32_t>> prompts;
  for (const auto& record : records) {
    data::Prompt prompt = encoder.prompt(record);
    prompts.push_back(prompt.tokens);
    result.predictions.push_back({prompt.text, trimmed(prompt.answer), "", false});
  }
  infer::GenerateOptions generation;
  generation.max_tokens = options.max_tokens;
  const auto answers = infer::generate_batch(
      bench.model, prompts, generation, options.batch_size, [&](int64_t done) {
        return !progress || progress(done, static_cast<int64_t>(prompts.size()));
      });
  for (size_t i = 0; i < answers.size(); ++i) {
    Prediction& p = result.predictions[i];
    p.answer = trimmed(answers[i].text);
    p.is_match = p.answer == p.expected;
    result.matches += p.is_match ? 1 : 0;
    result.tokens += static_cast<int64_t>(answers[i].tokens.size());
  }
  result.value = static_cast<double>(result.matches) /
                 static_cast<double>(std::max<int64_t>(1, result.examples));
  if (!options.predictions.empty()) write_predictions(options.predictions, result.predictions);
}

void measure_loss(const EvalOptions& options, Workbench& bench,
                  const std::vector<data::Record>& records,
                  const std::function<bool(int64_t, int64_t)>& progress, EvalResult& result) {
  data::EncodeOptions encoding;
  encoding.max_length =
      options.max_length > 0 ? options.max_length : bench.model.decoder->config().max_positions;
  const data::Encoder encoder = make_encoder(bench.model, encoding);
  train::CausalLm objective(*bench.model.decoder, {});
  double loss = 0;
  int64_t done = 0;
  for (const auto& record : records) {
    for (const data::Sample& sample : encoder.encode(record)) {
      const train::LossSum sum = objective.forward_backward({&sample}, 1, 0, false);
      loss += sum.loss;
      result.tokens += sum.tokens;
    }
    if (progress && !progress(++done, result.examples))
      fail(ErrorCode::kInterrupted, "eval", "stopped after {} examples", done);
  }
  if (result.tokens == 0)
    fail(ErrorCode::kInvalidArgument, "eval", "'{}' has no token to measure", options.data);
  result.value = loss / static_cast<double>(result.tokens);
  if (options.metric == "perplexity") result.value = std::exp(result.value);
}

}  // namespace

Json to_json(const EvalResult& result) {
  Json json = {{"metric", result.metric},
               {result.metric, result.value},
               {"examples", result.examples},
               {"tokens", result.tokens},
               {"seconds", result.seconds}};
  if (result.metric == "exact_match") json["matches"] = result.matches;
  return json;
}

EvalResult evaluate(const EvalOptions& options,
                    const std::function<bool(int64_t, int64_t)>& progress) {
  const auto records = read_records(options);
  Workbench bench = open_workbench(options.model, options.adapter, options.dtype);
  EvalResult result;
  result.metric = options.metric;
  result.examples = static_cast<int64_t>(records.size());
  const Stopwatch clock;
  if (options.metric == "exact_match") {
    measure_matches(options, bench, records, progress, result);
  } else {
    measure_loss(options, bench, records, progress, result);
  }
  result.seconds = clock.seconds();
  return result;
}

}  // namespace moxie::recipes
