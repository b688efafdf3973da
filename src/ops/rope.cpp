// (a, b) -> (a cos t - b sin t, b cos t + a sin t), t = position * frequency; the gradient turns
// back.
#include "ops/rope.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "base/threads.h"
#include "ops/checks.h"

namespace moxie::ops {
namespace {

struct Attributes {
  int64_t head_dim;
  std::shared_ptr<const RopeAngles> angles;
  bool overwrites = false;  // x, which nobody else has
};

// The turns of row i. The angle is rounded as the references round it: f32 frequency times f32
// position for f32 runs.
template <class T>
void turns_of(const RopeAngles& angles, size_t i, T* cosines, T* sines) {
  for (size_t k = 0; k < angles.frequencies.size(); ++k) {
    const T t = static_cast<T>(angles.positions[i]) * static_cast<T>(angles.frequencies[k]);
    cosines[k] = static_cast<T>(std::cos(t) * static_cast<T>(angles.amplitude));
    sines[k] = static_cast<T>(std::sin(t) * static_cast<T>(angles.amplitude));
  }
}

template <class T>
void turn_row(T* row, int64_t width, int64_t head_dim, int64_t half, const T* cosines,
              const T* sines, T direction) {
  for (T* head = row; head < row + width; head += head_dim) {
    for (int64_t k = 0; k < half; ++k) {
      const T a = head[k];
      const T b = head[k + half];
      const T sine = direction * sines[k];
      head[k] = a * cosines[k] - b * sine;
      head[k + half] = b * cosines[k] + a * sine;
    }
  }
}

Tensor turn(const Tensor& x, const Attributes& attributes, double direction, bool overwrites) {
  Tensor y = overwrites ? x : Tensor::empty(x.shape(), x.dtype());
  const RopeAngles& angles = *attributes.angles;
  const auto half = angles.frequencies.size();
  dispatch_float(x.dtype(), "rope", [&](auto zero) {
    using T = decltype(zero);
    parallel_for(x.rows(), 16, [&](int64_t begin, int64_t end) {
      std::vector<T> own(angles.cosines.empty() || sizeof(T) != sizeof(float) ? 2 * half : 0);
      for (int64_t i = begin; i < end; ++i) {
        const auto row = static_cast<size_t>(i);
        const T* cosines = own.data();
        const T* sines = nullptr;
        if (!own.empty()) {
          sines = own.data() + half;
          turns_of(angles, row, own.data(), own.data() + half);
        } else if constexpr (std::is_same_v<T, float>) {
          cosines = angles.cosines.data() + row * half;
          sines = angles.sines.data() + row * half;
        }
        T* out = y.data<T>() + i * x.cols();
        if (!overwrites) std::copy_n(x.data<T>() + i * x.cols(), x.cols(), out);
        turn_row(out, x.cols(), attributes.head_dim, static_cast<int64_t>(half), cosines, sines,
                 static_cast<T>(direction));
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
  return turn(in[0], attributes, 1, attributes.overwrites);
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  return {turn(dy, attributes_of<Attributes>(call), -1, dy.sole_owner())};
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

void tabulate(RopeAngles& angles) {
  const size_t half = angles.frequencies.size();
  angles.cosines.resize(angles.positions.size() * half);
  angles.sines.resize(angles.cosines.size());
  parallel_for(static_cast<int64_t>(angles.positions.size()), 64, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      turns_of(angles, i, angles.cosines.data() + i * half, angles.sines.data() + i * half);
    }
  });
}

Tensor rope(Tensor x, int64_t head_dim, std::shared_ptr<const RopeAngles> angles) {
  return record(rope_entry, {&x, 1}, Attributes{head_dim, std::move(angles), x.sole_owner()});
}

}  // namespace moxie::ops
