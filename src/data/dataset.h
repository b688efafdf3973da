#pragma once
// The encoded examples of one or several files, and the order in which training sees them.
//
// The order of an epoch is a pure function of (seed, epoch): nothing else has to be kept to resume.
// A file of weight w gives each of its examples floor(w) times in an epoch and a fraction of them
// once more (drawn anew each epoch), so that every epoch has the same length.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/encode.h"
#include "data/reader.h"
#include "data/sample.h"

namespace moxie::data {

struct DataFile {
  std::filesystem::path path;
  double weight = 1.0;
};
// "train.jsonl" or, with a weight, "train.jsonl@0.5". Throws kInvalidArgument for a bad weight.
DataFile parse_data_file(std::string_view text);

struct DataStatistics {
  std::string name;      // of the file; "" in a total
  int64_t examples = 0;  // samples kept
  int64_t tokens = 0;
  int64_t learnt_tokens = 0;
  int64_t longest = 0;     // tokens of the longest sample
  int64_t cut = 0;         // samples that lost tokens to the length limit
  int64_t cut_tokens = 0;  // and how many those lost
  int64_t dropped = 0;     // examples of which nothing learnt was left
  int64_t skipped = 0;     // bad rows left out (skip_bad)
  std::string first_skip;  // why the first one was
};
Json to_json(const DataStatistics& statistics);

class Dataset {
 public:
  struct Origin {
    int32_t file = 0;
    int64_t row = 0;  // of the good rows of that file, from 0
  };

  // Reads and encodes; `progress` (may be empty) is told the rows read so far, now and then.
  static Dataset load(const std::vector<DataFile>& files, const Encoder& encoder,
                      const ReadOptions& options = {},
                      const std::function<void(int64_t rows)>& progress = {});

  int64_t size() const { return static_cast<int64_t>(samples_.size()); }
  const Sample& operator[](int64_t index) const { return samples_[static_cast<size_t>(index)]; }
  Origin origin(int64_t index) const { return origins_[static_cast<size_t>(index)]; }

  // Takes examples out, drawn by the seed, into a second dataset: `amount` below 1 is a fraction,
  // from 1 on a count. At least one example stays on either side, else kInvalidArgument.
  Dataset split_off(double amount, uint64_t seed);

  int64_t epoch_size() const;
  // Indices of samples in the order of that epoch; without shuffling, in the order of the files.
  std::vector<int64_t> epoch_order(int64_t epoch, uint64_t seed, bool is_shuffled = true) const;

  std::vector<DataStatistics> statistics() const;  // a row per file
  DataStatistics total() const;
  // SHA-256 of all tokens, masks and weights: a resumed run must see the same.
  std::string fingerprint() const;

 private:
  struct Source {
    double weight = 1.0;
    DataStatistics counts;  // name, dropped, skipped: what the samples do not tell
  };
  void read_file(const DataFile& file, const Encoder& encoder, const ReadOptions& options,
                 const std::function<void(int64_t)>& progress);
  std::vector<std::vector<int64_t>> by_file() const;

  std::vector<Sample> samples_;
  std::vector<Origin> origins_;  // of samples_; ascending by file
  std::vector<Source> sources_;
};

}  // namespace moxie::data
