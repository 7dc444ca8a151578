// Weights and activations as tensor cores take them: tiles of 16 rows by 8 tokens, 16 elements of a row at a time.
//
// Within 128 elements of a row the order of summands is free, as long as both sides keep it. Lane 4 g + c of a warp holds
// rows g and g + 8 and, of them, chunk c of 32 elements: its four elements of step s are one word of codes. Activations
// are stored in that order, [step][chunk][4], so that a lane's four lie side by side.
#pragma once
#include "matrix.cuh"
#include "staging.cuh"

// Chunks of staging.cuh in 32 elements.
template <class T> __device__ constexpr int CHUNKS_OF_32() { return 32 / Staging<T>::CHUNK; }

constexpr int SPAN = 128, STEPS_OF_SPAN = 8;

// Weights are kept times this in halves, so that small scales do not lose digits.
constexpr float WEIGHT_FACTOR = 256.f;

__device__ __forceinline__ int place_in_span(int e) { return e % 32 / 4 * 16 + e / 32 * 4 + e % 4; }

// 32 elements of one row, and four of them as halves times WEIGHT_FACTOR.
template <class T> struct TileChunk {
  Stored<T> stored;
  __half2 scale[2], offset[2];  // of either half of the chunk

  __device__ __forceinline__ void load(const Planes &p, size_t row, int chunks, int c) { stored.load(p, row * chunks + c); }
  __device__ __forceinline__ void prepare(int c) {
    const Scales k = T::scales(stored, c & 7);
#pragma unroll
    for (int h = 0; h < 2; h++) {
      scale[h] = __float2half2_rn(WEIGHT_FACTOR * k.scale[h]);
      offset[h] = __float2half2_rn(WEIGHT_FACTOR * k.offset[h]);
    }
  }

  // A byte below 0x64 is a half of 1024 and more: codes become numbers by a permutation of bytes.
  __device__ __forceinline__ uint2 four(int s) const {
    u32 word = T::word(stored, s);
    if constexpr (!T::OFFSET) word ^= 0x80808080u;  // signed bytes
    const __half2 shift = __float2half2_rn(T::OFFSET ? -1024.f : -1152.f);  // what comes of 0x64, and of the sign's bit
    const u32 low = __byte_perm(word, 0x64646464u, 0x4140), high = __byte_perm(word, 0x64646464u, 0x4342);
    const __half2 first = __hfma2(__hadd2(*(const __half2 *)&low, shift), scale[s / 4], offset[s / 4]);
    const __half2 second = __hfma2(__hadd2(*(const __half2 *)&high, shift), scale[s / 4], offset[s / 4]);
    return make_uint2(*(const u32 *)&first, *(const u32 *)&second);
  }
};

template <class T> struct PlainTileChunk {
  Stored<T> stored[4];

  __device__ __forceinline__ void load(const Planes &p, size_t row, int chunks, int c) {
#pragma unroll
    for (int i = 0; i < 4; i++) stored[i].load(p, row * chunks + min(4 * c + i, chunks - 1));
  }
  __device__ __forceinline__ void prepare(int) {}
  __device__ __forceinline__ uint2 four(int s) const {
    float w[8];
    weights_of(stored[s / 2], w);
    const float *at = w + s % 2 * 4;
    return make_uint2(halves(at[0] * WEIGHT_FACTOR, at[1] * WEIGHT_FACTOR), halves(at[2] * WEIGHT_FACTOR, at[3] * WEIGHT_FACTOR));
  }
};
template <> struct TileChunk<F16> : PlainTileChunk<F16> {};
template <> struct TileChunk<BF16> : PlainTileChunk<BF16> {};
