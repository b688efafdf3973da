#pragma once
// What LDTILECFG reads (Intel, "Intel Architecture Instruction Set Extensions", palette 1): of each
// of AMX's eight tiles, how many rows of how many bytes it has. Not to be a local: GCC's intrinsic
// declares to read its first 8 bytes alone.
#include <cstdint>

namespace moxie::kernels {

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

}  // namespace moxie::kernels
