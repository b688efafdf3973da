#pragma once
// A data set as the loop reads it, in the order of a seed.
#include "data/dataset.h"
#include "train/sample_source.h"

namespace moxie::train {

class DatasetSource : public SampleSource {
 public:
  // The data set must outlive it.
  DatasetSource(const data::Dataset& dataset, uint64_t seed, bool is_shuffled)
      : dataset_(dataset), seed_(seed), is_shuffled_(is_shuffled) {}
  int64_t size() const override { return dataset_.size(); }
  const data::Sample& sample(int64_t index) const override { return dataset_[index]; }
  std::vector<int64_t> order(int64_t epoch) const override {
    return dataset_.epoch_order(epoch, seed_, is_shuffled_);
  }
  // Readable, since a refused resume shows it: "sha256 12ab..., shuffled by seed 7".
  std::string fingerprint() const override;

 private:
  const data::Dataset& dataset_;
  uint64_t seed_;
  bool is_shuffled_;
};

}  // namespace moxie::train
