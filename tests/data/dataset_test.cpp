// Order, weights, splits and statistics of data sets. One token a byte, EOS "$".
#include "data/dataset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"

namespace moxie::data {
namespace {

class Datasets : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  // `count` examples; the i-th is i % 7 + 1 letters long, and its EOS.
  std::filesystem::path write_numbered(const std::string& name, int count, char letter = 'a') {
    std::string bytes;
    for (int i = 0; i < count; ++i) {
      bytes += fmt::format("{{\"text\": \"{}\"}}\n",
                           std::string(static_cast<size_t>(i % 7 + 1), letter));
    }
    return write(name, bytes);
  }
  static Encoder encoder(int64_t max_length = 0, std::string loss_on = "auto") {
    TextTools tools;
    tools.encode = [](std::string_view text, bool) {
      text::Encoding encoding;
      for (size_t i = 0; i < text.size(); ++i) {
        encoding.ids.push_back(static_cast<unsigned char>(text[i]));
        encoding.offsets.emplace_back(i, i + 1);
      }
      return encoding;
    };
    tools.eos = "$";
    return Encoder(std::move(tools), {max_length, std::move(loss_on)});
  }
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / fmt::format("moxie_dataset_{}", getpid());
};

std::string text_of(const Sample& sample) {
  return std::string(sample.tokens.begin(), sample.tokens.end());
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

#define EXPECT_SAYS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "the message is: " << (text)

TEST_F(Datasets, OrderIsAFunctionOfSeedAndEpoch) {
  const auto path = write_numbered("a.jsonl", 100);
  const Dataset one = Dataset::load({{path}}, encoder());
  const Dataset two = Dataset::load({{path}}, encoder());
  const auto order = one.epoch_order(3, 42);
  EXPECT_EQ(order, two.epoch_order(3, 42));
  EXPECT_NE(order, one.epoch_order(4, 42));
  EXPECT_NE(order, one.epoch_order(3, 43));
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  std::vector<int64_t> all(100);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(sorted, all);
  EXPECT_NE(order, all);
  EXPECT_EQ(one.epoch_order(3, 42, false), all);
  // Pinned: a change would break the resuming of every run of an earlier version.
  const auto first = one.epoch_order(0, 0);
  EXPECT_EQ(std::vector<int64_t>(first.begin(), first.begin() + 8),
            (std::vector<int64_t>{58, 27, 22, 8, 92, 98, 0, 23}));
}

TEST_F(Datasets, ShuffleIsUniform) {
  const Dataset data = Dataset::load({{write_numbered("a.jsonl", 5)}}, encoder());
  int counts[5][5] = {};
  for (int epoch = 0; epoch < 5000; ++epoch) {
    const auto order = data.epoch_order(epoch, 1);
    for (size_t place = 0; place < 5; ++place) ++counts[place][order[place]];
  }
  // 1000 expected in each cell, standard deviation 28.
  for (const auto& row : counts) {
    for (const int count : row) EXPECT_NEAR(count, 1000, 140);
  }
}

TEST_F(Datasets, WeightsRepeatAndSampleFiles) {
  const auto a = write_numbered("a.jsonl", 10, 'a');
  const auto b = write_numbered("b.jsonl", 20, 'b');
  const Dataset data = Dataset::load({{a, 2.0}, {b, 0.25}}, encoder());
  EXPECT_EQ(data.size(), 30);
  EXPECT_EQ(data.epoch_size(), 25);
  std::set<std::set<int64_t>> fractions;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    std::map<int64_t, int> times;
    for (const int64_t index : data.epoch_order(epoch, 5)) ++times[index];
    std::set<int64_t> of_b;
    for (const auto& [index, count] : times) {
      EXPECT_EQ(count, index < 10 ? 2 : 1);
      if (index >= 10) of_b.insert(index);
    }
    EXPECT_EQ(times.size(), 15u);
    EXPECT_EQ(of_b.size(), 5u);
    fractions.insert(of_b);
  }
  EXPECT_GT(fractions.size(), 1u);
  const auto in_order = data.epoch_order(0, 5, false);
  EXPECT_TRUE(std::is_sorted(in_order.begin() + 20, in_order.end()));
  EXPECT_EQ(in_order[0], 0);
  EXPECT_EQ(in_order[10], 0);
}

TEST_F(Datasets, ParsesWeights) {
  EXPECT_EQ(parse_data_file("a/b.jsonl").weight, 1.0);
  EXPECT_EQ(parse_data_file("a/b.jsonl@0.5").weight, 0.5);
  EXPECT_EQ(parse_data_file("a/b.jsonl@0.5").path, "a/b.jsonl");
  EXPECT_EQ(parse_data_file("me@home.jsonl").path, "me@home.jsonl");
  const auto path = write_numbered("a.jsonl", 3);
  for (const double bad : {0.0, -1.0, 1e9, std::nan("")}) {
    EXPECT_SAYS(error_of([&] { Dataset::load({{path, bad}}, encoder()); }), "weight");
  }
  EXPECT_SAYS(error_of([&] { Dataset::load({{path, 0.1}}, encoder()); }), "no example in an epoch");
  EXPECT_SAYS(error_of([&] { Dataset::load({}, encoder()); }), "--data");
}

TEST_F(Datasets, SplitsOffADrawOfTheSeed) {
  const auto path = write_numbered("a.jsonl", 50);
  const auto split = [&](double amount, uint64_t seed) {
    Dataset train = Dataset::load({{path, 2.0}}, encoder());
    const Dataset held_out = train.split_off(amount, seed);
    EXPECT_EQ(train.size() + held_out.size(), 50);
    EXPECT_EQ(train.epoch_size(), 2 * train.size());
    EXPECT_EQ(held_out.epoch_size(), held_out.size());
    std::set<int64_t> rows;
    for (int64_t i = 0; i < train.size(); ++i) rows.insert(train.origin(i).row);
    std::vector<int64_t> taken;
    for (int64_t i = 0; i < held_out.size(); ++i) {
      taken.push_back(held_out.origin(i).row);
      EXPECT_EQ(text_of(held_out[i]).size(), static_cast<size_t>(taken.back() % 7 + 2));
      EXPECT_FALSE(rows.contains(taken.back()));
    }
    return taken;
  };
  EXPECT_EQ(split(0.1, 7).size(), 5u);
  EXPECT_EQ(split(8, 7).size(), 8u);
  EXPECT_EQ(split(0.001, 7).size(), 1u);
  EXPECT_EQ(split(8, 7), split(8, 7));
  EXPECT_NE(split(8, 7), split(8, 8));
  Dataset data = Dataset::load({{path}}, encoder());
  for (const double bad : {50.0, 0.0, -1.0, 0.999}) {
    EXPECT_SAYS(error_of([&] { data.split_off(bad, 0); }), "cannot hold out");
  }
  EXPECT_EQ(data.size(), 50);
}

TEST_F(Datasets, CountsWhatHappened) {
  const auto path = write("a.jsonl",
                          "{\"prompt\": \"12\", \"completion\": \"345\"}\n"
                          "{\"prompt\": \"123456\", \"completion\": \"7\"}\n"
                          "{\"bad\": 1}\n"
                          "{\"prompt\": \"1\", \"completion\": \"2\"}\n");
  const auto second = write("b.txt", "123456789\n\nab");
  const Dataset data = Dataset::load({{path}, {second}}, encoder(5), {.skip_bad = true});
  const auto rows = data.statistics();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].examples, 2);
  EXPECT_EQ(rows[0].tokens, 8);         // "12345" and "12$"
  EXPECT_EQ(rows[0].learnt_tokens, 5);  // "345" and "2$"
  EXPECT_EQ(rows[0].cut, 1);
  EXPECT_EQ(rows[0].cut_tokens, 1);
  EXPECT_EQ(rows[0].dropped, 1);
  EXPECT_EQ(rows[0].skipped, 1);
  EXPECT_SAYS(rows[0].first_skip, "a.jsonl:3");
  EXPECT_EQ(rows[0].longest, 5);
  EXPECT_EQ(rows[1].examples, 3);  // "12345", "6789$", "ab$"
  EXPECT_EQ(rows[1].learnt_tokens, 10);
  EXPECT_EQ(data.total().examples, 5);
  EXPECT_EQ(data.total().tokens, 21);
  EXPECT_EQ(to_json(rows[0])["dropped"], 1);
  EXPECT_EQ(data.origin(4).row, 1);
  EXPECT_EQ(data.origin(4).file, 1);
}

TEST_F(Datasets, SaysWhenNothingIsLeft) {
  const auto path = write("a.jsonl", "{\"prompt\": \"123456\", \"completion\": \"7\"}\n");
  EXPECT_SAYS(error_of([&] { Dataset::load({{path}}, encoder(4)); }), "raise max_length");
  const auto chat = write("c.jsonl", R"({"messages": [{"role": "user", "content": "u"}]})");
  EXPECT_SAYS(error_of([&] { Dataset::load({{chat}}, encoder(), {.skip_bad = true}); }),
              "no chat template");
}

TEST_F(Datasets, FingerprintTellsDataApart) {
  const auto path = write_numbered("a.jsonl", 5);
  const auto print = [&](double weight, int64_t limit) {
    return Dataset::load({{path, weight}}, encoder(limit)).fingerprint();
  };
  EXPECT_EQ(print(1, 0), print(1, 0));
  EXPECT_NE(print(1, 0), print(2, 0));
  EXPECT_NE(print(1, 0), print(1, 4));
}

}  // namespace
}  // namespace moxie::data
