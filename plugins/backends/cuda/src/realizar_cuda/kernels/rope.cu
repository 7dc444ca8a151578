// Rotary positions: pairs (i, i + n/2) of the first n columns of each head.
#include "rotation.cuh"

// One block for each token and head; out may be x. frequencies: [half].
extern "C" __global__ void __launch_bounds__(128) rope(const float *x, const int *positions, const double *frequencies, float *out, int heads, int head_dim, int half, float scale) {
  wait_for_previous();
  const int token = blockIdx.x / heads;
  const float *from = x + (size_t)blockIdx.x * head_dim;
  float *to = out + (size_t)blockIdx.x * head_dim;
  for (int i = threadIdx.x; i < half; i += blockDim.x) {
    const float2 turn = rotation(positions[token], frequencies[i], scale);
    const float a = from[i], b = from[half + i];
    to[i] = a * turn.x - b * turn.y, to[half + i] = b * turn.x + a * turn.y;
  }
  for (int i = 2 * half + threadIdx.x; i < head_dim; i += blockDim.x) to[i] = from[i];
}
