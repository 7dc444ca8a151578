// The paged cache of one layer: [block, head, offset in the block] rows of a head's numbers, in one of four types.
//
// Rows are padded: to 8 numbers, Q8_0 to 32, whose scales lie in arrays of their own.
#pragma once
#include "common.cuh"

struct Cache {
  u8 *keys, *values;
  __half *key_scales, *value_scales;  // of Q8_0, else null
};

__device__ constexpr int padded(int head_dim, int unit) { return (head_dim + unit - 1) / unit * unit; }

struct KvF32 {
  static constexpr int UNIT = 8;
  static __device__ __forceinline__ void load(const u8 *rows, const __half *, size_t at, float *v) {
    const float4 a = __ldcg((const float4 *)((const float *)rows + at)), b = __ldcg((const float4 *)((const float *)rows + at) + 1);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
  }
  static __device__ __forceinline__ void store(u8 *rows, __half *, size_t at, float v) { ((float *)rows)[at] = v; }
};

struct KvF16 {
  static constexpr int UNIT = 8;
  static __device__ __forceinline__ void load(const u8 *rows, const __half *, size_t at, float *v) {
    const uint4 bits = __ldcg((const uint4 *)((const __half *)rows + at));
    const u32 words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float2 two = __half22float2(*(const __half2 *)&words[i]);
      v[2 * i] = two.x, v[2 * i + 1] = two.y;
    }
  }
  static __device__ __forceinline__ void store(u8 *rows, __half *, size_t at, float v) { ((__half *)rows)[at] = __float2half_rn(v); }
};

struct KvBF16 {
  static constexpr int UNIT = 8;
  static __device__ __forceinline__ void load(const u8 *rows, const __half *, size_t at, float *v) {
    const uint4 bits = __ldcg((const uint4 *)((const u16 *)rows + at));
    const u32 words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; i++) v[2 * i] = __uint_as_float(words[i] << 16), v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
  static __device__ __forceinline__ void store(u8 *rows, __half *, size_t at, float v) {
    ((__nv_bfloat16 *)rows)[at] = __float2bfloat16_rn(v);
  }
};

struct KvQ8_0 {
  static constexpr int UNIT = 32;
  static __device__ __forceinline__ void load(const u8 *rows, const __half *scales, size_t at, float *v) {
    const uint2 bits = __ldcg((const uint2 *)(rows + at));
    const float d = __half2float(__ldcg(scales + at / 32));
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = d * (float)(i8)(bits.x >> 8 * i), v[4 + i] = d * (float)(i8)(bits.y >> 8 * i);
  }
  // One number of a group of 32, which a warp holds.
  static __device__ __forceinline__ void store(u8 *rows, __half *scales, size_t at, float v) {
    const float d = warp_max(fabsf(v)) / 127.f;
    rows[at] = (u8)(i8)__float2int_rn(d > 0.f ? v / d : 0.f);
    if (at % 32 == 0) scales[at / 32] = __float2half_rn(d);
  }
};
