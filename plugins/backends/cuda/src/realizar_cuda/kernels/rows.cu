// Rows copied, and rows in the types that matrix products on tensor cores take.
#include "common.cuh"

// out[r] = x[rows[r]]; one block a row.
extern "C" __global__ void __launch_bounds__(256) gather_rows(const float *x, const int *rows, float *out, int width) {
  wait_for_previous();
  const float *from = x + (size_t)rows[blockIdx.x] * width;
  for (int i = threadIdx.x; i < width; i += blockDim.x) out[(size_t)blockIdx.x * width + i] = from[i];
}

// out: [rows, padded], zeros beyond width; one block a row, as in the next two.
extern "C" __global__ void __launch_bounds__(256) pad_rows(const float *x, float *out, int width, int padded) {
  for (int i = threadIdx.x; i < padded; i += blockDim.x)
    out[(size_t)blockIdx.x * padded + i] = i < width ? x[(size_t)blockIdx.x * width + i] : 0.f;
}

extern "C" __global__ void __launch_bounds__(256) bfloat_rows(const float *x, __nv_bfloat16 *out, int width, int padded) {
  for (int i = threadIdx.x; i < padded; i += blockDim.x)
    out[(size_t)blockIdx.x * padded + i] = __float2bfloat16_rn(i < width ? x[(size_t)blockIdx.x * width + i] : 0.f);
}

// Halves end at 65504: a row is divided by the power of two, kept in `exponents`, that brings its largest element below 1.
extern "C" __global__ void __launch_bounds__(256) half_rows(const float *x, __half *out, int *exponents, int width, int padded) {
  __shared__ float scratch[32];
  const float *row = x + (size_t)blockIdx.x * width;
  float top = 0.f;
  for (int i = threadIdx.x; i < width; i += blockDim.x) top = fmaxf(top, fabsf(row[i]));
  int exponent;
  frexpf(block_max(top, scratch), &exponent);
  if (threadIdx.x == 0) exponents[blockIdx.x] = exponent;
  for (int i = threadIdx.x; i < padded; i += blockDim.x)
    out[(size_t)blockIdx.x * padded + i] = __float2half_rn(i < width ? ldexpf(row[i], -exponent) : 0.f);
}

// out[r] = out[r] * 2^exponents[r] + bias; exponents and bias may be null.
extern "C" __global__ void __launch_bounds__(256) finish_rows(float *out, const int *exponents, const float *bias, int width) {
  float *row = out + (size_t)blockIdx.x * width;
  const int exponent = exponents == nullptr ? 0 : exponents[blockIdx.x];
  for (int i = threadIdx.x; i < width; i += blockDim.x) row[i] = ldexpf(row[i], exponent) + (bias == nullptr ? 0.f : bias[i]);
}
