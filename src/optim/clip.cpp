#include "optim/clip.h"

#include <algorithm>
#include <cmath>

#include "base/threads.h"

namespace moxie::optim {
namespace {

constexpr int64_t kChunk = 16384;

struct Piece {
  float* data;
  int64_t count;
};

std::vector<Piece> pieces_of(const nn::ParamList& params) {
  std::vector<Piece> pieces;
  for (const nn::Param* param : params) {
    if (!param->is_trainable || !param->gradient.defined()) continue;
    float* data = param->gradient.data<float>();
    const int64_t count = param->gradient.count();
    for (int64_t at = 0; at < count; at += kChunk) {
      pieces.push_back({data + at, std::min(kChunk, count - at)});
    }
  }
  return pieces;
}

double norm_of(const std::vector<Piece>& pieces) {
  std::vector<double> sums(pieces.size());
  parallel_for(static_cast<int64_t>(pieces.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const Piece& piece = pieces[static_cast<size_t>(p)];
      // Four sums, which do not wait for one another.
      const auto square = [&](int64_t i) {
        return static_cast<double>(piece.data[i]) * piece.data[i];
      };
      double parts[4] = {};
      int64_t i = 0;
      for (; i + 4 <= piece.count; i += 4) {
        parts[0] += square(i);
        parts[1] += square(i + 1);
        parts[2] += square(i + 2);
        parts[3] += square(i + 3);
      }
      for (; i < piece.count; ++i) parts[0] += square(i);
      sums[static_cast<size_t>(p)] = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    }
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

}  // namespace

double gradient_norm(const nn::ParamList& params) {
  return norm_of(pieces_of(params));
}

double clip_gradients(const nn::ParamList& params, double max_norm) {
  const auto pieces = pieces_of(params);
  const double norm = norm_of(pieces);
  const double coefficient = max_norm / (norm + 1e-6);
  if (max_norm <= 0 || !std::isfinite(norm) || coefficient >= 1) return norm;
  const auto scale = static_cast<float>(coefficient);
  parallel_for(static_cast<int64_t>(pieces.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const Piece& piece = pieces[static_cast<size_t>(p)];
      for (int64_t i = 0; i < piece.count; ++i) piece.data[i] *= scale;
    }
  });
  return norm;
}

}  // namespace moxie::optim
