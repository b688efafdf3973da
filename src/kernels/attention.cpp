// The reference: one row of scores at a time, in plain loops.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/threads.h"

namespace moxie::kernels {
namespace {

struct Visible {
  int64_t begin, end;
};

template <class T>
Visible visible_keys(const AttentionShape<T>& shape, int64_t position, int64_t kv_len) {
  const int64_t end = shape.is_causal ? std::min(kv_len, position + 1) : kv_len;
  const int64_t begin = shape.window > 0 ? std::max<int64_t>(0, position - shape.window + 1) : 0;
  return {begin, end};
}

template <class T>
T dot(const T* a, const T* b, int64_t n) {
  T part[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int64_t k = 0; k < 8; ++k) part[k] += a[i + k] * b[i + k];
  }
  for (; i < n; ++i) part[0] += a[i] * b[i];
  return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

template <class T>
void add_scaled(T* into, const T* from, T factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) into[i] += factor * from[i];
}

template <class T>
T score_of(const AttentionShape<T>& shape, const T* q, const T* k) {
  const T raw = shape.scale * dot(q, k, shape.head_dim);
  return shape.softcap > 0 ? shape.softcap * std::tanh(raw / shape.softcap) : raw;
}

template <class T>
void forward_row(const AttentionShape<T>& shape, const AttentionSequence<T>& s, int64_t position,
                 int64_t head, const T* q, T* out, T* lse, std::vector<T>& scores) {
  const Visible keys = visible_keys(shape, position, s.kv_len);
  const int64_t stride = shape.kv_heads * shape.head_dim;
  const int64_t column = head / (shape.heads / shape.kv_heads) * shape.head_dim;
  T top = shape.sinks != nullptr ? shape.sinks[head] : -std::numeric_limits<T>::infinity();
  scores.resize(static_cast<size_t>(keys.end - keys.begin));
  for (int64_t j = keys.begin; j < keys.end; ++j) {
    const T score = score_of(shape, q, s.k + j * stride + column);
    scores[static_cast<size_t>(j - keys.begin)] = score;
    top = std::max(top, score);
  }
  T total = shape.sinks != nullptr ? std::exp(shape.sinks[head] - top) : T{0};
  std::fill_n(out, shape.head_dim, T{0});
  for (int64_t j = keys.begin; j < keys.end; ++j) {
    const T weight = std::exp(scores[static_cast<size_t>(j - keys.begin)] - top);
    total += weight;
    add_scaled(out, s.v + j * stride + column, weight, shape.head_dim);
  }
  for (int64_t d = 0; d < shape.head_dim; ++d) out[d] /= total;
  *lse = top + std::log(total);
}

template <class T>
void backward_head(const AttentionShape<T>& shape, const AttentionSequence<T>& s, int64_t head,
                   const T* q, const T* out, const T* lse, const T* d_out,
                   const AttentionGradients<T>& gradients, double* d_sink) {
  const int64_t d = shape.head_dim;
  const int64_t width = shape.heads * d;
  const int64_t stride = shape.kv_heads * d;
  const int64_t column = head / (shape.heads / shape.kv_heads) * d;
  for (int64_t i = 0; i < s.q_len; ++i) {
    const int64_t row = s.q_begin + i;
    const T* qi = q + row * width + head * d;
    const T* gi = d_out + row * width + head * d;
    T* dqi = gradients.dq + row * width + head * d;
    std::fill_n(dqi, d, T{0});
    const T li = lse[row * shape.heads + head];
    const T delta = dot(gi, out + row * width + head * d, d);
    if (d_sink != nullptr) *d_sink -= static_cast<double>(std::exp(shape.sinks[head] - li) * delta);
    const Visible keys = visible_keys(shape, s.kv_len - s.q_len + i, s.kv_len);
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      const T* kj = s.k + j * stride + column;
      const T score = score_of(shape, qi, kj);
      const T p = std::exp(score - li);
      T* dk = gradients.dk + (s.q_begin + j) * stride + column;
      T* dv = gradients.dv + (s.q_begin + j) * stride + column;
      add_scaled(dv, gi, p, d);
      T ds = p * (dot(gi, s.v + j * stride + column, d) - delta) * shape.scale;
      if (shape.softcap > 0) ds *= 1 - (score / shape.softcap) * (score / shape.softcap);
      add_scaled(dqi, kj, ds, d);
      add_scaled(dk, qi, ds, d);
    }
  }
}

}  // namespace

template <class T>
void attention_forward(const AttentionShape<T>& shape,
                       const std::vector<AttentionSequence<T>>& sequences, const T* q, T* out,
                       T* lse) {
  const int64_t width = shape.heads * shape.head_dim;
  for (const auto& s : sequences) {
    parallel_for(s.q_len * shape.heads, 1 + 2048 / std::max<int64_t>(1, s.kv_len),
                 [&](int64_t begin, int64_t end) {
                   std::vector<T> scores;
                   for (int64_t t = begin; t < end; ++t) {
                     const int64_t i = t / shape.heads;
                     const int64_t head = t % shape.heads;
                     const int64_t at = (s.q_begin + i) * width + head * shape.head_dim;
                     forward_row(shape, s, s.kv_len - s.q_len + i, head, q + at, out + at,
                                 lse + (s.q_begin + i) * shape.heads + head, scores);
                   }
                 });
  }
}

template <class T>
void attention_backward(const AttentionShape<T>& shape,
                        const std::vector<AttentionSequence<T>>& sequences, const T* q,
                        const T* out, const T* lse, const T* d_out,
                        const AttentionGradients<T>& gradients) {
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t stride = shape.kv_heads * shape.head_dim;
  const int64_t units = static_cast<int64_t>(sequences.size()) * shape.kv_heads;
  std::vector<double> d_sinks(sequences.size() * static_cast<size_t>(shape.heads), 0.0);
  parallel_for(units, 1, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      const auto sequence = static_cast<size_t>(u / shape.kv_heads);
      const auto& s = sequences[sequence];
      const int64_t kv_head = u % shape.kv_heads;
      for (int64_t j = 0; j < s.kv_len; ++j) {
        const int64_t at = (s.q_begin + j) * stride + kv_head * shape.head_dim;
        std::fill_n(gradients.dk + at, shape.head_dim, T{0});
        std::fill_n(gradients.dv + at, shape.head_dim, T{0});
      }
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        double* d_sink =
            gradients.dsinks == nullptr
                ? nullptr
                : &d_sinks[sequence * static_cast<size_t>(shape.heads) + static_cast<size_t>(head)];
        backward_head(shape, s, head, q, out, lse, d_out, gradients, d_sink);
      }
    }
  });
  if (gradients.dsinks == nullptr) return;
  for (size_t i = 0; i < d_sinks.size(); ++i) {
    gradients.dsinks[i % static_cast<size_t>(shape.heads)] += static_cast<T>(d_sinks[i]);
  }
}

#define MOXIE_INSTANTIATE(T)                                                                      \
  template void attention_forward<T>(const AttentionShape<T>&,                                    \
                                     const std::vector<AttentionSequence<T>>&, const T*, T*, T*); \
  template void attention_backward<T>(const AttentionShape<T>&,                                   \
                                      const std::vector<AttentionSequence<T>>&, const T*,         \
                                      const T*, const T*, const T*, const AttentionGradients<T>&);
MOXIE_INSTANTIATE(float)
MOXIE_INSTANTIATE(double)
#undef MOXIE_INSTANTIATE

}  // namespace moxie::kernels
