// Which examples make a step, and which of them are computed together.
#include <algorithm>

#include "base/error.h"
#include "data/dataset.h"

namespace moxie::data {

BatchOrder::BatchOrder(const Dataset& dataset, int64_t batch_size, uint64_t seed, bool is_shuffled)
    : dataset_(&dataset),
      batch_size_(batch_size),
      steps_per_epoch_(0),
      seed_(seed),
      is_shuffled_(is_shuffled) {
  if (batch_size < 1) {
    fail(ErrorCode::kInvalidArgument, "data", "batch size {} is below 1; choose 1 or more",
         batch_size);
  }
  steps_per_epoch_ = (dataset.epoch_size() + batch_size - 1) / batch_size;
}

std::span<const int64_t> BatchOrder::batch(int64_t step) {
  const int64_t epoch = step / steps_per_epoch_;
  if (epoch != epoch_) {
    order_ = dataset_->epoch_order(epoch, seed_, is_shuffled_);
    epoch_ = epoch;
  }
  const int64_t begin = (step % steps_per_epoch_) * batch_size_;
  const int64_t size = std::min(batch_size_, static_cast<int64_t>(order_.size()) - begin);
  return std::span<const int64_t>(order_).subspan(static_cast<size_t>(begin),
                                                  static_cast<size_t>(size));
}

std::vector<std::vector<int64_t>> plan_micro_batches(const Dataset& dataset,
                                                     std::span<const int64_t> batch,
                                                     int64_t max_tokens) {
  const auto length = [&](size_t place) {
    return static_cast<int64_t>(dataset[batch[place]].tokens.size());
  };
  std::vector<size_t> places(batch.size());
  for (size_t i = 0; i < places.size(); ++i) places[i] = i;
  std::stable_sort(places.begin(), places.end(),
                   [&](size_t a, size_t b) { return length(a) > length(b); });
  struct Bin {
    std::vector<size_t> places;
    int64_t room;
  };
  std::vector<Bin> bins;
  for (const size_t place : places) {
    const auto fit = std::find_if(bins.begin(), bins.end(),
                                  [&](const Bin& bin) { return bin.room >= length(place); });
    Bin& bin = fit != bins.end() ? *fit : bins.emplace_back(Bin{{}, max_tokens});
    bin.places.push_back(place);
    bin.room -= length(place);
  }
  std::vector<std::vector<int64_t>> plan;
  for (Bin& bin : bins) {
    std::sort(bin.places.begin(), bin.places.end());
    auto& indices = plan.emplace_back();
    for (const size_t place : bin.places) indices.push_back(batch[place]);
  }
  return plan;
}

}  // namespace moxie::data
