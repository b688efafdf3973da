#include "kernels/onednn.h"

#include <omp.h>

#include <dnnl.hpp>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "tensor/dtype.h"

namespace moxie::kernels {
namespace {

using Descriptor = dnnl::memory::desc;
using dnnl::matmul;

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

matmul::primitive_desc describe(const Descriptor& a, const Descriptor& b, const Descriptor& c,
                                bool accumulate) {
  dnnl::primitive_attr attributes;
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  return {engine(), a, b, c, attributes};
#else
  return {matmul::desc(a, b, c), attributes, engine()};
#endif
}

void round_to_bf16(const float* from, int64_t count, BFloat16* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = to_bfloat16(from[i]);
}

// oneDNN's calls throw its own exception; ours says which product it was. Its threads are not ours,
// but as many.
template <class F>
auto translated(int64_t k, int64_t n, F&& f) {
  omp_set_num_threads(thread_count());
  try {
    return f();
  } catch (const dnnl::error& error) {
    fail(ErrorCode::kUnsupported, "onednn",
         "no product with a matrix of {} x {} ({}); run with --dtype f32", k, n, error.message);
  }
}

constexpr int64_t kTypicalRows = 256;  // the packed layout is chosen for about this many

}  // namespace

struct PackedMatrix::Impl {
  int64_t k, n;
  dnnl::memory::data_type type;
  dnnl::memory packed;
  mutable std::mutex guard;
  mutable std::map<std::pair<int64_t, bool>, matmul> plans;  // by rows and accumulate

  Descriptor rows_of(int64_t m, int64_t width, dnnl::memory::data_type of) const {
    return {{m, width}, of, dnnl::memory::format_tag::ab};
  }
  Descriptor left(int64_t m) const { return rows_of(m, k, type); }
  Descriptor result(int64_t m) const { return rows_of(m, n, dnnl::memory::data_type::f32); }

  matmul plan(int64_t m, bool accumulate) const {
    const std::lock_guard<std::mutex> lock(guard);
    auto found = plans.find({m, accumulate});
    if (found == plans.end()) {
      if (plans.size() >= 64) plans.clear();  // ragged batches have many sizes; oneDNN caches too
      matmul made(describe(left(m), packed.get_desc(), result(m), accumulate));
      found = plans.emplace(std::pair{m, accumulate}, std::move(made)).first;
    }
    return found->second;
  }

  void pack(const RowDecoder& w, bool is_transposed) {
    const int64_t rows = is_transposed ? n : k;
    const int64_t cols = is_transposed ? k : n;
    const bool is_bf16 = type == dnnl::memory::data_type::bf16;
    std::vector<float> plain(static_cast<size_t>(is_bf16 ? 0 : rows * cols));
    std::vector<BFloat16> rounded(static_cast<size_t>(is_bf16 ? rows * cols : 0));
    parallel_for(rows, 16, [&](int64_t begin, int64_t end) {
      std::vector<float> row(static_cast<size_t>(cols));
      for (int64_t r = begin; r < end; ++r) {
        float* values = is_bf16 ? row.data() : plain.data() + r * cols;
        w.decode(w.context, r, 0, cols, values);
        if (is_bf16) round_to_bf16(values, cols, rounded.data() + r * cols);
      }
    });
    void* source = is_bf16 ? static_cast<void*>(rounded.data()) : static_cast<void*>(plain.data());
    const dnnl::memory::dims strides =
        is_transposed ? dnnl::memory::dims{1, cols} : dnnl::memory::dims{cols, 1};
    dnnl::memory unpacked(Descriptor({k, n}, type, strides), engine(), source);
    const Descriptor any({k, n}, type, dnnl::memory::format_tag::any);
    const auto typical = describe(left(kTypicalRows), any, result(kTypicalRows), false);
    packed = dnnl::memory(typical.weights_desc(), engine());
    dnnl::stream stream(engine());
    dnnl::reorder(unpacked, packed).execute(stream, unpacked, packed);
    stream.wait();
  }
};

PackedMatrix::PackedMatrix(int64_t k, int64_t n, const RowDecoder& w, bool is_transposed, Type type)
    : impl_(std::make_unique<Impl>()) {
  impl_->k = k;
  impl_->n = n;
  impl_->type = type == Type::kBF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
  translated(k, n, [&] { impl_->pack(w, is_transposed); });
}

PackedMatrix::~PackedMatrix() = default;

size_t PackedMatrix::bytes() const {
  return impl_->packed.get_desc().get_size();
}

void PackedMatrix::multiply(const float* a, int64_t m, float* c, bool accumulate) const {
  if (m == 0) return;
  translated(impl_->k, impl_->n, [&] {
    std::vector<BFloat16> rounded;
    void* source = const_cast<float*>(a);  // oneDNN takes inputs by pointer to non-const
    if (impl_->type == dnnl::memory::data_type::bf16) {
      rounded.resize(static_cast<size_t>(m * impl_->k));
      parallel_for(m, 16, [&](int64_t begin, int64_t end) {
        const int64_t at = begin * impl_->k;
        round_to_bf16(a + at, (end - begin) * impl_->k, rounded.data() + at);
      });
      source = rounded.data();
    }
    const matmul product = impl_->plan(m, accumulate);
    dnnl::stream stream(engine());
    product.execute(stream, {{DNNL_ARG_SRC, dnnl::memory(impl_->left(m), engine(), source)},
                             {DNNL_ARG_WEIGHTS, impl_->packed},
                             {DNNL_ARG_DST, dnnl::memory(impl_->result(m), engine(), c)}});
    stream.wait();
  });
}

}  // namespace moxie::kernels
