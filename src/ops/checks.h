#pragma once
// Checks and helpers that several ops share. Messages open with the op's name.
#include <string_view>

#include "base/rng.h"
#include "ops/tape.h"

namespace moxie::ops {

void check_float(std::string_view op, const Tensor& x);                    // f32 or f64
void check_same(std::string_view op, const Tensor& a, const Tensor& b);    // shape and type
void check_vector(std::string_view op, const Tensor& w, const Tensor& x);  // w is [x.cols()]
void check_ids(std::string_view op, const std::vector<int64_t>& ids, int64_t bound);

Tensor random_normal(Rng& rng, Shape shape, double deviation = 1.0);  // f64, for samples

template <class A>
const A& attributes_of(const Call& call) {
  return *std::any_cast<A>(&call.attributes);
}

// Elementwise loops are split over threads in pieces of this many elements.
constexpr int64_t kElementGrain = 16384;

}  // namespace moxie::ops
