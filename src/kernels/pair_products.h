#pragma once
// The step of products in 16-bit integers by AVX-512 VNNI: micro16_avx512.cpp, quant/low_rank.cpp.
#ifndef MOXIE_SCALAR_ONLY
#include <immintrin.h>

#include <cstdint>

namespace moxie::kernels {

// sum += the pair of codes at `a` times each pair of b. Of the intrinsic GCC 12 makes three
// instructions, since it copies every sum twice.
[[gnu::target("avx512f,avx512bw,avx512vnni"), gnu::always_inline]] inline void add_products(
    const int32_t* a, __m512i b, __m512i& sum) {
  asm("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(b), "m"(*a));
}

}  // namespace moxie::kernels
#endif
