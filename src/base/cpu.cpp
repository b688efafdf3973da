#include "base/cpu.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace moxie {
namespace {

bool bit(unsigned word, int index) {
  return (word >> index & 1u) != 0;
}

uint64_t enabled_state() {  // XCR0: what the operating system saves and restores
  unsigned low = 0;
  unsigned high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

// Linux gives a process the tiles' registers when it asks for them (arch_prctl,
// ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA).
bool tiles_are_granted() {
  return ::syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}

Cpu detect() {
  Cpu found;
  found.cores = static_cast<int>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(0x80000004u, &a, &b, &c, &d) != 0) {
    char brand[49] = {};
    for (unsigned leaf = 0; leaf < 3; ++leaf) {
      __get_cpuid(0x80000002u + leaf, &a, &b, &c, &d);
      const unsigned words[4] = {a, b, c, d};
      std::memcpy(brand + 16 * leaf, words, 16);
    }
    found.model = brand;
  }
  found.is_intel = __get_cpuid(0, &a, &b, &c, &d) != 0 && b == signature_INTEL_ebx;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || !bit(c, 27)) return found;
  const uint64_t state = enabled_state();
  const bool ymm = (state & 0x6) == 0x6;
  const bool zmm = (state & 0xE6) == 0xE6;
  bool tiles = (state & 0x60000) == 0x60000;
  found.fma = ymm && bit(c, 12);
  found.f16c = ymm && bit(c, 29);
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  const unsigned leaves = a;
  found.avx2 = ymm && bit(b, 5);
  found.avx512 = zmm && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
  found.avx512_vnni = found.avx512 && bit(c, 11);
  tiles = tiles && bit(d, 24) && tiles_are_granted();
  found.amx_bf16 = tiles && bit(d, 22);
  found.amx_int8 = tiles && bit(d, 25);
  if (leaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
    found.avx512_bf16 = found.avx512 && bit(a, 5);
    found.avx_vnni = ymm && bit(a, 4);
  }
  return found;
}

std::string_view wished_isa() {
  const char* wish = std::getenv("MOXIE_ISA");
  return wish != nullptr ? wish : "";
}

Isa choose() {
#ifdef MOXIE_SCALAR_ONLY
  return Isa::kScalar;
#else
  Isa best = Isa::kScalar;
  if (cpu().avx2 && cpu().fma && cpu().f16c) best = Isa::kAvx2;
  if (best == Isa::kAvx2 && cpu().avx512) best = Isa::kAvx512;
  if (wished_isa() == "scalar") return Isa::kScalar;
  if (wished_isa() == "avx2") return std::min(best, Isa::kAvx2);
  return best;
#endif
}

}  // namespace

const Cpu& cpu() {
  static const Cpu found = detect();
  return found;
}

Isa active_isa() {
  static const Isa chosen = choose();
  return chosen;
}

std::string to_string(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "scalar";
}

const bool kHasAvx512BF16 =
    active_isa() == Isa::kAvx512 && cpu().avx512_bf16 && wished_isa() != "avx512_vnni";

bool has_avx512_vnni() {
  static const bool has = active_isa() == Isa::kAvx512 && cpu().avx512_vnni;
  return has;
}

bool has_bf16_tiles() {
  return kHasAvx512BF16 || has_avx512_vnni();
}

bool amx_is_active() {
  static const bool is_allowed = wished_isa() != "avx512";
  return is_allowed && kHasAvx512BF16 && cpu().amx_bf16;
}

bool bf16_runs_on_fma() {
  static const bool runs =
      has_bf16_tiles() && !amx_is_active() && !(kHasAvx512BF16 && !cpu().is_intel);
  return runs;
}

bool amx_int8_is_active() {
  return amx_is_active() && cpu().amx_int8 && cpu().avx512_vnni;
}

}  // namespace moxie
