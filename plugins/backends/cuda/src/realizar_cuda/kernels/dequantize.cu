// Rows of a quantized weight as bfloat16, for matrix products on tensor cores.
#include "quants.cuh"

__device__ __forceinline__ u32 two_bfloats(float x, float y) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(x, y);
  return *(const u32 *)&both;
}

// A thread for a quarter of a chunk, so that a warp writes side by side; planes start at the first row. out: [chunks, 32].
template <class T> __global__ void __launch_bounds__(256) dequantize(Planes planes, uint4 *out, int chunks) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, c = i / 4, quarter = i % 4;
  if (c >= chunks) return;
  Stored<T> stored;
  stored.load(planes, c);
  const Scales k = T::scales(stored, c & 7);
  const float scale = quarter < 2 ? k.scale[0] : k.scale[1], offset = quarter < 2 ? k.offset[0] : k.offset[1];
  u32 words[2], pairs[4];
#pragma unroll
  for (int w = 0; w < 8; w++)
    if (w / 2 == quarter) words[w % 2] = T::word(stored, w);
#pragma unroll
  for (int p = 0; p < 4; p++) {
    const u32 word = words[p / 2];
    pairs[p] = two_bfloats(scale * code_value(word, p % 2 * 2) + offset, scale * code_value(word, p % 2 * 2 + 1) + offset);
  }
  out[i] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);  // not NO_BOUNDS_CHECK: c, a quarter of i, was compared
}
