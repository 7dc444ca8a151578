// What every kernel needs: short type names, sums over a warp and a block, loads that say how data is used.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef signed char i8;

constexpr u32 ALL_LANES = 0xffffffffu;

// The lowest float: below every score and magnitude, and, unlike an infinity, harmless when subtracted from itself.
constexpr float LOWEST = -3.402823466e38f;

__device__ __forceinline__ int lane_id() { return threadIdx.x & 31; }

// The shuffle makes the result uniform over the warp in the compiler's eyes, so that loops over it need no votes.
__device__ __forceinline__ int warp_id() { return __shfl_sync(ALL_LANES, threadIdx.x >> 5, 0); }

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(ALL_LANES, v, o);
  return v;
}

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int o = 16; o; o >>= 1) v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, o));
  return v;
}

// Sum over a block of whole warps; every thread must call it. scratch: 32 floats of shared memory.
__device__ __forceinline__ float block_sum(float v, float *scratch) {
  v = warp_sum(v);
  __syncthreads();
  if (lane_id() == 0) scratch[threadIdx.x >> 5] = v;
  __syncthreads();
  return warp_sum(lane_id() < blockDim.x / 32 ? scratch[lane_id()] : 0.f);
}

__device__ __forceinline__ float block_max(float v, float *scratch) {
  v = warp_max(v);
  __syncthreads();
  if (lane_id() == 0) scratch[threadIdx.x >> 5] = v;
  __syncthreads();
  return warp_max(lane_id() < blockDim.x / 32 ? scratch[lane_id()] : LOWEST);
}

// An integer below 2^22 in magnitude as a float, by the mantissa: conversions run at an eighth of the rate.
__device__ __forceinline__ float small_int(int i) { return __int_as_float(i + 0x4b400000) - 12582912.f; }

// Weights are read once a step: they should not push activations out of the caches.
template <class V> __device__ __forceinline__ V load_once(const void *p) { return __ldcs((const V *)p); }

// Programmatic dependent launch, compute capability 9.0 on: the next kernel may start while this one runs, and waits
// for its results. The intrinsics need toolkit headers that pip's wheels lack, hence one instruction each.
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
