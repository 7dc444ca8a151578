// Rows of a quantized weight as bfloat16, for matrix products on tensor cores.
#include "quants.cuh"

__device__ __forceinline__ u32 two_bfloats(float x, float y) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(x, y);
  return *(const u32 *)&both;
}

// A thread for each chunk; planes start at the first row. out: [chunks, 32].
template <class T> __global__ void __launch_bounds__(256) dequantize(Planes planes, uint4 *out, int chunks) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= chunks) return;
  Stored<T> stored;
  stored.load(planes, c);
  float w[32];
  decode<T>(stored, c & 7, w);
#pragma unroll
  for (int i = 0; i < 4; i++)
    out[4 * c + i] = make_uint4(two_bfloats(w[8 * i], w[8 * i + 1]), two_bfloats(w[8 * i + 2], w[8 * i + 3]),
                                two_bfloats(w[8 * i + 4], w[8 * i + 5]), two_bfloats(w[8 * i + 6], w[8 * i + 7]));
}
