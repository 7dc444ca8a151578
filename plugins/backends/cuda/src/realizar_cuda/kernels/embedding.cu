// out[t] = weight[ids[t]] * scale, from a table of any type. One block a token.
#include "staging.cuh"

template <class T>
__global__ void __launch_bounds__(128) embed_quantized(Planes planes, const int *ids, float *out, int width, float scale) {
  wait_for_previous();
  const int token = blockIdx.x, chunks = width / 32;
  for (int c = threadIdx.x; c < chunks; c += blockDim.x) {
    Stored<T> stored;
    stored.load(planes, (size_t)ids[token] * chunks + c);
    float w[32];
    decode<T>(stored, c & 7, w);
    float4 *row = (float4 *)(out + (size_t)token * width) + 8 * c;
#pragma unroll
    for (int i = 0; i < 8; i++)
      row[i] = make_float4(w[4 * i] * scale, w[4 * i + 1] * scale, w[4 * i + 2] * scale, w[4 * i + 3] * scale);
  }
}

// Rows of plain types are padded to whole chunks of 16 bytes.
template <class T>
__global__ void __launch_bounds__(128) embed_plain(Planes planes, const int *ids, float *out, int width, float scale) {
  wait_for_previous();
  constexpr int CHUNK = T::CHUNK;
  const int token = blockIdx.x, chunks = (width + CHUNK - 1) / CHUNK;
  for (int c = threadIdx.x; c < chunks; c += blockDim.x) {
    Stored<T> stored;
    stored.load(planes, (size_t)ids[token] * chunks + c);
    float w[CHUNK];
    weights_of(stored, w);
#pragma unroll
    for (int i = 0; i < CHUNK; i++)
      if (c * CHUNK + i < width) out[(size_t)token * width + c * CHUNK + i] = w[i] * scale;
  }
}
