#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "optim/clip.h"
#include "train/evaluate.h"

namespace moxie::train {
namespace {

constexpr uint64_t kDropoutStream = 0x64726F70;  // "drop"

double peak_rss_mib() {
  return std::round(static_cast<double>(peak_rss_bytes()) / 1048576.0 * 10.0) / 10.0;
}

const TrainSetup& checked(const TrainSetup& setup) {
  MOXIE_ASSERT(setup.objective != nullptr && setup.data != nullptr && setup.optimizer != nullptr);
  std::error_code why;
  std::filesystem::create_directories(setup.folder, why);
  if (why) {
    fail(ErrorCode::kIo, "train", "cannot create the folder '{}': {}; choose another (--out)",
         setup.folder.string(), why.message());
  }
  return setup;
}

const float* find_not_finite(const nn::ParamList& params) {
  for (const nn::Param* param : params) {
    for (const float& x : param->value.span<float>()) {
      if (!std::isfinite(x)) return &x;
    }
  }
  return nullptr;
}

}  // namespace

Trainer::Trainer(TrainOptions options, TrainSetup setup)
    : options_(std::move(options)),
      setup_(std::move(setup)),
      plan_(*checked(setup_).data, *setup_.objective, options_),
      schedule_(options_.schedule, options_.lr, plan_.total_steps(), options_.warmup,
                options_.decay),
      store_(setup_.folder / "checkpoints", static_cast<int>(options_.keep)) {
  if (options_.patience > 0 && setup_.held_out == nullptr) {
    fail(ErrorCode::kInvalidArgument, "train",
         "patience {} needs held-out data to judge by; give some (--eval), or set patience 0",
         options_.patience);
  }
  setup_.optimizer->attach(setup_.objective->params());
  // A param that a step does not touch has a zero gradient, not none: the same after a resume as
  // before.
  for (nn::Param* param : setup_.optimizer->params()) {
    param->gradient = Tensor::zeros(param->value.shape(), DType::kF32);
    param->is_blank = false;
  }
  facts_ = all_facts();
}

Facts Trainer::all_facts() const {
  Facts facts = setup_.facts;
  facts["data"] = setup_.data->fingerprint();
  if (setup_.held_out != nullptr) facts["held-out data"] = setup_.held_out->fingerprint();
  facts["optimizer"] = options_.optimizer;
  for (const Option& option : setup_.optimizer->options()) {
    facts["optimizer's " + option.name] = option_value(option).dump();
  }
  facts["learning rate"] = fmt::format("{}", options_.lr);
  facts["schedule"] = options_.schedule;
  facts["warm-up steps"] = fmt::format("{}", schedule_.phases().warmup);
  facts["decay steps"] = fmt::format("{}", schedule_.phases().decay);
  facts["total steps"] = fmt::format("{}", plan_.total_steps());
  facts["batch size"] = fmt::format("{}", options_.batch_size);
  facts["accumulated batches"] = fmt::format("{}", options_.accumulate);
  facts["tokens at once (micro_tokens)"] = fmt::format("{}", options_.micro_tokens);
  facts["gradient clip"] = fmt::format("{}", options_.clip);
  facts["seed"] = fmt::format("{}", options_.seed);
  return facts;
}

TrainResult Trainer::run(bool resume) {
  clock_ = Stopwatch();
  if (!resume || !resume_newest()) start_afresh();
  if (plan_.empty_samples() > 0) {
    log(fmt::format("{} of {} samples have nothing to learn and are skipped", plan_.empty_samples(),
                    setup_.data->size()));
  }
  while (true) {
    if (is_eval_due() && !evaluate()) return leave(Outcome::kInterrupted);
    if (is_done()) break;
    if (is_save_due()) save();
    if (is_stop_requested() || !run_step()) return leave(Outcome::kInterrupted);
  }
  return leave(state_.has_stopped_early ? Outcome::kStoppedEarly : Outcome::kFinished);
}

void Trainer::start_afresh() {
  if (const auto found = store_.list(); !found.empty()) {
    fail(ErrorCode::kInvalidArgument, "train",
         "'{}' already holds a run, saved at step {}; go on with it (--resume), or choose another "
         "folder (--out)",
         setup_.folder.string(), found.back().step);
  }
  state_ = RunState();
  state_.rng = Rng(static_cast<uint64_t>(options_.seed), kDropoutStream);
  metrics_ = std::make_unique<JsonLines>(setup_.folder / "metrics.jsonl", 0);
  evals_ = std::make_unique<JsonLines>(setup_.folder / "eval.jsonl", 0);
}

bool Trainer::resume_newest() {
  const auto found = store_.newest();
  if (!found) {
    log(fmt::format("no checkpoint in '{}' yet: starting afresh", setup_.folder.string()));
    return false;
  }
  state_ = load_run(found->path, facts_, *setup_.optimizer);
  const std::string digest = plan_.order_digest(plan_.epoch_of(state_.step));
  if (digest != state_.order_digest) {
    fail(ErrorCode::kInvalidArgument, "resume",
         "the order of epoch {} has digest {} now and had {} when '{}' was saved; give the same "
         "seed and shuffling to go on",
         plan_.epoch_of(state_.step), digest, state_.order_digest, found->path.string());
  }
  saved_step_ = state_.step;
  if (state_.best_step && store_.best() != state_.best_step) mark_best_again(*state_.best_step);
  metrics_ = std::make_unique<JsonLines>(setup_.folder / "metrics.jsonl", state_.step);
  // An evaluation cut short by a stop was saved as not done: its line must not be there twice.
  evals_ = std::make_unique<JsonLines>(setup_.folder / "eval.jsonl", state_.last_eval_step);
  log(fmt::format("resumed from step {}{}", state_.step,
                  state_.accumulation.micro_batches > 0 ? ", in the middle of the next" : ""));
  return true;
}

// A crash may have come between saving the best state and pointing at it.
void Trainer::mark_best_again(int64_t step) {
  for (const io::CheckpointRef& ref : store_.list()) {
    if (ref.step == step) store_.mark_best(step);
  }
}

bool Trainer::is_done() const {
  return state_.has_stopped_early || state_.step >= plan_.total_steps();
}

bool Trainer::is_eval_due() const {
  if (setup_.held_out == nullptr || state_.step == 0 || state_.last_eval_step == state_.step ||
      state_.accumulation.micro_batches > 0) {
    return false;
  }
  if (state_.step >= plan_.total_steps()) return true;
  return options_.eval_every > 0 ? state_.step % options_.eval_every == 0
                                 : plan_.ends_epoch(state_.step);
}

bool Trainer::is_save_due() const {
  if (state_.step == 0 || saved_step_ == state_.step) return false;
  return options_.save_every > 0 ? state_.step % options_.save_every == 0
                                 : plan_.ends_epoch(state_.step);
}

bool Trainer::run_step() {
  const Stopwatch watch;
  const StepBatch batch = plan_.batch(state_.step);
  if (state_.accumulation.micro_batches == 0) nn::zero_gradients(setup_.optimizer->params());
  if (!run_micro_batches(batch)) return false;
  finish_step(batch, watch.seconds());
  return true;
}

bool Trainer::run_micro_batches(const StepBatch& batch) {
  Accumulation& done = state_.accumulation;
  const double weight = 1.0 / static_cast<double>(std::max<int64_t>(1, batch.learnt_tokens));
  const auto count = static_cast<int64_t>(batch.micro_batches.size());
  while (done.micro_batches < count) {
    if (is_stop_requested()) return false;
    const MicroBatch& micro = batch.micro_batches[static_cast<size_t>(done.micro_batches)];
    Rng rng = state_.rng;
    const LossSum part = setup_.objective->forward_backward(micro, weight, rng.next(), true);
    nn::settle_gradients(setup_.optimizer->params());
    if (!std::isfinite(part.loss)) stop_diverged(state_.step + 1, "loss", part.loss);
    state_.rng = rng;
    for (const data::Sample* sample : micro) {
      done.tokens += static_cast<int64_t>(sample->tokens.size());
    }
    done.loss += part.loss;
    ++done.micro_batches;
  }
  return true;
}

void Trainer::finish_step(const StepBatch& batch, double seconds) {
  StepMetrics metrics;
  metrics.learning_rate = schedule_.learning_rate(state_.step);
  metrics.tokens = state_.accumulation.tokens;
  metrics.learnt_tokens = batch.learnt_tokens;
  // A step whose samples have nothing to learn moves nothing, not even along the momentum.
  if (batch.learnt_tokens > 0) {
    const Stopwatch watch;
    metrics.loss = state_.accumulation.loss / static_cast<double>(batch.learnt_tokens);
    metrics.grad_norm = optim::gradient_norm(setup_.optimizer->params());
    if (!std::isfinite(metrics.grad_norm)) {
      stop_diverged(state_.step + 1, "gradient's norm", metrics.grad_norm);
    }
    setup_.optimizer->step(metrics.learning_rate,
                           optim::clip_factor(metrics.grad_norm, options_.clip));
    seconds += watch.seconds();
  }
  ++state_.step;
  state_.accumulation = {};
  state_.tokens_seen += metrics.tokens;
  state_.last_loss = metrics.loss;
  metrics.step = state_.step;
  metrics.epoch = static_cast<double>(state_.step) / static_cast<double>(plan_.steps_per_epoch());
  metrics.tokens_seen = state_.tokens_seen;
  metrics.seconds = seconds;
  metrics.tokens_per_second = static_cast<double>(metrics.tokens) / std::max(seconds, 1e-9);
  metrics.peak_rss_mib = peak_rss_mib();
  report_step(metrics);
}

void Trainer::report_step(const StepMetrics& metrics) {
  eta_.add_step(metrics.tokens, metrics.seconds);
  metrics_->append(to_json(metrics));
  const double left = eta_.seconds_left(tokens_left(), evaluations_left());
  for (Callback* callback : setup_.callbacks) {
    callback->on_step(metrics, plan_.total_steps(), left);
  }
}

double Trainer::tokens_left() const {
  return static_cast<double>(plan_.epoch_tokens()) / static_cast<double>(plan_.steps_per_epoch()) *
         static_cast<double>(plan_.total_steps() - state_.step);
}

int64_t Trainer::evaluations_left() const {
  if (setup_.held_out == nullptr) return 0;
  const int64_t every = options_.eval_every > 0 ? options_.eval_every : plan_.steps_per_epoch();
  const int64_t done = state_.step / every;
  return (plan_.total_steps() + every - 1) / every - done;
}

bool Trainer::evaluate() {
  const Stopwatch watch;
  const auto sum = evaluate_loss(*setup_.objective, *setup_.held_out, options_.micro_tokens,
                                 setup_.stop_requested);
  if (!sum) return false;
  EvalMetrics metrics;
  metrics.step = state_.step;
  metrics.epoch = static_cast<double>(state_.step) / static_cast<double>(plan_.steps_per_epoch());
  metrics.loss = sum->loss / static_cast<double>(sum->tokens);
  if (!std::isfinite(metrics.loss)) {
    stop_diverged(state_.step, "loss on the held-out data", metrics.loss);
  }
  metrics.perplexity = std::exp(metrics.loss);
  metrics.learnt_tokens = sum->tokens;
  metrics.is_best = !state_.best_loss || metrics.loss < *state_.best_loss - options_.min_delta;
  metrics.seconds = watch.seconds();
  state_.last_eval_step = state_.step;
  if (metrics.is_best) {
    state_.best_loss = metrics.loss;
    state_.best_step = state_.step;
    state_.evals_without_gain = 0;
  } else {
    ++state_.evals_without_gain;
  }
  state_.has_stopped_early =
      options_.patience > 0 && state_.evals_without_gain >= options_.patience;
  eta_.add_evaluation(metrics.seconds);
  evals_->append(to_json(metrics));
  for (Callback* callback : setup_.callbacks) callback->on_eval(metrics);
  if (metrics.is_best) {
    save();
    store_.mark_best(state_.step);
  }
  return true;
}

void Trainer::save() {
  const nn::ParamList& params = setup_.optimizer->params();
  if (const float* bad = find_not_finite(params))
    stop_diverged(state_.step, "value of a parameter", *bad);
  state_.epoch = plan_.epoch_of(state_.step);
  state_.batch_cursor = plan_.cursor_of(state_.step);
  state_.order_digest = plan_.order_digest(state_.epoch);
  metrics_->sync();
  evals_->sync();
  store_.save(state_.step, [&](const std::filesystem::path& folder) {
    save_run(folder, state_, facts_, schedule_.phases(), *setup_.optimizer);
  });
  saved_step_ = state_.step;
  for (const io::CheckpointRef& ref : store_.list()) {
    if (ref.step != state_.step) continue;
    for (Callback* callback : setup_.callbacks) callback->on_checkpoint(ref.step, ref.path);
  }
}

TrainResult Trainer::leave(Outcome outcome) {
  // A step boundary that is already saved is enough: what was accumulated since comes out the same.
  if (saved_step_ != state_.step && (state_.step > 0 || state_.accumulation.micro_batches > 0)) {
    save();
  }
  TrainResult result;
  result.outcome = outcome;
  result.step = state_.step;
  result.total_steps = plan_.total_steps();
  result.tokens_seen = state_.tokens_seen;
  result.seconds = clock_.seconds();
  result.last_loss = state_.last_loss;
  result.best_step = state_.best_step;
  result.best_loss = state_.best_loss;
  for (Callback* callback : setup_.callbacks) callback->on_end(result);
  return result;
}

void Trainer::stop_diverged(int64_t step, std::string_view what, double value) {
  if (store_.list().empty() && find_not_finite(setup_.optimizer->params()) == nullptr) {
    // Back to the start of this step, whose micro-batches made one draw each.
    const auto drawn = static_cast<uint64_t>(state_.accumulation.micro_batches);
    state_.rng = Rng(state_.rng.seed(), state_.rng.stream(), state_.rng.index() - drawn);
    state_.accumulation = {};
    save();
  }
  const auto kept = store_.list();
  const std::string safe = kept.empty() ? "no checkpoint was saved before it"
                                        : fmt::format("the checkpoint of step {} is kept in '{}'",
                                                      kept.back().step, kept.back().path.string());
  fail(ErrorCode::kInvalidArgument, "train",
       "step {}: the {} is {} at a learning rate of {:.6g} (highest: {:.6g}); no update was made "
       "with it, "
       "and {}; try a lower one (--lr {:.2g}) or a longer warm-up",
       step, what, std::isnan(value) ? "not a number" : "infinite",
       schedule_.learning_rate(step - 1), options_.lr, safe, options_.lr / 10);
}

std::optional<int64_t> Trainer::restore_best() {
  const auto best = store_.best();
  if (!best) return std::nullopt;
  load_params(store_.require(*best).path, setup_.optimizer->params());
  return best;
}

void Trainer::log(const std::string& message) {
  for (Callback* callback : setup_.callbacks) callback->on_log(message);
}

}  // namespace moxie::train
