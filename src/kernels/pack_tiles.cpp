#include <algorithm>
#include <type_traits>

#include "base/error.h"
#include "kernels/gemm_parts.h"
#include "kernels/packed_rows.h"
#include "kernels/scratch.h"

// The right matrix of products of tiles, from wherever it comes into bands.
namespace moxie::kernels {
namespace {

void along(Tiles kind, const float* src, int64_t ld, int64_t lines, int64_t k, BFloat16* band) {
  micro_tiles(kind).along(src, ld, lines, k, Side::kB, band);
}
void along(Tiles kind, const BFloat16* src, int64_t ld, int64_t lines, int64_t k, BFloat16* band) {
  micro_tiles(kind).along_bf16(src, ld, lines, k, Side::kB, band);
}
void across(Tiles kind, const float* src, int64_t ld, int64_t lines, int64_t k, BFloat16* band) {
  micro_tiles(kind).across(src, ld, lines, k, Side::kB, band);
}
void across(Tiles kind, const BFloat16* src, int64_t ld, int64_t lines, int64_t k, BFloat16* band) {
  micro_tiles(kind).across_bf16(src, ld, lines, k, Side::kB, band);
}

// Columns [begin, end) of `count` rows, of which there are some up to `stop`.
void decode(const RowDecoder& b, int64_t row, int64_t count, int64_t stop, int64_t begin,
            int64_t end, float* out) {
  for (int64_t i = 0; i < count; ++i)
    decode_row(b, row + i, stop, begin, end, out + i * (end - begin));
}
void decode(const RowDecoder& b, int64_t row, int64_t count, int64_t /*stop*/, int64_t begin,
            int64_t end, BFloat16* out) {
  b.decode_bf16(b.context, row, count, begin, end, out);
}

// Columns [j0, j1) of B in [k0, k1) as bands `size` numbers apart, where it is given by rows of n:
// T says in what. `rows`: where it stands so, null where it is decoded.
template <class T>
void pack_rows(const Source& b, Tiles kind, const T* rows, int64_t k0, int64_t k1, int64_t j0,
               int64_t j1, int64_t size, BFloat16* band) {
  const int64_t depth = k1 - k0;
  const bool decodes = rows == nullptr;
  auto* buffer = reinterpret_cast<T*>(
      scratch(Scratch::kRows, decodes ? static_cast<size_t>(kLines * depth) : 0));
  for (int64_t j = j0; j < j1; j += kBandLines, band += size) {
    const int64_t count = std::min(kBandLines, j1 - j);
    if (!decodes) {
      along(kind, rows + j * b.ld + k0, b.ld, count, depth, band);
      continue;
    }
    for (int64_t first = 0; first < count; first += kLines) {
      const int64_t lines = std::min(kLines, count - first);
      decode(*b.decoder, j + first, lines, j1, k0, k1, buffer);
      along(kind, buffer, depth, lines, depth, band + first / kLines * tile_size(kind));
    }
  }
}

// The same of a B that is given by rows of k: as many at a time as share scales, and of those that
// are decoded to bf16 32 columns, which are in L1 until they are packed.
template <class T>
void pack_columns(const Source& b, Tiles kind, const T* rows, int64_t k0, int64_t k1, int64_t j0,
                  int64_t j1, int64_t size, BFloat16* bands) {
  const bool decodes = rows == nullptr;
  const int64_t step = is_int8(kind) ? kInt8Block : kTileDepth;
  const int64_t wide = decodes && std::is_same_v<T, BFloat16> ? kBandLines : j1 - j0;
  auto* buffer =
      reinterpret_cast<T*>(scratch(Scratch::kRows, decodes ? static_cast<size_t>(step * wide) : 0));
  for (int64_t p = k0; p < k1; p += step, bands += step / kTileDepth * pair_size(kind)) {
    const int64_t depth = std::min(step, k1 - p);
    for (int64_t from = j0; from < j1; from += wide) {
      const int64_t to = std::min(j1, from + wide);
      if (decodes) decode(*b.decoder, p, depth, k1, from, to, buffer);
      const T* block = decodes ? buffer : rows + p * b.ld + from;
      for (int64_t j = from; j < to; j += kBandLines) {
        across(kind, block + (j - from), decodes ? to - from : b.ld, std::min(kBandLines, to - j),
               depth, bands + (j - j0) / kBandLines * size);
      }
    }
  }
}

// The same of rows of k that are packed.
void turn_rows(const PackedRows& b, int64_t k0, int64_t k1, int64_t j0, int64_t j1, int64_t size,
               BFloat16* bands) {
  for (int64_t p = k0; p < k1; p += kTileDepth, bands += kTilePair) {
    const BFloat16* tiles = b.band(p / kTileDepth) + j0 / kBandLines * pair_size(b.kind());
    for (int64_t j = j0; j < j1; j += kBandLines, tiles += pair_size(b.kind()))
      micro_tiles(b.kind()).turn(tiles, bands + (j - j0) / kBandLines * size);
  }
}

// Whether a decoder has tiles of such numbers itself.
bool packs_itself(const RowDecoder& b, Tiles kind, bool is_transposed) {
  if (kind == Tiles::kBF16) return b.along_bf16 != nullptr;
  return kind == Tiles::kInt8 && is_transposed && b.pack_int8 != nullptr;
}

// The same by what a decoder has for such tiles.
void pack_decoded(const RowDecoder& b, Tiles kind, bool is_transposed, int64_t k0, int64_t k1,
                  int64_t j0, int64_t j1, int64_t size, BFloat16* bands) {
  if (!is_transposed) {
    for (int64_t p = k0; p < k1; p += kTileDepth, bands += kTilePair)
      b.across_bf16(b.context, p, std::min(kTileDepth, k1 - p), j0, j1, size, bands);
    return;
  }
  for (int64_t j = j0; j < j1; j += kLines) {
    const int64_t lines = std::min(kLines, j1 - j);
    BFloat16* to =
        bands + (j - j0) / kBandLines * size + (j - j0) % kBandLines / kLines * tile_size(kind);
    if (kind == Tiles::kBF16) {
      b.along_bf16(b.context, j, lines, k0, k1, to);
    } else {
      b.pack_int8(b.context, j, lines, k0, k1, reinterpret_cast<Int8TileB*>(to));
    }
  }
}

}  // namespace

void pack_tiles(const Source& b, Tiles kind, int64_t k0, int64_t k1, int64_t j0, int64_t j1,
                int64_t size, BFloat16* bands) {
  if (b.turned != nullptr) {
    MOXIE_ASSERT(kind == Tiles::kBF16);
    return turn_rows(*b.turned, k0, k1, j0, j1, size, bands);
  }
  if (b.decoder != nullptr && packs_itself(*b.decoder, kind, b.is_transposed))
    return pack_decoded(*b.decoder, kind, b.is_transposed, k0, k1, j0, j1, size, bands);
  const auto run = [&](const auto* rows) {
    if (b.is_transposed) return pack_rows(b, kind, rows, k0, k1, j0, j1, size, bands);
    pack_columns(b, kind, rows, k0, k1, j0, j1, size, bands);
  };
  if (b.decoder == nullptr) return run(b.dense);
  const bool stands_so = b.decoder->values != nullptr && b.decoder->dtype == DType::kBF16;
  if (stands_so) return run(static_cast<const BFloat16*>(b.decoder->values));
  if (b.decoder->decode_bf16 != nullptr) return run(static_cast<const BFloat16*>(nullptr));
  run(static_cast<const float*>(nullptr));
}

void pack_thin(const Source& b, const float* thin, Tiles kind, int64_t spare, int64_t n, int64_t j0,
               int64_t j1, int64_t size, BFloat16* bands) {
  if (thin == nullptr) return;
  const Source source{
      .dense = thin, .is_transposed = b.is_transposed, .ld = b.is_transposed ? spare : n};
  pack_tiles(source, kind, 0, spare, j0, j1, size, bands);
}

}  // namespace moxie::kernels
