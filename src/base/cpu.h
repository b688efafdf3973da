#pragma once
// What this CPU can do, read once. MOXIE_ISA=scalar|avx2|avx512_vnni|avx512 in the environment
// lowers it (for tests and comparison), avx512 by taking AMX away and avx512_vnni BF16 as well, as
// an Ice Lake has it; nothing raises it.
#include <cstdint>
#include <string>

namespace moxie {

enum class Isa { kScalar = 0, kAvx2 = 1, kAvx512 = 2 };  // kAvx2 implies FMA and F16C

struct Cpu {
  std::string model;
  int cores = 1;
  bool is_intel = false;
  bool avx2 = false, fma = false, f16c = false;
  bool avx512 = false;  // F, BW, DQ, VL
  bool avx512_bf16 = false, avx512_vnni = false, avx_vnni = false;
  bool amx_bf16 = false, amx_int8 = false;
};

const Cpu& cpu();  // the hardware, whatever the environment says
Isa active_isa();  // the best level that is built in, present and allowed
std::string to_string(Isa isa);
bool has_avx512_vnni();     // dot products of 8- and 16-bit integers in 512 bits
bool has_bf16_tiles();      // many rows go in tiles of bf16, with half the memory of f32
bool bf16_runs_on_fma();    // these: without AMX, and no AVX-512 BF16 or Intel's, which is slower
bool amx_is_active();       // bf16 runs on AMX's tiles
bool amx_int8_is_active();  // and so do 8-bit integers, beside AVX-512 VNNI

// AVX-512 BF16 is there and allowed: set before main() begins.
extern const bool kHasAvx512BF16;

}  // namespace moxie
