#include "kernels/micro_tiles_avx512.h"

namespace moxie::kernels {
namespace {

// Rows [from, from + 8) of a block, of 16 or 32 columns.
template <int kB>
void multiply_rows(const TileBlock& t, int from) {
  const auto* a =
      reinterpret_cast<const char*>(t.a + from / 16 * kTileSize + from % 16 * kTileDepth);
  const BFloat16* from_b = t.b;
  if (t.goes_on) fetch_sums<8, kB>(t, from);
  __m512 sums[8][kB];
  for (auto& row : sums) {
    for (auto& sum : row) sum = _mm512_setzero_ps();
  }
  for (int64_t p = 0; p < t.depth; ++p) {
    for (int pair = 0; pair < 16; ++pair, a += 4, from_b += 32) {
      __m512i b[kB];
      b[0] = _mm512_loadu_si512(from_b);
      if constexpr (kB > 1) b[1] = _mm512_loadu_si512(from_b + kTileSize);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        const auto row = reinterpret_cast<__m512bh>(four_bytes(a + 64 * i));
#pragma GCC unroll 2
        for (int j = 0; j < kB; ++j) {
          sums[i][j] = _mm512_dpbf16_ps(sums[i][j], row, reinterpret_cast<__m512bh>(b[j]));
        }
      }
    }
    a += 2 * 1024 - 64;
    from_b += kTileSize;
  }
  put_sums(t, from, sums);
}

void multiply(const TileBlock& t) {
  for (int i = 0; i < t.rows; i += 8) {
    t.cols > 16 ? multiply_rows<2>(t, i) : multiply_rows<1>(t, i);
  }
}

void nothing() {}

}  // namespace

const MicroTiles kMicroBF16Avx512{multiply,        along<float>,     across<float>,
                                  along<BFloat16>, across<BFloat16>, turn,
                                  nullptr,         nothing,          nothing};
const MicroTiles kMicroBF16Fma{multiply_fma,    along<float>,     across<float>,
                               along<BFloat16>, across<BFloat16>, turn,
                               nullptr,         nothing,          nothing};

}  // namespace moxie::kernels
