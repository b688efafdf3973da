// Sampling and generation: what the options mean, stops, seeds, and equality with recomputation.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/cpu.h"
#include "infer/generate.h"
#include "infer/score.h"
#include "kernels/gemm.h"
#include "ops/tape.h"

namespace moxie::infer {
namespace fs = std::filesystem;
namespace {

models::Model tiny() {
  // The tokenizer of the tiny checkpoints is a folder of its own beside them.
  models::Model model = models::load(fs::path(MOXIE_SOURCE_DIR) / "tests/golden/tiny_models/llama");
  model.text =
      models::load_text_parts(fs::path(MOXIE_SOURCE_DIR) / "tests/golden/tiny_models/tokenizer");
  model.text.stops.clear();
  return model;
}

int32_t greedy_without_state(const models::Model& model, const std::vector<int32_t>& tokens) {
  const Tensor logits = all_logits(model, tokens);
  const float* row = logits.data<float>() + (logits.rows() - 1) * logits.cols();
  return static_cast<int32_t>(std::max_element(row, row + logits.cols()) - row);
}

TEST(Generate, EqualsRecomputationWithoutState) {
  const models::Model model = tiny();
  const std::vector<int32_t> prompt = {5, 9, 40, 77};
  GenerateOptions options;
  options.max_tokens = 20;
  Session session(model);
  const Generation result = session.generate(prompt, options);
  std::vector<int32_t> tokens = prompt;
  for (const int32_t token : result.tokens) {
    EXPECT_EQ(token, greedy_without_state(model, tokens));
    tokens.push_back(token);
  }
  EXPECT_EQ(result.tokens.size(), 20u);
  EXPECT_EQ(result.finish_reason, "length");
}

TEST(Generate, ASecondTurnReusesTheStateAndChangesNothing) {
  const models::Model model = tiny();
  GenerateOptions options;
  options.max_tokens = 6;
  Session reused(model);
  const Generation first = reused.generate({5, 9, 40}, options);
  std::vector<int32_t> longer = {5, 9, 40};
  longer.insert(longer.end(), first.tokens.begin(), first.tokens.end());
  longer.push_back(12);
  Session fresh(model);
  EXPECT_EQ(reused.generate(longer, options).tokens, fresh.generate(longer, options).tokens);
  // Another beginning: what does not agree is dropped.
  EXPECT_EQ(reused.generate({5, 33}, options).tokens,
            Session(model).generate({5, 33}, options).tokens);
}

TEST(Generate, ABatchAnswersAsOneByOne) {
  const models::Model model = tiny();
  GenerateOptions options;
  options.max_tokens = 9;
  const std::vector<std::vector<int32_t>> prompts = {
      {5, 9}, {40, 41, 42, 43, 44}, {7}, {99, 3}, {1, 2, 3}};
  const auto together = generate_batch(model, prompts, options, 2);
  ASSERT_EQ(together.size(), prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(together[i].tokens, Session(model).generate(prompts[i], options).tokens) << i;
  }
}

// Prompts and then a token of each, alone or among others: the bits of the first are the same under
// batch invariance.
TEST(Generate, ASequenceHasItsBitsWhateverElseIsInTheBatch) {
  const models::Model model = tiny();
  const ops::NoTape quiet;
  const auto first_of = [&](int32_t others) {
    std::vector<nn::SequenceState> states;
    for (int32_t i = 0; i <= others; ++i) states.push_back(model.decoder->new_state());
    nn::ForwardOptions options;
    for (auto& state : states) options.states.push_back(&state);
    nn::Batch prompts, tokens;
    prompts.add({5, 9, 40});
    tokens.add({12}, 3);
    for (int32_t i = 0; i < others; ++i) {
      prompts.add({7 + i, 3});
      tokens.add({8}, 2);
    }
    model.decoder->forward(prompts, options);
    const Tensor hidden = model.decoder->forward(tokens, options);
    const float* row = hidden.data<float>();
    return std::vector<float>(row, row + hidden.cols());
  };
  const auto plain = first_of(5);
  kernels::set_batch_invariant(true);
  const auto alone = first_of(0);
  for (int32_t others = 1; others <= 8; ++others) EXPECT_EQ(first_of(others), alone) << others;
  kernels::set_batch_invariant(false);
  if (active_isa() != Isa::kScalar) {  // whose dot products have the blocked kernel's order anyway
    EXPECT_NE(first_of(0), plain) << "else there is nothing to keep equal";
  }
}

// A text read as a prompt and then token by token, in pieces that take every way through attention.
// Keys and values are rounded to 11 bits: logits move by a thousandth of what they vary.
TEST(Generate, ACacheOfHalvesMovesLogitsByItsRounding) {
  const models::Model model = tiny();
  const ops::NoTape quiet;
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 150; ++i) tokens.push_back(3 + i * 37 % 90);
  const auto logits_with = [&](DType dtype) {
    model.decoder->set_cache_dtype(dtype);
    nn::SequenceState state = model.decoder->new_state();
    std::vector<float> all;
    for (const size_t end : {size_t{100}, size_t{103}, size_t{104}, size_t{105}, size_t{150}}) {
      nn::Batch batch;
      const auto done = static_cast<int32_t>(state.length());
      batch.add({tokens.begin() + done, tokens.begin() + static_cast<int64_t>(end)}, done);
      nn::ForwardOptions options;
      options.states = {&state};
      const Tensor logits = model.decoder->logits(model.decoder->forward(batch, options));
      all.insert(all.end(), logits.span<float>().begin(), logits.span<float>().end());
    }
    return all;
  };
  const auto exact = logits_with(DType::kF32), halves = logits_with(DType::kF16);
  ASSERT_EQ(exact.size(), halves.size());
  double off = 0, size = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    off += (halves[i] - exact[i]) * (halves[i] - exact[i]);
    size += exact[i] * exact[i];
  }
  EXPECT_GT(off, 0) << "else nothing was rounded";
  EXPECT_LT(std::sqrt(off / size), 1e-3);
}

TEST(Generate, StopTokensAndStopStringsEndIt) {
  models::Model model = tiny();
  GenerateOptions options;
  options.max_tokens = 12;
  const Generation whole = Session(model).generate({5, 9}, options);
  ASSERT_GT(whole.text.size(), 3u);
  options.stop = {whole.text.substr(whole.text.size() / 2, 2)};
  std::string streamed;
  const Generation stopped = Session(model).generate({5, 9}, options, [&](std::string_view piece) {
    streamed += piece;
    return true;
  });
  EXPECT_EQ(stopped.finish_reason, "stop");
  EXPECT_EQ(stopped.text, whole.text.substr(0, whole.text.find(options.stop[0])));
  EXPECT_EQ(streamed, stopped.text) << "what streams is what stands";
  options.stop.clear();
  model.text.stops = {whole.tokens[3]};
  const auto at =
      std::find(whole.tokens.begin(), whole.tokens.end(), whole.tokens[3]) - whole.tokens.begin();
  EXPECT_EQ(Session(model).generate({5, 9}, options).tokens.size(), static_cast<size_t>(at));
}

TEST(Generate, BadPromptsAreRefused) {
  const models::Model model = tiny();
  EXPECT_THROW(Session(model).generate({}, {}), Error);
  EXPECT_THROW(Session(model).generate(std::vector<int32_t>(5000, 3), {}), Error);
  EXPECT_THROW(Session(model).generate({3, 100000}, {}), Error);
}

std::vector<float> logits() {
  return {1.0f, 3.0f, 2.0f, -1.0f, 2.5f};
}

std::vector<int> draws(const SamplerOptions& options, int count = 400) {
  Sampler sampler(options);
  std::vector<int> seen(5, 0);
  for (int i = 0; i < count; ++i) {
    auto row = logits();
    ++seen[static_cast<size_t>(sampler.pick(row, {}))];
  }
  return seen;
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowerIdOnATie) {
  Sampler sampler({});
  auto row = logits();
  EXPECT_EQ(sampler.pick(row, {}), 1);
  std::vector<float> tie = {0, 2, 2};
  EXPECT_EQ(sampler.pick(tie, {}), 1);
}

TEST(Sampler, EachFilterDropsWhatItSays) {
  SamplerOptions options;
  options.temperature = 2;
  for (const int count : draws(options)) EXPECT_GT(count, 0);
  options.top_k = 2;
  EXPECT_EQ(draws(options)[2], 0);
  EXPECT_GT(draws(options)[4], 0);
  options.top_k = 0;
  options.top_p = 0.3;  // the first alone has 0.36 at temperature 2
  EXPECT_EQ(draws(options)[1], 400);
  options.top_p = 1;
  options.min_p = 0.5;  // exp(-0.25) = 0.78 stays, exp(-0.5) = 0.61 stays, exp(-1) = 0.37 goes
  EXPECT_EQ(draws(options)[0], 0);
  EXPECT_GT(draws(options)[2], 0);
}

TEST(Sampler, DrawsFollowTheProbabilities) {
  SamplerOptions options;
  options.temperature = 1;
  const auto seen = draws(options, 20000);
  const double total =
      std::exp(1.0) + std::exp(3.0) + std::exp(2.0) + std::exp(-1.0) + std::exp(2.5);
  EXPECT_NEAR(seen[1] / 20000.0, std::exp(3.0) / total, 0.02);
  EXPECT_NEAR(seen[0] / 20000.0, std::exp(1.0) / total, 0.01);
}

TEST(Sampler, ASeedRepeatsAndAnotherDoesNot) {
  SamplerOptions options;
  options.temperature = 2;
  options.seed = 1;
  const auto first = draws(options, 50);
  EXPECT_EQ(first, draws(options, 50));
  options.seed = 2;
  EXPECT_NE(first, draws(options, 50));
}

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  SamplerOptions options;
  options.repetition_penalty = 2;
  Sampler sampler(options);
  auto row = logits();
  const std::vector<int32_t> history = {1, 3, 1};
  EXPECT_EQ(sampler.pick(row, history), 4);
  EXPECT_FLOAT_EQ(row[1], 1.5f) << "once, however often it occurred";
  EXPECT_FLOAT_EQ(row[3], -2.0f);
}

TEST(Score, LogProbabilitiesAreThoseOfTheLogits) {
  const models::Model model = tiny();
  const std::vector<int32_t> tokens = {5, 9, 40, 77};
  const Scored scored = score_tokens(model, tokens);
  const Tensor all = all_logits(model, tokens);
  double mean = 0;
  for (size_t i = 1; i < tokens.size(); ++i) {
    const float* row = all.data<float>() + static_cast<int64_t>(i - 1) * all.cols();
    double sum = 0;
    for (int64_t j = 0; j < all.cols(); ++j) sum += std::exp(static_cast<double>(row[j]));
    EXPECT_NEAR(scored.logprobs[i], row[tokens[i]] - std::log(sum), 1e-5);
    mean -= scored.logprobs[i] / 3;
  }
  EXPECT_NEAR(scored.loss, mean, 1e-12);
  EXPECT_NEAR(scored.perplexity, std::exp(mean), 1e-9);
}

}  // namespace
}  // namespace moxie::infer
