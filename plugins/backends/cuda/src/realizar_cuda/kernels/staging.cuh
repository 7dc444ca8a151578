// Activations as a block keeps them in shared memory for its rows, and the dot product of a chunk of weights with them.
//
// Quantized weights meet activations rounded to 8 bits in groups of 16, 48 bytes a chunk of 32: two planes of 16 codes,
// then (d, d * sum of codes) of both groups. Plain weights meet floats, in planes of four so that lanes do not collide.
#pragma once
#include "quants.cuh"

struct F32 { static constexpr int CHUNK = 4; };
struct F16 { static constexpr int CHUNK = 8; };
struct BF16 { static constexpr int CHUNK = 8; };

struct PlainChunk {
  uint4 bits;
  __device__ __forceinline__ void load(const Planes &p, size_t chunk) { bits = load_once<uint4>(p.low + 16 * chunk); }
};
template <> struct Stored<F32> : PlainChunk {};
template <> struct Stored<F16> : PlainChunk {};
template <> struct Stored<BF16> : PlainChunk {};

__device__ __forceinline__ void weights_of(const Stored<F32> &s, float *w) {
  w[0] = __uint_as_float(s.bits.x), w[1] = __uint_as_float(s.bits.y);
  w[2] = __uint_as_float(s.bits.z), w[3] = __uint_as_float(s.bits.w);
}
__device__ __forceinline__ void weights_of(const Stored<F16> &s, float *w) {
  const u32 words[4] = {s.bits.x, s.bits.y, s.bits.z, s.bits.w};
#pragma unroll
  for (int i = 0; i < 4; i++) w[2 * i] = half_of(words[i]), w[2 * i + 1] = half_of(words[i] >> 16);
}
__device__ __forceinline__ void weights_of(const Stored<BF16> &s, float *w) {
  const u32 words[4] = {s.bits.x, s.bits.y, s.bits.z, s.bits.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    w[2 * i] = __uint_as_float(words[i] << 16), w[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

__device__ __forceinline__ float dot4(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }

// Four elements of a row of `width`, from e on; zeros beyond its end.
__device__ __forceinline__ float4 four_of(const float *row, int e, int width) {
  if (width % 4 == 0) return e < width ? __ldcg((const float4 *)(row + e)) : make_float4(0.f, 0.f, 0.f, 0.f);
  float v[4];
#pragma unroll
  for (int i = 0; i < 4; i++) v[i] = e + i < width ? __ldcg(row + e + i) : 0.f;
  return make_float4(v[0], v[1], v[2], v[3]);
}

// Plain weights: floats.
template <class T> struct Staging {
  static constexpr int CHUNK = T::CHUNK, NBYTES = 4 * CHUNK;
  struct Activations { float4 part[CHUNK / 4]; };
  struct Weights { float w[CHUNK]; };

  static __device__ __forceinline__ void put(char *staged, int chunks, int e, float4 v) {
    ((float4 *)staged)[e % CHUNK / 4 * chunks + e / CHUNK] = v;
  }
  static __device__ __forceinline__ Activations get(const char *staged, int chunks, int c) {
    Activations a;
#pragma unroll
    for (int i = 0; i < CHUNK / 4; i++) a.part[i] = ((const float4 *)staged)[i * chunks + c];
    return a;
  }
  static __device__ __forceinline__ Weights unpack(const Stored<T> &s, int) {
    Weights weights;
    weights_of(s, weights.w);
    return weights;
  }
  static __device__ __forceinline__ float dot(const Weights &b, const Activations &a) {
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < CHUNK / 4; i++) {
      sum = fmaf(b.w[4 * i], a.part[i].x, sum), sum = fmaf(b.w[4 * i + 1], a.part[i].y, sum);
      sum = fmaf(b.w[4 * i + 2], a.part[i].z, sum), sum = fmaf(b.w[4 * i + 3], a.part[i].w, sum);
    }
    return sum;
  }
};

// Quantized weights: bytes.
template <class T> struct QuantizedStaging {
  static constexpr int CHUNK = 32, NBYTES = 48;
  struct Activations { int4 first, second; float4 scales; };
  struct Weights { u32 word[8]; Scales k; };

  // Four lanes hold a group of 16; every lane of the warp must call it.
  static __device__ __forceinline__ void put(char *staged, int chunks, int e, float4 v) {
    float top = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
    top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1)), top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
    const float inverse = top > 0.f ? 127.f / top : 0.f;
    const int q0 = __float2int_rn(v.x * inverse), q1 = __float2int_rn(v.y * inverse);
    const int q2 = __float2int_rn(v.z * inverse), q3 = __float2int_rn(v.w * inverse);
    int sum = q0 + q1 + q2 + q3;
    sum += __shfl_xor_sync(ALL_LANES, sum, 1), sum += __shfl_xor_sync(ALL_LANES, sum, 2);
    const int c = e / 32, half = e % 32 / 16;
    if (c >= chunks) return;
    ((u32 *)staged)[(half * chunks + c) * 4 + e % 16 / 4] =
        (u32)(q0 & 255) | (u32)(q1 & 255) << 8 | (u32)(q2 & 255) << 16 | (u32)(q3 & 255) << 24;
    const float d = top / 127.f;
    if (e % 16 == 0) ((float2 *)(staged + 32 * chunks))[2 * c + half] = make_float2(d, d * (float)sum);
  }
  static __device__ __forceinline__ Activations get(const char *staged, int chunks, int c) {
    return {((const int4 *)staged)[c], ((const int4 *)staged)[chunks + c], ((const float4 *)(staged + 32 * chunks))[c]};
  }
  static __device__ __forceinline__ Weights unpack(const Stored<T> &s, int chunk_of_block) {
    Weights weights;
#pragma unroll
    for (int w = 0; w < 8; w++) weights.word[w] = T::word(s, w);
    weights.k = T::scales(s, chunk_of_block);
    return weights;
  }
  static __device__ __forceinline__ int dot16(const u32 *w, int4 a) {
    return __dp4a((int)w[3], a.w, __dp4a((int)w[2], a.z, __dp4a((int)w[1], a.y, __dp4a((int)w[0], a.x, 0))));
  }
  static __device__ __forceinline__ float dot(const Weights &b, const Activations &a) {
    const float first = a.scales.x * small_int(dot16(b.word, a.first));
    const float second = a.scales.z * small_int(dot16(b.word + 4, a.second));
    float sum;
    if constexpr (T::HALVES) sum = fmaf(b.k.scale[0], first, b.k.scale[1] * second);
    else sum = b.k.scale[0] * (first + second);
    if constexpr (T::OFFSET && T::HALVES) sum = fmaf(b.k.offset[0], a.scales.y, fmaf(b.k.offset[1], a.scales.w, sum));
    else if constexpr (T::OFFSET) sum = fmaf(b.k.offset[0], a.scales.y + a.scales.w, sum);
    return sum;
  }
};

#define QUANTIZED(T) template <> struct Staging<T> : QuantizedStaging<T> {}
QUANTIZED(Q4_0); QUANTIZED(Q4_1); QUANTIZED(Q5_0); QUANTIZED(Q5_1); QUANTIZED(Q8_0);
QUANTIZED(Q2_K); QUANTIZED(Q3_K); QUANTIZED(Q4_K); QUANTIZED(Q5_K); QUANTIZED(Q6_K);
QUANTIZED(IQ4_NL); QUANTIZED(IQ4_XS); QUANTIZED(MXFP4);
