#include "recipes/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text_util.h"
#include "data/dataset.h"
#include "data/preview.h"
#include "data/reader.h"
#include "infer/generate.h"
#include "models/save_hf.h"
#include "recipes/config.h"
#include "recipes/ram.h"
#include "recipes/report.h"
#include "recipes/runs.h"
#include "recipes/tune_plan.h"
#include "recipes/workbench.h"
#include "train/causal_lm.h"
#include "train/dataset_source.h"
#include "train/stop_signal.h"
#include "train/trainer.h"

namespace moxie::recipes {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFull = "full";

void check_options(const TuneOptions& options) {
  const auto need = [](const std::string& value, const char* what) {
    if (value.empty()) fail(ErrorCode::kInvalidArgument, "tune", "{} is missing", what);
  };
  need(options.model, "the model (a GGUF file, a folder or a pulled name)");
  if (options.data.empty())
    fail(ErrorCode::kInvalidArgument, "tune", "no data was given; add --data FILE");
  if (!options.dry_run) need(options.out, "--out DIR (where the result goes)");
  if (!options.eval.empty() && options.eval_split > 0) {
    fail(ErrorCode::kInvalidArgument, "tune",
         "--eval and --eval-split were both given; choose one");
  }
  if (options.method == kFull && !options.init_adapter.empty()) {
    fail(ErrorCode::kInvalidArgument, "tune",
         "--init-adapter needs an adapter method; merge it first, or drop --method full");
  }
}

// Everything a run holds, set up once for a dry run and for a real one.
struct Bench {
  models::Model model;
  std::unique_ptr<adapt::Attachment> adapter;
  nn::ParamList params;
  data::Dataset data, held_out;
  bool has_held_out = false;
};

// An adapter that was there brings its method's settings along; the run's are made to say them.
void go_on_with(const adapt::Attachment& adapter, TuneOptions& options) {
  options.method = adapter.method_name();
  adapt::Method& method = *options.methods.at(options.method);
  method.from_peft_config(adapter.method().to_peft_config(), options.init_adapter);
  std::string settings;
  for (const Option& option : method.options())
    settings += fmt::format("{}{} {}", settings.empty() ? "" : ", ", option.name,
                            option_value(option).dump());
  spdlog::info("[tune] '{}' keeps its modules and its settings: {}", options.init_adapter,
               settings);
}

Bench set_up(TuneOptions& options) {
  Bench bench;
  Workbench opened = open_workbench(options.model, "", options.dtype, Purpose::kTraining);
  bench.model = std::move(opened.model);
  data::EncodeOptions encoding;
  encoding.max_length = options.max_length;
  encoding.loss_on = options.loss_on;
  const int64_t context = bench.model.decoder->config().max_positions;
  if (encoding.max_length == 0 || encoding.max_length > context) encoding.max_length = context;
  const data::Encoder encoder = make_encoder(bench.model, encoding);
  if (const std::string warning = encoder.template_warning(); !warning.empty())
    spdlog::warn("{}", warning);
  const data::ReadOptions reading{options.format, options.skip_bad};
  std::vector<data::DataFile> files;
  for (const std::string& text : options.data) files.push_back(data::parse_data_file(text));
  bench.data = data::Dataset::load(files, encoder, reading);
  if (!options.eval.empty()) {
    bench.held_out = data::Dataset::load({{options.eval, 1.0}}, encoder, reading);
  } else if (options.eval_split > 0) {
    bench.held_out =
        bench.data.split_off(options.eval_split, static_cast<uint64_t>(options.train.seed));
  }
  bench.has_held_out = bench.held_out.size() > 0;
  if (options.method == kFull) {
    bench.model.decoder->make_trainable();
    bench.params = bench.model.decoder->params();
  } else {
    const auto seed = static_cast<uint64_t>(options.train.seed);
    const adapt::TargetOptions targets{options.targets, options.exclude, options.layers};
    if (options.init_adapter.empty()) {
      bench.adapter =
          adapt::Attachment::create(bench.model, options.method,
                                    std::move(options.methods.at(options.method)), targets, seed);
    } else {
      bench.adapter = adapt::Attachment::load(bench.model, options.init_adapter);
      go_on_with(*bench.adapter, options);
    }
    bench.params = bench.adapter->params();
  }
  return bench;
}

Json statistics_json(const Bench& bench) {
  Json json = {{"train", data::to_json(bench.data.total())}};
  if (bench.has_held_out) json["eval"] = data::to_json(bench.held_out.total());
  return json;
}

// Lengths of the samples that could meet in the longest batch, longest first.
std::vector<int64_t> longest_batch(const TuneOptions& options, const Bench& bench) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < bench.data.size(); ++i)
    lengths.push_back(static_cast<int64_t>(bench.data[i].tokens.size()));
  std::sort(lengths.rbegin(), lengths.rend());
  lengths.resize(std::min(lengths.size(), static_cast<size_t>(options.train.batch_size)));
  return lengths;
}

MemoryPlan memory_of(const TuneOptions& options, Bench& bench, const std::vector<int64_t>& batch,
                     const RamChoice& choice) {
  const int64_t tokens = std::accumulate(batch.begin(), batch.end(), int64_t{0});
  const int64_t longest = batch.empty() ? 0 : batch.front();
  MemoryInputs inputs;
  inputs.micro_tokens = std::max(longest, std::min(choice.micro_tokens, tokens));
  inputs.learnt_share = inputs.micro_tokens;
  inputs.recomputes = choice.recomputes;
  inputs.trains_base = options.method == kFull;
  return plan_memory(*bench.model.decoder, bench.params, inputs);
}

RamChoice chosen(const TuneOptions& options) {
  return {options.train.micro_tokens, options.recompute};
}

// What could be set otherwise so that the run fits.
std::vector<RamSetting> ram_settings(const TuneOptions& options, Bench& bench,
                                     const std::vector<int64_t>& batch) {
  const auto least_plan = [&options, &bench, batch](int64_t length) {  // of samples of at most that
    std::vector<int64_t> cut = batch;
    for (int64_t& tokens : cut) tokens = std::min(tokens, length);
    return memory_of(options, bench, cut, {1, true});
  };
  const int64_t longest = batch.empty() ? 0 : batch.front();
  const MemoryPlan now = least_plan(longest);
  const auto with_training = [now](double share) {
    const auto kept = static_cast<uint64_t>(static_cast<double>(now.training) * share);
    return now.total() - now.training + kept;
  };
  std::vector<RamSetting> settings = {
      {"--max-length {}", longest, 16,
       [least_plan](int64_t length) { return least_plan(length).total(); }}};
  if (options.method == kFull) {
    constexpr double kLoraShare = 0.05;  // of what full tuning trains; 0.036 at rank 16 on SmolLM2
    settings.push_back({"--method lora", 2, 1, [=](int64_t) { return with_training(kLoraShare); }});
  } else {
    const auto rank = bench.adapter->method().to_peft_config().value("r", int64_t{1});
    settings.push_back({"--rank {}", rank, 1, [=](int64_t less) {
                          return with_training(static_cast<double>(less) /
                                               static_cast<double>(rank));
                        }});
  }
  return settings;
}

// The contract of --ram: micro_tokens and recompute become what keeps it.
void keep_to_ram(TuneOptions& options, Bench& bench) {
  if (options.ram.empty()) return;
  const std::vector<int64_t> batch = longest_batch(options, bench);
  const int64_t longest = batch.empty() ? 0 : batch.front();
  const RamChoice choice = fit_ram(
      parse_ram(options.ram), chosen(options), longest,
      [&](const RamChoice& one) { return memory_of(options, bench, batch, one).total(); },
      [&] { return ram_settings(options, bench, batch); });
  options.train.micro_tokens = choice.micro_tokens;
  options.recompute = choice.recomputes;
}

// Seconds a token takes, forward and backward, measured on samples of up to `limit` tokens.
double measured_seconds_a_token(Bench& bench, bool recomputes, int64_t limit) {
  std::vector<const data::Sample*> samples;
  int64_t tokens = 0;
  for (int64_t i = 0; i < bench.data.size() && tokens < limit; ++i) {
    samples.push_back(&bench.data[i]);
    tokens += static_cast<int64_t>(bench.data[i].tokens.size());
  }
  train::CausalLm objective(*bench.model.decoder, bench.params, recomputes);
  objective.forward_backward(samples, 1, 0,
                             true);  // the first touches the file's pages and warms caches
  const Stopwatch clock;
  objective.forward_backward(samples, 1, 0, true);
  const double seconds = clock.seconds();
  nn::zero_gradients(bench.params);
  return seconds / static_cast<double>(std::max<int64_t>(1, tokens));
}

Json dry_run(const TuneOptions& options, Bench& bench) {
  Json json = {{"dry_run", true},
               {"method", options.method},
               {"data", statistics_json(bench)},
               {"trainable_parameters", nn::count_elements(bench.params)}};
  Json sites = Json::array();
  for (const auto& [site, count] : elements_by_site(bench.params))
    sites.push_back({{"site", site}, {"parameters", count}});
  json["sites"] = sites;
  json["memory"] =
      to_json(memory_of(options, bench, longest_batch(options, bench), chosen(options)));
  Json samples = Json::array();
  const auto& tokenizer = bench.model.tokenizer();
  for (int64_t i = 0; i < std::min<int64_t>(2, bench.data.size()); ++i) {
    const data::Sample& sample = bench.data[i];
    const auto decode = [&](const std::vector<int32_t>& ids) {
      return tokenizer.decode(ids, false);
    };
    samples.push_back({{"tokens", sample.tokens},
                       {"learnt", sample.is_learnt},
                       {"plain", data::preview(sample, decode, false)},
                       {"coloured", data::preview(sample, decode, true)}});
  }
  json["samples"] = samples;
  json["micro_tokens"] = options.train.micro_tokens;
  json["recompute"] = options.recompute;
  const double epochs = options.train.steps > 0
                            ? static_cast<double>(options.train.steps * options.train.batch_size *
                                                  options.train.accumulate) /
                                  static_cast<double>(std::max<int64_t>(1, bench.data.size()))
                            : options.train.epochs;
  const double tokens = epochs * static_cast<double>(bench.data.total().tokens);
  json["tokens"] = static_cast<int64_t>(tokens);
  json["predicted_seconds"] = tokens * measured_seconds_a_token(bench, options.recompute, 256);
  return json;
}

struct SampleAnswers {
  std::vector<data::Prompt> prompts;
  std::vector<std::string> before;
};

std::vector<std::string> answer_all(const models::Model& model,
                                    const std::vector<data::Prompt>& prompts) {
  if (prompts.empty()) return {};
  std::vector<std::vector<int32_t>> tokens;
  for (const data::Prompt& prompt : prompts) tokens.push_back(prompt.tokens);
  infer::GenerateOptions options;
  options.max_tokens = 64;
  options.settles = false;  // the plan counts weights as pages of their file
  std::vector<std::string> answers;
  for (auto& generation : infer::generate_batch(model, tokens, options, 8))
    answers.push_back(std::move(generation.text));
  return answers;
}

// What people would call the question: the last thing the user says.
std::string question_of(const data::Record& record) {
  std::string question = record.prompt;
  for (const Json& message : record.messages) {
    if (message.value("role", "") == "user") question = message.value("content", "");
  }
  return question;
}

SampleAnswers answers_before(const TuneOptions& options, const Bench& bench) {
  SampleAnswers samples;
  if (options.samples == 0) return samples;
  const data::Encoder encoder = make_encoder(bench.model, {});
  const std::string path = options.eval.empty()
                               ? data::parse_data_file(options.data.front()).path.string()
                               : options.eval;
  data::Reader reader(path, {options.format, options.skip_bad});
  while (static_cast<int64_t>(samples.prompts.size()) < options.samples) {
    auto record = reader.next();
    if (!record) break;
    if (record->kind == data::Record::Kind::kText) break;  // plain text has no question to answer
    samples.prompts.push_back(encoder.prompt(*record));
    samples.prompts.back().text = question_of(*record);
  }
  samples.before = answer_all(bench.model, samples.prompts);
  return samples;
}

// Facts of the run besides the loop's own: what must be equal to resume.
train::Facts facts_of(const TuneOptions& options, const Bench& bench) {
  train::Facts facts = {{"model", bench.model.path.string()},
                        {"method", options.method},
                        {"dtype", options.dtype},
                        {"trainable parameters", std::to_string(nn::count_elements(bench.params))}};
  if (bench.adapter) {
    Json config = bench.adapter->method().to_peft_config();
    facts["adapter"] = config.dump();
  }
  return facts;
}

void save_result(const Bench& bench, const fs::path& out) {
  if (bench.adapter) {
    bench.adapter->save(out);
  } else {
    models::save_hf(bench.model, out);
  }
}

int64_t elements_of(nn::Decoder& decoder) {
  int64_t count = 0;
  for (const nn::Matrix* matrix : decoder.matrices()) count += matrix->rows() * matrix->cols();
  for (const nn::Param* vector : decoder.vectors()) count += vector->value.count();
  return count;
}

void write_report(const TuneOptions& options, const Bench& bench, const SampleAnswers& samples,
                  const train::TrainResult& result, const std::string& started,
                  const Json& config) {
  Report report;
  report.model = bench.model.path.filename().string();
  report.method = options.method;
  report.out = options.out;
  report.status = std::string(train::to_string(result.outcome));
  report.started = started;
  report.finished = utc_timestamp();
  report.seconds = result.seconds;
  report.total_parameters = elements_of(*bench.model.decoder);
  report.steps = read_step_metrics((fs::path(options.out) / "metrics.jsonl").string());
  report.evals = read_eval_metrics((fs::path(options.out) / "eval.jsonl").string());
  for (const auto& [site, count] : elements_by_site(bench.params))
    report.sites.push_back({site, count});
  const auto after = answer_all(bench.model, samples.prompts);
  for (size_t i = 0; i < samples.prompts.size(); ++i) {
    report.samples.push_back(
        {samples.prompts[i].text, samples.prompts[i].answer, samples.before[i], after[i]});
  }
  report.config = config;
  write_file_atomically(fs::path(options.out) / "report.html", report_html(report));
}

Json summary_of(const TuneOptions& options, const Bench& bench, const train::TrainResult& result) {
  Json json = {{"outcome", train::to_string(result.outcome)},
               {"out", options.out},
               {"steps", result.step},
               {"total_steps", result.total_steps},
               {"tokens", result.tokens_seen},
               {"seconds", result.seconds},
               {"trainable_parameters", nn::count_elements(bench.params)},
               {"peak_rss_mib", static_cast<double>(peak_rss_bytes()) / (1 << 20)},
               {"data", statistics_json(bench)}};
  if (result.last_loss) json["loss"] = *result.last_loss;
  if (result.best_loss) json["best_eval_loss"] = *result.best_loss;
  if (result.best_step) json["best_step"] = *result.best_step;
  return json;
}

}  // namespace

TuneOptions::TuneOptions() {
  for (const auto& row : adapt::methods()) methods[std::string(row.name)] = row->create();
  for (const auto& row : optim::optimizers()) optimizers[std::string(row.name)] = row->create();
}

std::vector<std::string> TuneOptions::method_names() {
  auto names = names_of(adapt::methods());
  names.emplace_back(kFull);
  return names;
}

TuneResult tune(TuneOptions& options, train::Callback* callback) {
  check_options(options);
  const auto listed = list_options(options);
  Bench bench = set_up(options);
  keep_to_ram(options, bench);
  const std::string yaml = config_to_yaml("tune", listed);
  const Json config = options_to_json(listed);
  TuneResult result;
  if (options.dry_run) {
    result.summary = dry_run(options, bench);
    return result;
  }
  const std::string started = utc_timestamp();
  fs::create_directories(options.out);
  RunRecord record;
  record.verb = "tune";
  record.model = options.model;
  record.method = options.method;
  record.out = options.out;
  record.config = config;
  RunRecorder recorder(record);
  const SampleAnswers samples = answers_before(options, bench);

  const train::StopSignal signals;
  train::CausalLm objective(*bench.model.decoder, bench.params, options.recompute);
  const auto seed = static_cast<uint64_t>(options.train.seed);
  const train::DatasetSource source(bench.data, seed, !options.no_shuffle);
  const train::DatasetSource held_out(bench.held_out, 0, false);
  train::TrainSetup setup;
  setup.objective = &objective;
  setup.data = &source;
  setup.held_out = bench.has_held_out ? &held_out : nullptr;
  setup.optimizer = std::move(options.optimizers.at(options.train.optimizer));
  setup.folder = options.out;
  setup.facts = facts_of(options, bench);
  if (callback != nullptr) setup.callbacks = {callback};
  setup.stop_requested = train::StopSignal::requested;
  train::Trainer trainer(options.train, std::move(setup));
  // A run that goes on keeps the description it began with.
  if (trainer.checkpoints().list().empty())
    write_file_atomically(fs::path(options.out) / "config.yaml", yaml);
  result.training = trainer.run(options.resume);
  if (result.training.outcome != train::Outcome::kInterrupted) {
    if (result.training.best_step && *result.training.best_step != result.training.step)
      trainer.restore_best();
    save_result(bench, options.out);
    write_report(options, bench, samples, result.training, started, config);
  }
  result.summary = summary_of(options, bench, result.training);
  recorder.finish(result.training.outcome == train::Outcome::kInterrupted ? "interrupted" : "done",
                  result.summary);
  return result;
}

std::string dry_run_text(const Json& summary, bool in_colour) {
  std::string text;
  for (const Json& sample : summary.at("samples"))
    text += sample.at(in_colour ? "coloured" : "plain").get<std::string>() + "\n\n";
  const Json& data = summary.at("data").at("train");
  text += fmt::format("data                 {} examples, {} tokens, {} learnt\n",
                      data.at("examples").get<int64_t>(), data.at("tokens").get<int64_t>(),
                      data.at("learnt_tokens").get<int64_t>());
  text +=
      fmt::format("trainable parameters {} at {} sites\n",
                  summary.at("trainable_parameters").get<int64_t>(), summary.at("sites").size());
  const Json& memory = summary.at("memory");
  text += fmt::format("peak memory          {} (weights {}, training {}, activations {})\n",
                      human_bytes(memory.at("total_bytes").get<uint64_t>()),
                      human_bytes(memory.at("weights_bytes").get<uint64_t>()),
                      human_bytes(memory.at("training_bytes").get<uint64_t>()),
                      human_bytes(memory.at("activation_bytes").get<uint64_t>()));
  text += fmt::format("time                 {} for {} tokens\n",
                      human_duration(summary.at("predicted_seconds").get<double>()),
                      summary.at("tokens").get<int64_t>());
  return text;
}

}  // namespace moxie::recipes
