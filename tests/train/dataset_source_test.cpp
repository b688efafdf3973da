// The loop over a real data set: order, weights, fingerprint, resume.
#include "train/dataset_source.h"

#include <gtest/gtest.h>

#include "toy.h"

namespace moxie::train {
namespace {

data::Dataset load(const std::filesystem::path& folder, double weight = 1.5) {
  const auto path = folder / "data.jsonl";
  std::string lines;
  for (int i = 0; i < 9; ++i) {
    lines +=
        fmt::format("{{\"text\": \"{}\"}}\n", std::string(static_cast<size_t>(i % 4 + 2), 'b'));
  }
  write_file_atomically(path, lines);
  data::TextTools tools;
  tools.encode = [](std::string_view text, bool) {
    text::Encoding encoding;
    for (size_t i = 0; i < text.size(); ++i) {
      encoding.ids.push_back(static_cast<int32_t>(i) % static_cast<int32_t>(kVocabulary));
      encoding.offsets.emplace_back(i, i + 1);
    }
    return encoding;
  };
  return data::Dataset::load({{path, weight}}, data::Encoder(std::move(tools)));
}

TEST(DatasetSource, ResumesBitForBitWithWeightedFiles) {
  TemporaryFolder input;
  const data::Dataset dataset = load(input.path);
  ASSERT_EQ(dataset.epoch_size(), 14);  // 9 samples, weight 1.5
  const auto go = [&](const std::filesystem::path& folder, bool resume, int64_t polls,
                      uint64_t seed) {
    ToyObjective objective;
    const DatasetSource source(dataset, seed, true);
    TrainSetup setup;
    setup.objective = &objective;
    setup.data = &source;
    setup.optimizer = require_row(optim::optimizers(), "optimizer", "adamw")->create();
    setup.folder = folder;
    setup.stop_requested = [&polls] { return polls-- <= 0; };
    Trainer trainer(toy_options(), std::move(setup));
    EXPECT_EQ(trainer.plan().steps_per_epoch(), 3);
    int64_t tokens = 0;
    for (const int64_t index : source.order(0)) {
      tokens += static_cast<int64_t>(dataset[index].tokens.size());
    }
    EXPECT_EQ(trainer.plan().epoch_tokens(), tokens);
    trainer.run(resume);
    return objective.values();
  };
  TemporaryFolder whole, parts, other;
  const auto expected = go(whole.path, false, 1 << 20, 7);
  go(parts.path, false, 17, 7);
  EXPECT_NE(go(other.path, false, 1 << 20, 8), expected);
  EXPECT_THROW(go(parts.path, true, 1 << 20, 8), Error);
  EXPECT_EQ(go(parts.path, true, 1 << 20, 7), expected);
}

TEST(DatasetSource, FingerprintTellsOrders) {
  TemporaryFolder input;
  const data::Dataset dataset = load(input.path);
  const DatasetSource shuffled(dataset, 7, true), plain(dataset, 7, false);
  EXPECT_EQ(shuffled.fingerprint(), "sha256 " + dataset.fingerprint() + ", shuffled by seed 7");
  EXPECT_EQ(plain.fingerprint(), "sha256 " + dataset.fingerprint() + ", in its own order");
}

}  // namespace
}  // namespace moxie::train
