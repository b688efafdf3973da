#pragma once
// Where the loop gets its samples. The order of an epoch is a pure function of the epoch, so a
// resumed run finds the same samples at the same step.
#include <cstdint>
#include <string>
#include <vector>

#include "data/sample.h"

namespace moxie::train {

class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual int64_t size() const = 0;
  virtual const data::Sample& sample(int64_t index) const = 0;
  // Indices in the order of this epoch (from 0), each below size(); every epoch has as many.
  virtual std::vector<int64_t> order(int64_t epoch) const = 0;
  // Differs when any token, mask, or the order differs. A run resumes only on equal fingerprints.
  virtual std::string fingerprint() const = 0;
};

}  // namespace moxie::train
