#include "optim/clip.h"

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "kernels/rowwise.h"

namespace moxie::optim {
namespace {

constexpr int64_t kChunk = 16384;

struct Piece {
  const float* data;
  int64_t count;
};

std::vector<Piece> pieces_of(const nn::ParamList& params) {
  std::vector<Piece> pieces;
  for (const nn::Param* param : params) {
    if (!param->is_trainable || !param->gradient.defined()) continue;
    const float* data = param->gradient.data<float>();
    const int64_t count = param->gradient.count();
    for (int64_t at = 0; at < count; at += kChunk) {
      pieces.push_back({data + at, std::min(kChunk, count - at)});
    }
  }
  return pieces;
}

}  // namespace

double gradient_norm(const nn::ParamList& params) {
  const auto pieces = pieces_of(params);
  std::vector<double> sums(pieces.size());
  parallel_for(static_cast<int64_t>(pieces.size()), 4, [&](int64_t begin, int64_t end) {
    for (auto p = static_cast<size_t>(begin); p < static_cast<size_t>(end); ++p)
      sums[p] = kernels::row_kernels<float>().square_sum(pieces[p].data, pieces[p].count);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

float clip_factor(double norm, double max_norm) {
  const double factor = max_norm / (norm + 1e-6);
  return max_norm <= 0 || !std::isfinite(norm) || factor >= 1 ? 1.0F : static_cast<float>(factor);
}

}  // namespace moxie::optim
