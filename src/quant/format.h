#pragma once
// A storage format of weights: how `block` consecutive elements of a row become `bytes` bytes.
// f32, f16 and bf16 are formats too, with a block of one, so that whatever stands in a file has one
// description. One file a format, listed in quant.list. Layouts follow GGUF (ggml-common.h of
// llama.cpp is the field's definition); every row of a matrix starts on a block boundary.
#include <cstddef>
#include <cstdint>

#include "base/registry.h"
#include "tensor/dtype.h"

namespace moxie::quant {

struct Int8Kernels;  // int8.h

// decode, rounded to bf16, for CPUs where has_bf16_tiles(): groups [begin, end) of 32 columns of
// rows that stand `stride` bytes apart, in their order or as tiles of a right matrix
// (kernels/micro_tiles.h). Each asks for the same of as many rows further on.
struct TilesBF16 {
  // `count` rows, one after another.
  void (*decode)(const std::byte* rows, int64_t stride, int64_t count, int64_t begin, int64_t end,
                 BFloat16* dst) noexcept;
  // `lines` <= 16 rows as lines along their columns: tiles two apart.
  void (*along)(const std::byte* rows, int64_t stride, int64_t lines, int64_t begin, int64_t end,
                BFloat16* tiles) noexcept;
  // The columns of `count` <= 32 rows as lines: each group gives two tiles, `size` numbers apart.
  void (*across)(const std::byte* rows, int64_t stride, int64_t count, int64_t begin, int64_t end,
                 int64_t size, BFloat16* bands) noexcept;
};

struct QuantFormat {
  const char* summary;  // one line for tables and docs
  int block;            // elements a block
  int bytes;            // bytes a block
  int gguf_type;        // GGUF tensor type number (q4_1 = 3)
  double max_rmse;      // promised: rmse of decode(encode(x)) over rms(x), x ~ N(0, 1); 0 = exact
  bool is_writable;     // encode exists
  // Decodes n elements (a multiple of block) from src. Exact: the value the format defines, in f32.
  void (*decode)(const std::byte* src, float* dst, int64_t n) noexcept;
  // Encodes n elements (a multiple of block); null when not writable.
  void (*encode)(const float* src, std::byte* dst, int64_t n) noexcept;
  // Products with activations rounded to 8 bits; null: this format has none.
  const Int8Kernels* int8 = nullptr;
  const TilesBF16* bf16 = nullptr;  // null: this format has none
};

Table<QuantFormat> formats();
const Named<QuantFormat>* find_format(int gguf_type);  // null when unknown

// Bytes of one row of `cols` elements; cols must be a multiple of the block.
inline int64_t row_bytes(const QuantFormat& format, int64_t cols) {
  return cols / format.block * format.bytes;
}

}  // namespace moxie::quant
