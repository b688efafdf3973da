// (a, b) -> (a cos t - b sin t, b cos t + a sin t), t = position * frequency; the gradient turns
// back.
#include "ops/rope.h"

#include <cmath>

#include "base/threads.h"
#include "ops/checks.h"

namespace moxie::ops {
namespace {

struct Attributes {
  int64_t head_dim;
  std::shared_ptr<const RopeAngles> angles;
};

Tensor turn(const Tensor& x, const Attributes& attributes, double direction) {
  Tensor y = x.clone();
  const RopeAngles& angles = *attributes.angles;
  const int64_t half = static_cast<int64_t>(angles.frequencies.size());
  const int64_t width = x.cols();
  dispatch_float(x.dtype(), "rope", [&](auto zero) {
    using T = decltype(zero);
    parallel_for(x.rows(), 16, [&](int64_t begin, int64_t end) {
      std::vector<T> cosines(static_cast<size_t>(half));
      std::vector<T> sines(static_cast<size_t>(half));
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t k = 0; k < half; ++k) {
          const auto at = static_cast<size_t>(k);
          // The angle as the references round it: f32 frequency times f32 position for f32 runs.
          const T t = static_cast<T>(angles.positions[static_cast<size_t>(i)]) *
                      static_cast<T>(angles.frequencies[at]);
          cosines[at] = static_cast<T>(std::cos(t) * static_cast<T>(angles.amplitude));
          sines[at] = static_cast<T>(std::sin(t) * static_cast<T>(angles.amplitude * direction));
        }
        for (T* head = y.data<T>() + i * width; head < y.data<T>() + (i + 1) * width;
             head += attributes.head_dim) {
          for (int64_t k = 0; k < half; ++k) {
            const T a = head[k];
            const T b = head[k + half];
            head[k] = a * cosines[static_cast<size_t>(k)] - b * sines[static_cast<size_t>(k)];
            head[k + half] =
                b * cosines[static_cast<size_t>(k)] + a * sines[static_cast<size_t>(k)];
          }
        }
      }
    });
  });
  return y;
}

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("rope", in[0]);
  const auto& attributes = attributes_of<Attributes>(call);
  const int64_t rotated = 2 * static_cast<int64_t>(attributes.angles->frequencies.size());
  if (in[0].cols() % attributes.head_dim != 0 || rotated > attributes.head_dim ||
      static_cast<int64_t>(attributes.angles->positions.size()) != in[0].rows()) {
    fail(ErrorCode::kInvalidArgument, "rope",
         "{} with heads of {}, {} rotated and {} positions does not fit", in[0].shape().to_string(),
         attributes.head_dim, rotated, attributes.angles->positions.size());
  }
  return turn(in[0], attributes, 1);
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  return {turn(dy, attributes_of<Attributes>(call), -1)};
}

std::vector<Sample> samples(Rng& rng) {
  const auto whole = std::make_shared<RopeAngles>(RopeAngles{{0, 1, 5}, {1.0, 0.1, 0.01}, 1});
  const auto partial = std::make_shared<RopeAngles>(RopeAngles{{3, 4}, {1.0}, 1.2});
  return {
      {"whole heads", {random_normal(rng, {3, 12})}, Attributes{6, whole}, {true}},
      {"part of a head, amplitude", {random_normal(rng, {2, 8})}, Attributes{4, partial}, {true}}};
}

}  // namespace

extern const OpDef rope_entry;
const OpDef rope_entry{"rotary position embedding", forward, backward, nullptr, samples};

Tensor rope(const Tensor& x, int64_t head_dim, std::shared_ptr<const RopeAngles> angles) {
  return record(rope_entry, {&x, 1}, Attributes{head_dim, std::move(angles)});
}

}  // namespace moxie::ops
