#include "infer/generate.h"

#include <algorithm>

#include "base/clock.h"
#include "base/threads.h"
#include "ops/tape.h"

namespace moxie::infer {
namespace {

constexpr int64_t kPromptChunk = 512;  // rows of a prompt that run at once: memory stays flat

void check_prompt(const models::Model& model, const std::vector<int32_t>& prompt) {
  const int64_t limit = model.decoder->config().max_positions;
  if (prompt.empty())
    fail(ErrorCode::kInvalidArgument, "generate", "the prompt has no tokens; give some text");
  if (static_cast<int64_t>(prompt.size()) >= limit) {
    fail(ErrorCode::kInvalidArgument, "generate",
         "the prompt has {} tokens, but the model's context is {}; shorten it", prompt.size(),
         limit);
  }
}

bool ends(const models::Model& model, int32_t token) {
  const auto& stops = model.text.stops;
  return std::find(stops.begin(), stops.end(), token) != stops.end();
}

// Collects the text of one answer and notices stop strings; holds back what could begin one.
class Collector {
 public:
  Collector(const models::Model& model, const GenerateOptions& options)
      : decoder_(model.tokenizer()), options_(options) {}

  // Adds a token's text; true when a stop string was completed.
  bool push(int32_t token) { return add(decoder_.push(token)); }
  bool finish() { return add(decoder_.flush()); }
  const std::string& text() const { return text_; }
  // What is final and was not handed out yet.
  std::string take(bool is_last) {
    size_t until = text_.size();
    if (!is_last) {
      for (const std::string& stop : options_.stop) until = std::min(until, possible_start(stop));
    }
    if (until <= taken_) return {};
    std::string piece = text_.substr(taken_, until - taken_);
    taken_ = until;
    return piece;
  }

 private:
  bool add(const std::string& piece) {
    const size_t before = text_.size();
    text_ += piece;
    for (const std::string& stop : options_.stop) {
      if (stop.empty()) continue;
      const size_t from = before >= stop.size() ? before - stop.size() : 0;
      if (const size_t at = text_.find(stop, from); at != std::string::npos) {
        text_.resize(at);
        return true;
      }
    }
    return false;
  }
  size_t possible_start(const std::string& stop) const {
    for (size_t length = std::min(stop.size(), text_.size()); length > 0; --length) {
      if (text_.compare(text_.size() - length, length, stop, 0, length) == 0)
        return text_.size() - length;
    }
    return text_.size();
  }
  text::StreamDecoder decoder_;
  const GenerateOptions& options_;
  std::string text_;
  size_t taken_ = 0;
};

std::span<float> row_of(const Tensor& logits, int64_t row) {
  return {logits.data<float>() + row * logits.cols(), static_cast<size_t>(logits.cols())};
}

}  // namespace

Session::Session(const models::Model& model)
    : model_(model), state_(model.decoder->new_state()), settling_(model) {}

void Session::reset() {
  state_.truncate(0);
  held_.clear();
}

Tensor Session::read(const std::vector<int32_t>& tokens, size_t from) {
  Tensor last;
  for (size_t begin = from; begin < tokens.size(); begin += kPromptChunk) {
    const size_t end = std::min(tokens.size(), begin + kPromptChunk);
    nn::Batch batch;
    batch.add(
        {tokens.begin() + static_cast<int64_t>(begin), tokens.begin() + static_cast<int64_t>(end)},
        static_cast<int32_t>(begin));
    nn::ForwardOptions options;
    options.states = {&state_};
    const Tensor hidden = model_.decoder->forward(batch, options);
    last = hidden.slice_rows(hidden.rows() - 1, hidden.rows());
  }
  held_ = tokens;
  return last;
}

Generation Session::generate(const std::vector<int32_t>& prompt, const GenerateOptions& options,
                             const std::function<bool(std::string_view)>& on_text) {
  check_prompt(model_, prompt);
  const ops::NoTape quiet;
  Generation result;
  result.prompt_tokens = static_cast<int64_t>(prompt.size());
  size_t shared = 0;
  while (shared < held_.size() && shared + 1 < prompt.size() && held_[shared] == prompt[shared])
    ++shared;
  state_.truncate(static_cast<int64_t>(shared));
  const Stopwatch prompt_clock;
  Tensor hidden = read(prompt, shared);
  result.prompt_seconds = prompt_clock.seconds();
  const Stopwatch decode_clock;
  Sampler sampler(options.sampling);
  Collector collector(model_, options);
  const auto emit = [&](bool is_last) {
    const std::string piece = collector.take(is_last);
    return piece.empty() || !on_text || on_text(piece);
  };
  std::vector<int32_t> tokens = prompt;
  result.finish_reason = "length";
  const int64_t context = model_.decoder->config().max_positions;
  while (static_cast<int64_t>(result.tokens.size()) < options.max_tokens &&
         static_cast<int64_t>(tokens.size()) < context) {
    const Tensor logits = model_.decoder->logits(hidden);
    const int32_t next = sampler.pick(row_of(logits, 0), tokens);
    if (ends(model_, next)) {
      result.finish_reason = "stop";
      break;
    }
    result.tokens.push_back(next);
    tokens.push_back(next);
    if (collector.push(next)) {
      result.finish_reason = "stop";
      break;
    }
    if (!emit(false)) {
      result.finish_reason = "interrupted";
      break;
    }
    if (options.settles) settling_.step();
    if (static_cast<int64_t>(result.tokens.size()) < options.max_tokens)
      hidden = read(tokens, tokens.size() - 1);
  }
  collector.finish();
  emit(true);
  result.text = collector.text();
  result.decode_seconds = decode_clock.seconds();
  return result;
}

namespace {

struct Lane {  // one sequence of a running batch
  size_t prompt;
  nn::SequenceState state;
  std::vector<int32_t> tokens;
  std::vector<int32_t> fresh;  // not read yet
  Sampler sampler;
  Collector collector;
};

// Reads what is fresh in every lane and returns the logits of each lane's last token.
Tensor step(const models::Model& model, std::vector<Lane>& lanes) {
  nn::Batch batch;
  nn::ForwardOptions options;
  for (Lane& lane : lanes) {
    batch.add(lane.fresh, static_cast<int32_t>(lane.state.length()));
    options.states.push_back(&lane.state);
  }
  const Tensor hidden = model.decoder->forward(batch, options);
  Tensor last = Tensor::empty({batch.sequences(), hidden.cols()}, DType::kF32);
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const float* from =
        hidden.data<float>() + (batch.offsets[static_cast<size_t>(s) + 1] - 1) * hidden.cols();
    std::copy_n(from, hidden.cols(), last.data<float>() + s * hidden.cols());
  }
  return model.decoder->logits(last);
}

// The next token of each lane: every one has a sampler of its own.
std::vector<int32_t> pick(const Tensor& logits, std::vector<Lane>& lanes) {
  std::vector<int32_t> picked(lanes.size());
  parallel_for(std::ssize(lanes), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Lane& lane = lanes[static_cast<size_t>(i)];
      picked[static_cast<size_t>(i)] = lane.sampler.pick(row_of(logits, i), lane.tokens);
    }
  });
  return picked;
}

}  // namespace

std::vector<Generation> generate_batch(const models::Model& model,
                                       const std::vector<std::vector<int32_t>>& prompts,
                                       const GenerateOptions& options, int64_t batch_size,
                                       const std::function<bool(int64_t done)>& on_progress) {
  const ops::NoTape quiet;
  for (const auto& prompt : prompts) check_prompt(model, prompt);
  std::vector<Generation> results(prompts.size());
  std::vector<Lane> lanes;
  Settling settling(model);
  size_t next = 0;
  int64_t done = 0;
  while (next < prompts.size() || !lanes.empty()) {
    while (next < prompts.size() && static_cast<int64_t>(lanes.size()) < batch_size) {
      lanes.push_back({next, model.decoder->new_state(), prompts[next], prompts[next],
                       Sampler(options.sampling), Collector(model, options)});
      results[next].prompt_tokens = static_cast<int64_t>(prompts[next].size());
      ++next;
    }
    const std::vector<int32_t> picked = pick(step(model, lanes), lanes);
    std::vector<Lane> running;
    for (size_t s = 0; s < lanes.size(); ++s) {
      Lane& lane = lanes[s];
      Generation& result = results[lane.prompt];
      const int32_t token = picked[s];
      bool is_done = ends(model, token);
      if (is_done) {
        result.finish_reason = "stop";
      } else {
        result.tokens.push_back(token);
        lane.tokens.push_back(token);
        lane.fresh = {token};
        if (lane.collector.push(token)) {
          result.finish_reason = "stop";
          is_done = true;
        } else if (static_cast<int64_t>(result.tokens.size()) >= options.max_tokens ||
                   static_cast<int64_t>(lane.tokens.size()) >=
                       model.decoder->config().max_positions) {
          result.finish_reason = "length";
          is_done = true;
        }
      }
      if (!is_done) {
        running.push_back(std::move(lane));
        continue;
      }
      lane.collector.finish();
      result.text = lane.collector.text();
      ++done;
      if (on_progress && !on_progress(done))
        fail(ErrorCode::kInterrupted, "generate", "stopped after {} of {} answers", done,
             prompts.size());
    }
    lanes = std::move(running);
    if (options.settles) settling.step();
  }
  return results;
}

}  // namespace moxie::infer
