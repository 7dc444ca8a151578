// rms_norm and layer_norm over groups of columns; out may be x.
#include "common.cuh"

// One block a group: group g of `width` columns, in order of rows. weight: [groups, width], the rows by turns.
extern "C" __global__ void __launch_bounds__(256) rms_norm(const float *x, const float *weight, float *out, int width, int groups, float eps) {
  __shared__ float scratch[32];
  wait_for_previous();
  const float *row = x + (size_t)blockIdx.x * width;
  const size_t factors = (size_t)(blockIdx.x % groups) * width;
  float squares = 0.f;
  for (int i = threadIdx.x; i < width; i += blockDim.x) squares += row[i] * row[i];
  const float root = sqrtf(block_sum(squares, scratch) / width + eps);
  for (int i = threadIdx.x; i < width; i += blockDim.x) out[(size_t)blockIdx.x * width + i] = row[i] / root * weight[factors + i];
}

// bias: null or as weight.
extern "C" __global__ void __launch_bounds__(256) layer_norm(const float *x, const float *weight, const float *bias, float *out, int width, int groups, float eps) {
  __shared__ float scratch[32];
  wait_for_previous();
  const float *row = x + (size_t)blockIdx.x * width;
  const size_t factors = (size_t)(blockIdx.x % groups) * width;
  float sum = 0.f, squares = 0.f;
  for (int i = threadIdx.x; i < width; i += blockDim.x) sum += row[i];
  const float mean = block_sum(sum, scratch) / width;
  for (int i = threadIdx.x; i < width; i += blockDim.x) squares += (row[i] - mean) * (row[i] - mean);
  const float root = sqrtf(block_sum(squares, scratch) / width + eps);
  for (int i = threadIdx.x; i < width; i += blockDim.x)
    out[(size_t)blockIdx.x * width + i] = (row[i] - mean) / root * weight[factors + i] + (bias == nullptr ? 0.f : bias[factors + i]);
}
