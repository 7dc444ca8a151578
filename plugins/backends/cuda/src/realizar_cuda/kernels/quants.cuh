// Every quantized weight type, once: where its bytes are, and what 32 codes of it are worth.
//
// A weight is scale * code + offset, by the formulas of `realizar.quant`. LOW, HIGH, SCALES: bytes a chunk of 32;
// SUPER: bytes a block of 256. HALVES: whether the two halves of a chunk have scales of their own.
// OFFSET: whether there are offsets. GEMV, dequantization and embedding all read weights through these.
#pragma once
#include "codes.cuh"

struct Scales {
  float scale[2], offset[2];
};

__device__ __forceinline__ float half_of(u32 bits) { return __half2float(__ushort_as_half((u16)bits)); }
__device__ __forceinline__ int byte_of(u32 word, int i) { return (int)(i8)(word >> 8 * i); }
__device__ __forceinline__ Scales both(float scale, float offset) { return {{scale, scale}, {offset, offset}}; }

template <class T> struct Plain {  // codes are what they say
  static __device__ __forceinline__ u32 word(const Stored<T> &s, int w) { return codes_of<T>(s, w); }
};

struct Q4_0 : Plain<Q4_0> {  // d (q - 8)
  static constexpr int LOW = 16, HIGH = 0, SCALES = 2, SUPER = 0;
  static constexpr bool HALVES = false, OFFSET = true;
  static __device__ Scales scales(const Stored<Q4_0> &s, int) { return both(half_of(s.scales), -8.f * half_of(s.scales)); }
};

struct Q4_1 : Plain<Q4_1> {  // d q + m
  static constexpr int LOW = 16, HIGH = 0, SCALES = 4, SUPER = 0;
  static constexpr bool HALVES = false, OFFSET = true;
  static __device__ Scales scales(const Stored<Q4_1> &s, int) { return both(half_of(s.scales), half_of(s.scales >> 16)); }
};

struct Q5_0 : Plain<Q5_0> {  // d (q - 16)
  static constexpr int LOW = 16, HIGH = 4, SCALES = 2, SUPER = 0;
  static constexpr bool HALVES = false, OFFSET = true;
  static __device__ Scales scales(const Stored<Q5_0> &s, int) { return both(half_of(s.scales), -16.f * half_of(s.scales)); }
};

struct Q5_1 : Plain<Q5_1> {  // d q + m
  static constexpr int LOW = 16, HIGH = 4, SCALES = 4, SUPER = 0;
  static constexpr bool HALVES = false, OFFSET = true;
  static __device__ Scales scales(const Stored<Q5_1> &s, int) { return both(half_of(s.scales), half_of(s.scales >> 16)); }
};

struct Q8_0 : Plain<Q8_0> {  // d q
  static constexpr int LOW = 32, HIGH = 0, SCALES = 2, SUPER = 0;
  static constexpr bool HALVES = false, OFFSET = false;
  static __device__ Scales scales(const Stored<Q8_0> &s, int) { return both(half_of(s.scales), 0.f); }
};

struct Q2_K : Plain<Q2_K> {  // d s q - dmin m; a byte of scales is s and, above, m
  static constexpr int LOW = 8, HIGH = 0, SCALES = 2, SUPER = 4;
  static constexpr bool HALVES = true, OFFSET = true;
  static __device__ Scales scales(const Stored<Q2_K> &s, int) {
    const float d = half_of(s.super), dmin = half_of(s.super >> 16);
    const u32 first = s.scales & 255, second = s.scales >> 8;
    return {{d * (first & 15), d * (second & 15)}, {-dmin * (first >> 4), -dmin * (second >> 4)}};
  }
};

struct Q3_K : Plain<Q3_K> {  // d s (q - 4), s stored as a signed byte
  static constexpr int LOW = 8, HIGH = 4, SCALES = 2, SUPER = 2;
  static constexpr bool HALVES = true, OFFSET = true;
  static __device__ Scales scales(const Stored<Q3_K> &s, int) {
    const float d = half_of(s.super), first = d * byte_of(s.scales, 0), second = d * byte_of(s.scales, 1);
    return {{first, second}, {-4.f * first, -4.f * second}};
  }
};

// d s q - dmin m, 6 bits each. super: d, dmin; a byte for each chunk, low 4 bits of s and, above, of m; a nibble for
// each chunk, top 2 bits of s and, above, of m.
__device__ __forceinline__ Scales six_bit_scales(uint4 super, int chunk) {
  const u32 low = (chunk < 4 ? super.y : super.z) >> 8 * (chunk & 3), top = super.w >> 4 * chunk;
  const float d = half_of(super.x), dmin = half_of(super.x >> 16);
  return both(d * ((low & 15) | (top & 3) << 4), -dmin * ((low >> 4 & 15) | (top >> 2 & 3) << 4));
}

struct Q4_K : Plain<Q4_K> {
  static constexpr int LOW = 16, HIGH = 0, SCALES = 0, SUPER = 16;
  static constexpr bool HALVES = false, OFFSET = true;
  static __device__ Scales scales(const Stored<Q4_K> &s, int chunk) { return six_bit_scales(s.super, chunk); }
};

struct Q5_K : Plain<Q5_K> {
  static constexpr int LOW = 16, HIGH = 4, SCALES = 0, SUPER = 16;
  static constexpr bool HALVES = false, OFFSET = true;
  static __device__ Scales scales(const Stored<Q5_K> &s, int chunk) { return six_bit_scales(s.super, chunk); }
};

struct Q6_K : Plain<Q6_K> {  // d s (q - 32)
  static constexpr int LOW = 16, HIGH = 8, SCALES = 2, SUPER = 2;
  static constexpr bool HALVES = true, OFFSET = true;
  static __device__ Scales scales(const Stored<Q6_K> &s, int) {
    const float d = half_of(s.super), first = d * byte_of(s.scales, 0), second = d * byte_of(s.scales, 1);
    return {{first, second}, {-32.f * first, -32.f * second}};
  }
};

template <class T> struct Iq4 {  // -127 -104 -83 -65  -49 -35 -22 -10  1 13 25 38  53 69 89 113
  static __device__ __forceinline__ u32 word(const Stored<T> &s, int w) {
    return look_up(codes_of<T>(s, w), 0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
  }
};

struct IQ4_NL : Iq4<IQ4_NL> {  // d v(q)
  static constexpr int LOW = 16, HIGH = 0, SCALES = 2, SUPER = 0;
  static constexpr bool HALVES = false, OFFSET = false;
  static __device__ Scales scales(const Stored<IQ4_NL> &s, int) { return both(half_of(s.scales), 0.f); }
};

struct IQ4_XS : Iq4<IQ4_XS> {  // d s v(q), s stored as a signed byte
  static constexpr int LOW = 16, HIGH = 0, SCALES = 1, SUPER = 2;
  static constexpr bool HALVES = false, OFFSET = false;
  static __device__ Scales scales(const Stored<IQ4_XS> &s, int) { return both(half_of(s.super) * byte_of(s.scales, 0), 0.f); }
};

struct MXFP4 {  // 2^(e - 128) v(q), v twice the E2M1 value: 0 1 2 3  4 6 8 12  0 -1 -2 -3  -4 -6 -8 -12
  static constexpr int LOW = 16, HIGH = 0, SCALES = 1, SUPER = 0;
  static constexpr bool HALVES = false, OFFSET = false;
  static __device__ __forceinline__ u32 word(const Stored<MXFP4> &s, int w) {
    return look_up(codes_of<MXFP4>(s, w), 0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu);
  }
  static __device__ Scales scales(const Stored<MXFP4> &s, int) { return both(ldexpf(1.f, (int)s.scales - 128), 0.f); }
};

// Codes are unsigned unless the type's offset is nil: then bytes are signed values.
__device__ __forceinline__ float code_value(u32 word, int i) { return (float)(i8)(word >> 8 * i); }

// The 32 weights of a chunk as floats.
template <class T> __device__ __forceinline__ void decode(const Stored<T> &s, int chunk_of_block, float *weights) {
  const Scales k = T::scales(s, chunk_of_block);
#pragma unroll
  for (int w = 0; w < 8; w++) {
    const u32 word = T::word(s, w);
#pragma unroll
    for (int i = 0; i < 4; i++) weights[4 * w + i] = k.scale[w / 4] * code_value(word, i) + k.offset[w / 4];
  }
}
