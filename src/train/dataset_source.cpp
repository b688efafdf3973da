#include "train/dataset_source.h"

#include <fmt/format.h>

namespace moxie::train {

std::string DatasetSource::fingerprint() const {
  return fmt::format(
      "sha256 {}, {}", dataset_.fingerprint(),
      is_shuffled_ ? fmt::format("shuffled by seed {}", seed_) : std::string("in its own order"));
}

}  // namespace moxie::train
