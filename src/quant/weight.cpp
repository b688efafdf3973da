#include "quant/weight.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/coded_panel.h"
#include "quant/int8.h"

namespace moxie::quant {

namespace {

const Named<QuantFormat>& format_of(DType dtype) {
  const auto* row = find_row(formats(), name_of(dtype));
  if (row == nullptr) {
    fail(ErrorCode::kInvalidArgument, "weight",
         "a matrix of {} cannot be a weight; convert it to f32, bf16 or f16", name_of(dtype));
  }
  return *row;
}

void round_bf16(const float* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = to_float(to_bfloat16(src[i]));
}

// What RowDecoder's callbacks see of a weight: from which byte on its rows stand, and how far
// apart.
struct Rows {
  const QuantFormat& format;
  const std::byte* at;
  int64_t stride;
};
Rows rows_of(const void* context, int64_t row, int64_t begin = 0) {
  const auto& w = *static_cast<const Weight*>(context);
  const QuantFormat& format = *w.format().entry;
  const int64_t stride = row_bytes(format, w.cols());
  return {format, w.bytes().data() + row * stride + row_bytes(format, begin), stride};
}

void decode_part(const void* context, int64_t row, int64_t begin, int64_t end, float* out) {
  const Rows rows = rows_of(context, row, begin);
  rows.format.decode(rows.at, out, end - begin);
}

void fetch_part(const void* context, int64_t row, int64_t begin, int64_t end) {
  const Rows rows = rows_of(context, row, begin);
  fetch_lines(rows.at, row_bytes(rows.format, end - begin));
}

void decode_bf16(const void* context, int64_t row, int64_t count, int64_t begin, int64_t end,
                 BFloat16* out) {
  const Rows rows = rows_of(context, row);
  rows.format.bf16->decode(rows.at, rows.stride, count, begin / kInt8Group, end / kInt8Group, out);
}

void along_bf16(const void* context, int64_t row, int64_t lines, int64_t begin, int64_t end,
                BFloat16* tiles) {
  const Rows rows = rows_of(context, row);
  rows.format.bf16->along(rows.at, rows.stride, lines, begin / kernels::kTileDepth,
                          end / kernels::kTileDepth, tiles);
}

void across_bf16(const void* context, int64_t row, int64_t count, int64_t begin, int64_t end,
                 int64_t size, BFloat16* bands) {
  const Rows rows = rows_of(context, row);
  rows.format.bf16->across(rows.at, rows.stride, count, begin / kernels::kBandLines,
                           end / kernels::kBandLines, size, bands);
}

void pack_part(const void* context, int64_t row, int64_t lines, int64_t begin, int64_t end,
               kernels::Int8TileB* tiles) {
  const Rows rows = rows_of(context, row);
  rows.format.int8->pack(rows.at, rows.stride, lines, begin / kInt8Group, end / kInt8Group, tiles);
}

void decode_rounded(const void* context, int64_t row, int64_t begin, int64_t end, float* out) {
  decode_part(context, row, begin, end, out);
  round_bf16(out, out, end - begin);
}

// Of the products that are not made of tiles.
bool rounds_to_bf16(Compute compute) {
  return compute == Compute::kBF16 || compute == Compute::kTiles8 ||
         compute == Compute::kGradients8;
}

// n rows of x as the product takes them: themselves, or rounded to bf16 in `storage`.
const float* factor(const Weight& w, const float* x, int64_t n, int64_t cols,
                    std::vector<float>& storage) {
  if (!rounds_to_bf16(w.compute_for(n)) || w.runs_packed(n)) return x;
  const int64_t count = n * cols;
  storage.resize(static_cast<size_t>(count));
  round_bf16(x, storage.data(), count);
  return storage.data();
}

kernels::PackedRows packed8(const float* x, int64_t n, int64_t cols) {
  kernels::PackedRows rows(n, cols, 0, kernels::Tiles::kInt8);
  rows.pack(x, cols, 1);
  return rows;
}

Int8Matrix int8_matrix(const Weight& w, float* y, const LowRankCopy* attached = nullptr,
                       float* inner = nullptr) {
  const QuantFormat& format = *w.format().entry;
  return {format.int8, w.bytes().data(), row_bytes(format, w.cols()), w.rows(), y, attached, inner};
}

std::vector<double> decoded_in_double(const Weight& w) {
  const Tensor values = w.decode();
  return {values.data<float>(), values.data<float>() + values.count()};
}

// Whether int8 is what AVX2 makes of it: gradients in 8 bits, and 16 where a format has no kernels.
bool is_int8_of_avx2(Compute compute) {
  return compute == Compute::kInt8 && kernels::int16_is_faster();
}

}  // namespace

kernels::Arithmetic arithmetic_of(Compute compute) {
  const bool is_bf16 = rounds_to_bf16(compute) || compute == Compute::kMixed;
  if (is_bf16 && has_bf16_tiles()) return kernels::Arithmetic::kBF16;
  const bool is_int16 = compute == Compute::kInt16 || is_int8_of_avx2(compute);
  return is_int16 ? kernels::Arithmetic::kInt16 : kernels::Arithmetic::kF32;
}

kernels::Arithmetic trainable_arithmetic_of(Compute compute) {
  if (compute == Compute::kTiles8 && kernels::int8_tiles_are_fastest())
    return kernels::Arithmetic::kTiles8;
  if (compute == Compute::kGradients8 && kernels::codes_are_fastest())
    return kernels::Arithmetic::kGradients8;
  return is_int8_of_avx2(compute) ? kernels::Arithmetic::kInt8 : arithmetic_of(compute);
}

bool keeps_bf16(Compute compute) {
  return arithmetic_of(compute) == kernels::Arithmetic::kBF16 || is_int8_of_avx2(compute);
}

Weight::Weight(const Named<QuantFormat>& format, int64_t rows, int64_t cols, const std::byte* bytes,
               std::shared_ptr<const void> owner)
    : format_(&format), rows_(rows), cols_(cols), bytes_(bytes), owner_(std::move(owner)) {
  if (cols % format->block != 0) {
    fail(ErrorCode::kInvalidArgument, "weight",
         "{} columns are not a multiple of {}'s block of {}; store this matrix in another format",
         cols, format.name, format->block);
  }
}

Compute Weight::compute_for(int64_t n) const {
  if (compute_ != Compute::kMixed) return compute_;
  const bool has_int8 = format_ != nullptr && (*format_)->int8 != nullptr;
  const bool is_few = n <= kMixedRows || kernels::is_batch_invariant();
  if (has_int8 && is_few) return Compute::kInt8;
  return has_int8 && kernels::int8_tiles_are_fastest() ? Compute::kTiles8 : Compute::kBF16;
}

bool Weight::runs_int8(int64_t n) const {
  return compute_for(n) == Compute::kInt8 && format_ != nullptr && (*format_)->int8 != nullptr;
}

Weight Weight::from_tensor(const Tensor& matrix) {
  if (matrix.shape().rank() != 2) {
    fail(ErrorCode::kInvalidArgument, "weight", "a weight is a matrix, but the tensor is {}",
         matrix.shape().to_string());
  }
  const auto& format = format_of(matrix.dtype());
  auto owner = std::make_shared<Tensor>(matrix);
  return {format, matrix.shape()[0], matrix.shape()[1], static_cast<const std::byte*>(matrix.raw()),
          std::move(owner)};
}

std::span<const std::byte> Weight::bytes() const {
  return {bytes_, static_cast<size_t>(rows_ * row_bytes(*format_->entry, cols_))};
}

void Weight::decode_row(int64_t row, float* out) const {
  const QuantFormat& format = *format_->entry;
  format.decode(bytes_ + row * row_bytes(format, cols_), out, cols_);
}

Tensor Weight::decode() const {
  Tensor out = Tensor::empty({rows_, cols_}, DType::kF32);
  float* values = out.data<float>();
  parallel_for(rows_, 1 + 65536 / (cols_ + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) decode_row(r, values + r * cols_);
  });
  return out;
}

Weight Weight::slice_rows(int64_t begin, int64_t end) const {
  if (begin < 0 || begin > end || end > rows_) {
    fail(ErrorCode::kInvalidArgument, "weight", "rows [{}, {}) are not within the {} rows", begin,
         end, rows_);
  }
  Weight slice = *this;
  slice.bytes_ += begin * row_bytes(*format_->entry, cols_);
  slice.rows_ = end - begin;
  return slice;
}

void Weight::matmul(const float* x, int64_t n, float* y, bool accumulate) const {
  if (runs_int8(n)) {
    const Int8Matrix matrix = int8_matrix(*this, y);
    return int8_matmul({&matrix, 1}, cols_, x, n, accumulate);
  }
  if (runs_packed(n) && tiles(n) == kernels::Tiles::kInt8)
    return matmul(packed8(x, n, cols_), y, nullptr, accumulate);
  std::vector<float> storage;
  x = factor(*this, x, n, cols_, storage);
  kernels::gemm_nt(n, rows_, cols_, x, decoder(n), y, accumulate, arithmetic_of(compute_for(n)));
}

bool Weight::runs_packed(int64_t n) const {
  return rounds_to_bf16(compute_for(n)) && has_bf16_tiles() &&
         (n > kernels::kFewRows || kernels::is_batch_invariant());
}

kernels::Tiles Weight::tiles(int64_t n) const {
  return compute_for(n) == Compute::kTiles8 ? kernels::Tiles::kInt8 : kernels::Tiles::kBF16;
}

bool Weight::runs_integers(int64_t n) const {
  return arithmetic_of(compute_for(n)) == kernels::Arithmetic::kInt16 &&
         (runs_int8(n) || n > kernels::kFewRows || kernels::is_batch_invariant());
}

void Weight::matmul(const kernels::PackedRows& x, float* y, const float* thin,
                    bool accumulate) const {
  kernels::multiply_nt(x, rows_, decoder(x.rows()), thin, y, accumulate);
}

void Weight::matmul_transposed(const kernels::PackedRows& dy, float* dx, const float* thin,
                               bool accumulate) const {
  const kernels::RowDecoder rows = decoder(dy.rows());
  if (gradients_are_codes(dy.rows()))
    return kernels::multiply_nn_codes(dy, cols_, rows, thin, dx, accumulate);
  kernels::multiply_nn(dy, cols_, rows, thin, dx, accumulate);
}

bool Weight::gradients_are_codes(int64_t n) const {
  return compute_ == Compute::kGradients8 && !has_fine_gradients_ && runs_packed(n) &&
         kernels::takes_codes(n);
}

// Formats of plain values are named as their type, and can be multiplied with as they stand where
// they are aligned to it and compute rounds none of them.
kernels::RowDecoder Weight::decoder(int64_t n) const {
  const bool is_bf16 = rounds_to_bf16(compute_for(n));
  const bool rounds = is_bf16 && !runs_packed(n);
  kernels::RowDecoder rows{this, rounds ? decode_rounded : decode_part, format()->block};
  rows.fetch = fetch_part;
  if (format()->bf16 != nullptr && runs_packed(n)) {
    rows.decode_bf16 = decode_bf16;
    rows.along_bf16 = along_bf16;
    rows.across_bf16 = across_bf16;
  }
  // Training takes the tiles of rounded numbers, which are multiplied faster.
  const bool packs_codes = compute_ == Compute::kMixed && tiles(n) == kernels::Tiles::kInt8;
  if (packs_codes && format()->int8->pack != nullptr) rows.pack_int8 = pack_part;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const bool is_exact = !is_bf16 || dtype == DType::kBF16;
    const auto address = reinterpret_cast<uintptr_t>(bytes().data());
    if (format().name != name_of(dtype) || !is_exact || address % size_of(dtype) != 0) continue;
    rows.values = bytes().data();
    rows.dtype = dtype;
  }
  return rows;
}

void Weight::matmul_together(std::span<const Product> products, const float* x, int64_t n) {
  // Those that run in tiles like the first's share the packing of x.
  const kernels::Tiles kind = products[0].weight.tiles(n);
  const auto runs_packed = [n, kind](const Product& product) {
    return product.weight.runs_packed(n) && product.weight.tiles(n) == kind;
  };
  std::optional<kernels::PackedRows> packed;
  if (std::count_if(products.begin(), products.end(), runs_packed) > 1) {
    packed.emplace(n, products[0].weight.cols_, 0, kind);
    packed->pack(x, packed->cols(), 1);
  }
  std::vector<Int8Matrix> together;
  together.reserve(products.size());
  for (const Product& product : products) {
    MOXIE_ASSERT(product.weight.cols_ == products[0].weight.cols_);
    if (product.weight.runs_int8(n)) {
      together.push_back(int8_matrix(product.weight, product.y, product.attached, product.inner));
    } else {
      MOXIE_ASSERT(product.attached == nullptr);
      if (packed && runs_packed(product)) {
        product.weight.matmul(*packed, product.y);
      } else {
        product.weight.matmul(x, n, product.y);
      }
    }
  }
  if (!together.empty()) int8_matmul(together, products[0].weight.cols_, x, n, false);
}

ProductInParts::ProductInParts(const Weight& weight, const float* x, int64_t n)
    : weight_(weight), x_(x) {
  if (!weight.runs_int8(n)) return;
  memory_.resize(static_cast<size_t>(floats_of_rows(n, weight.cols())));
  rows_ = rows_in(memory_.data(), n, weight.cols());
  quantise_all(x, rows_);
}

void ProductInParts::make(int64_t i0, int64_t i1, int64_t j0, int64_t j1, float* y) const {
  const Weight part = weight_.slice_rows(j0, j1);
  if (rows_.count == 0) return part.matmul(x_ + i0 * part.cols(), i1 - i0, y);
  const Int8Matrix matrix = int8_matrix(part, y);
  matrix.kernels->multiply({matrix.bytes, matrix.stride, rows_.part(i0, i1), y, matrix.rows, false},
                           0, matrix.rows);
}

void Weight::matmul_transposed(const float* dy, int64_t n, float* dx, bool accumulate) const {
  if (runs_packed(n) && tiles(n) == kernels::Tiles::kInt8)
    return matmul_transposed(packed8(dy, n, rows_), dx, nullptr, accumulate);
  std::vector<float> storage;
  dy = factor(*this, dy, n, rows_, storage);
  const auto arithmetic =
      gradients_are_int8(n) ? kernels::Arithmetic::kInt8 : arithmetic_of(compute_for(n));
  kernels::gemm_nn(n, cols_, rows_, dy, decoder(n), dx, accumulate, arithmetic);
}

bool Weight::gradients_are_int8(int64_t n) const {
  return is_int8_of_avx2(compute_for(n)) && !has_fine_gradients_;
}

Weight Weight::with_fine_gradients() const {
  Weight fine = *this;
  fine.has_fine_gradients_ = true;
  return fine;
}

void Weight::matmul_transposed(const float* dy, int64_t n, const kernels::ThinTerm& thin, float* dx,
                               bool accumulate) const {
  MOXIE_ASSERT(gradients_are_int8(n));
  kernels::gemm_nn_int8(n, cols_, rows_, dy, decoder(n), thin, dx, accumulate);
}

kernels::Arithmetic Weight::softmax_arithmetic() const {
  const bool is_int8 = is_int8_of_avx2(compute_) && !has_fine_gradients_;
  return is_int8 ? kernels::Arithmetic::kInt8 : kernels::Arithmetic::kInt16;
}

void Weight::matmul_transposed(const kernels::RoundedRows& dy, float* dx) const {
  kernels::multiply_nn(dy, cols_, decoder(dy.rows()), dx);
}

void Weight::matmul(const double* x, int64_t n, double* y, bool accumulate) const {
  kernels::gemm_nt(n, rows_, cols_, x, decoded_in_double(*this).data(), y, accumulate);
}

void Weight::matmul_transposed(const double* dy, int64_t n, double* dx, bool accumulate) const {
  kernels::gemm_nn(n, cols_, rows_, dy, decoded_in_double(*this).data(), dx, accumulate);
}

}  // namespace moxie::quant
