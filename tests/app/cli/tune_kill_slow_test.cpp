// The real binary is killed (SIGKILL) at random moments of a real run, a hundred times over all,
// and resumed each time: the adapter must end with the bits of the run that was left alone.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <iostream>

#include "app/cli/run_binary.h"
#include "base/files.h"
#include "base/rng.h"

namespace moxie::cli {
namespace {

namespace fs = std::filesystem;
constexpr int kKills = 100;

testing::Ran tune(const std::string& out, bool resumes, const std::function<void(int)>& meanwhile) {
  const std::string curve = MOXIE_SOURCE_DIR "/tests/golden/lora_curve";
  std::vector<std::string> words = {"tune",         curve + "/base",
                                    "--data",       curve + "/prompts.jsonl",
                                    "--out",        out,
                                    "--threads",    "1",
                                    "--steps",      "60",
                                    "--samples",    "0",
                                    "--lr",         "2e-3",
                                    "--dropout",    "0.1",
                                    "--save-every", "3",
                                    "--batch-size", "4",
                                    "--accumulate", "2",
                                    "--eval-split", "8",
                                    "--eval-every", "10"};
  if (resumes) words.emplace_back("--resume");
  return testing::run_moxie(words, {{}, "", meanwhile});
}

TEST(TuneKill, AHundredKillsChangeNoBitOfTheAdapter) {
  const std::string whole = testing::home() + "/whole";
  const auto left_alone = tune(whole, false, {});
  ASSERT_EQ(left_alone.code, 0) << left_alone.err;
  const std::string adapter = read_file(whole + "/adapter_model.safetensors");
  const auto longest = static_cast<uint64_t>(left_alone.seconds * 0.25 * 1e6);

  Rng rng(static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()));
  int kills = 0, kills_with_checkpoint = 0, runs = 0;
  while (kills < kKills) {
    const std::string out = testing::home() + "/killed" + std::to_string(runs++);
    for (;;) {
      const bool kills_this = kills < kKills;
      const auto ran = tune(out, true, [&](int process) {
        if (!kills_this) return;
        ::usleep(static_cast<useconds_t>(rng.below(longest)));
        ::kill(process, SIGKILL);
      });
      if (ran.code == 0) break;
      ASSERT_EQ(ran.code, 128 + SIGKILL) << "seed " << rng.seed() << ": " << ran.err;
      ++kills;
      std::error_code ignored;
      kills_with_checkpoint += fs::is_empty(out + "/checkpoints", ignored) || ignored ? 0 : 1;
    }
    ASSERT_EQ(read_file(out + "/adapter_model.safetensors"), adapter) << "seed " << rng.seed();
    EXPECT_EQ(read_file(out + "/eval.jsonl").size() > 0, true);
  }
  EXPECT_GT(kills_with_checkpoint, kKills / 4) << "the runs died too young to test anything";
  std::cout << kills << " kills over " << runs << " runs\n";
}

}  // namespace
}  // namespace moxie::cli
