// What the kernels read and write: values of one type, VALUE, float unless said, which are computed with as float,
// eight at a time. bfloat16 is the upper half of a float.

#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

constexpr long LANES = 8;
typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef float Anywhere __attribute__((vector_size(4 * LANES), aligned(4)));

struct Bfloat16 {
    uint16_t bits;
};

#ifndef VALUE
#define VALUE float
#endif
typedef VALUE Value;

// One value, or a vector of them.

template <class V>
inline V get(const float* from) {
    if constexpr (sizeof(V) == sizeof(float)) return *from;
    else return *reinterpret_cast<const Anywhere*>(from);
}

template <class V>
inline V get(const Bfloat16* from) {
    if constexpr (sizeof(V) == sizeof(float)) {
        uint32_t bits = static_cast<uint32_t>(from->bits) << 16;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    } else {
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
        return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
    }
}

template <class V>
inline void put(float* to, V values) {
    if constexpr (sizeof(V) == sizeof(float)) *to = values;
    else *reinterpret_cast<Anywhere*>(to) = values;
}

// Rounded to the nearest, of two to the even one, as torch does; what is not a number stays none.
template <class V>
inline void put(Bfloat16* to, V values) {
    if constexpr (sizeof(V) == sizeof(float)) {
        uint32_t bits;
        std::memcpy(&bits, &values, sizeof bits);
        uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
        to->bits = static_cast<uint16_t>(values == values ? rounded >> 16 : bits >> 16 | 0x40);
    } else {
#ifdef __AVX512BF16__
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), (__m128i)_mm256_cvtneps_pbh(values));
#else
        __m256i bits = _mm256_castps_si256(values), upper = _mm256_srli_epi32(bits, 16);
        __m256i up = _mm256_add_epi32(_mm256_and_si256(upper, _mm256_set1_epi32(1)), _mm256_set1_epi32(0x7fff));
        __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, up), 16);
        __m256i none = _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
        rounded = _mm256_blendv_epi8(rounded, _mm256_or_si256(upper, _mm256_set1_epi32(0x40)), none);
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded, rounded), 0x08);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
#endif
    }
}
