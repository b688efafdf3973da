#include "data/dataset.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"

namespace moxie::data {
namespace {

constexpr double kMaxWeight = 1000;
constexpr int64_t kProgressRows = 1000;

// Streams of random numbers, apart from each other and from those of other parts of a run.
enum class Draw : uint64_t { kShuffle = 0xDA01, kFraction = 0xDA02, kSplit = 0xDA03 };

Rng rng_of(Draw draw, uint64_t seed, int64_t epoch, size_t file = 0) {
  return Rng(seed, (static_cast<uint64_t>(draw) << 48) ^ (uint64_t{file} << 32) ^
                       static_cast<uint64_t>(epoch));
}

void shuffle(std::vector<int64_t>& items, Rng rng) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[rng.below(i)]);
}

// `count` of the items, drawn without repeats, in their old order.
std::vector<int64_t> draw_some(std::vector<int64_t> items, int64_t count, Rng rng) {
  shuffle(items, rng);
  items.resize(static_cast<size_t>(count));
  std::sort(items.begin(), items.end());
  return items;
}

int64_t extra_of(double weight, size_t examples) {
  return std::llround((weight - std::floor(weight)) * static_cast<double>(examples));
}

void add_sample(DataStatistics& counts, const Sample& sample) {
  const auto size = static_cast<int64_t>(sample.tokens.size());
  ++counts.examples;
  counts.tokens += size;
  counts.learnt_tokens += sample.learnt_count();
  counts.longest = std::max(counts.longest, size);
  counts.cut += sample.cut > 0 ? 1 : 0;
  counts.cut_tokens += sample.cut;
}

}  // namespace

DataFile parse_data_file(std::string_view text) {
  const size_t at = text.rfind('@');
  if (at == std::string_view::npos || at == 0) return {std::filesystem::path(text), 1.0};
  const std::string_view number = text.substr(at + 1);
  double weight = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), weight);
  if (error != std::errc() || end != number.data() + number.size()) {
    return {std::filesystem::path(text), 1.0};  // an @ of the name itself
  }
  return {std::filesystem::path(text.substr(0, at)), weight};
}

Json to_json(const DataStatistics& statistics) {
  Json json = Json::object();
  if (!statistics.name.empty()) json["file"] = statistics.name;
  json["examples"] = statistics.examples;
  json["tokens"] = statistics.tokens;
  json["learnt_tokens"] = statistics.learnt_tokens;
  json["longest"] = statistics.longest;
  json["cut"] = statistics.cut;
  json["cut_tokens"] = statistics.cut_tokens;
  json["dropped"] = statistics.dropped;
  json["skipped"] = statistics.skipped;
  if (!statistics.first_skip.empty()) json["first_skip"] = statistics.first_skip;
  return json;
}

Dataset Dataset::load(const std::vector<DataFile>& files, const Encoder& encoder,
                      const ReadOptions& options, const std::function<void(int64_t)>& progress) {
  if (files.empty()) {
    fail(ErrorCode::kInvalidArgument, "data", "no data file was given; name one with --data");
  }
  Dataset dataset;
  for (const DataFile& file : files) {
    if (!(file.weight > 0 && file.weight <= kMaxWeight)) {
      fail(ErrorCode::kInvalidArgument, file.path.string(),
           "weight {} is not between 0 and {}; 1 takes every example once an epoch", file.weight,
           kMaxWeight);
    }
    dataset.read_file(file, encoder, options, progress);
  }
  if (dataset.samples_.empty()) {
    fail(ErrorCode::kCorruptData, files[0].path.string(),
         "no example is left to learn from: the limit of {} tokens cuts off all that would be "
         "learnt in {} of them; raise max_length",
         encoder.options().max_length, dataset.total().dropped);
  }
  if (dataset.epoch_size() == 0) {
    fail(ErrorCode::kInvalidArgument, files[0].path.string(),
         "the weights leave no example in an epoch; raise them");
  }
  return dataset;
}

void Dataset::read_file(const DataFile& file, const Encoder& encoder, const ReadOptions& options,
                        const std::function<void(int64_t)>& progress) {
  Source source;
  source.weight = file.weight;
  source.counts.name = file.path.string();
  const auto number = static_cast<int32_t>(sources_.size());
  Reader reader(file.path, options);
  while (const auto record = reader.next()) {
    try {
      auto samples = encoder.encode(*record);
      if (samples.empty()) ++source.counts.dropped;
      for (Sample& sample : samples) {
        samples_.push_back(std::move(sample));
        origins_.push_back({number, reader.rows() - 1});
      }
    } catch (const Error& error) {
      if (!options.skip_bad || error.code() == ErrorCode::kInvalidArgument) throw;
      if (source.counts.skipped++ == 0) source.counts.first_skip = error.what();
    }
    if (progress && reader.rows() % kProgressRows == 0) progress(reader.rows());
  }
  source.counts.skipped += reader.skipped();
  if (source.counts.first_skip.empty()) source.counts.first_skip = reader.first_skip();
  sources_.push_back(std::move(source));
}

Dataset Dataset::split_off(double amount, uint64_t seed) {
  const double wanted = amount < 1 ? std::max(1.0, amount * static_cast<double>(size())) : amount;
  if (!(amount > 0) || wanted > static_cast<double>(size() - 1)) {
    fail(ErrorCode::kInvalidArgument, "data",
         "cannot hold out {} of {} examples; give a fraction below 1 or a smaller count", amount,
         size());
  }
  std::vector<int64_t> all(samples_.size());
  std::iota(all.begin(), all.end(), 0);
  const auto chosen =
      draw_some(std::move(all), std::llround(wanted), rng_of(Draw::kSplit, seed, 0));
  Dataset taken, kept;
  taken.sources_ = sources_;
  for (Source& source : taken.sources_) {
    source.weight = 1.0;  // evaluation sees each example once
    source.counts = {};
  }
  for (size_t f = 0; f < sources_.size(); ++f)
    taken.sources_[f].counts.name = sources_[f].counts.name;
  kept.sources_ = std::move(sources_);
  for (size_t i = 0; i < samples_.size(); ++i) {
    const bool is_taken = std::binary_search(chosen.begin(), chosen.end(), static_cast<int64_t>(i));
    Dataset& side = is_taken ? taken : kept;
    side.samples_.push_back(std::move(samples_[i]));
    side.origins_.push_back(origins_[i]);
  }
  *this = std::move(kept);
  return taken;
}

std::vector<std::vector<int64_t>> Dataset::by_file() const {
  std::vector<std::vector<int64_t>> indices(sources_.size());
  for (size_t i = 0; i < origins_.size(); ++i) {
    indices[static_cast<size_t>(origins_[i].file)].push_back(static_cast<int64_t>(i));
  }
  return indices;
}

int64_t Dataset::epoch_size() const {
  int64_t count = 0;
  const auto files = by_file();
  for (size_t f = 0; f < files.size(); ++f) {
    const double weight = sources_[f].weight;
    count += static_cast<int64_t>(weight) * static_cast<int64_t>(files[f].size()) +
             extra_of(weight, files[f].size());
  }
  return count;
}

std::vector<int64_t> Dataset::epoch_order(int64_t epoch, uint64_t seed, bool is_shuffled) const {
  std::vector<int64_t> order;
  const auto files = by_file();
  for (size_t f = 0; f < files.size(); ++f) {
    const double weight = sources_[f].weight;
    for (int64_t copy = 0; copy < static_cast<int64_t>(weight); ++copy) {
      order.insert(order.end(), files[f].begin(), files[f].end());
    }
    const auto extra = draw_some(files[f], extra_of(weight, files[f].size()),
                                 rng_of(Draw::kFraction, seed, epoch, f));
    order.insert(order.end(), extra.begin(), extra.end());
  }
  if (is_shuffled) shuffle(order, rng_of(Draw::kShuffle, seed, epoch));
  return order;
}

std::vector<DataStatistics> Dataset::statistics() const {
  std::vector<DataStatistics> rows;
  for (const Source& source : sources_) rows.push_back(source.counts);
  for (size_t i = 0; i < samples_.size(); ++i) {
    add_sample(rows[static_cast<size_t>(origins_[i].file)], samples_[i]);
  }
  return rows;
}

DataStatistics Dataset::total() const {
  DataStatistics sum;
  for (const DataStatistics& row : statistics()) {
    sum.examples += row.examples;
    sum.tokens += row.tokens;
    sum.learnt_tokens += row.learnt_tokens;
    sum.longest = std::max(sum.longest, row.longest);
    sum.cut += row.cut;
    sum.cut_tokens += row.cut_tokens;
    sum.dropped += row.dropped;
    sum.skipped += row.skipped;
    if (sum.first_skip.empty()) sum.first_skip = row.first_skip;
  }
  return sum;
}

std::string Dataset::fingerprint() const {
  Sha256 hash;
  for (const Source& source : sources_) hash.update(&source.weight, sizeof(source.weight));
  for (size_t i = 0; i < samples_.size(); ++i) {
    const Sample& sample = samples_[i];
    const uint64_t head[] = {static_cast<uint64_t>(origins_[i].file), sample.tokens.size()};
    hash.update(head, sizeof(head));
    hash.update(sample.tokens.data(), sample.tokens.size() * sizeof(int32_t));
    hash.update(sample.is_learnt.data(), sample.is_learnt.size());
  }
  return hash.hex();
}

}  // namespace moxie::data
