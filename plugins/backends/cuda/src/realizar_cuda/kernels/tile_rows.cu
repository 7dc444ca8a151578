// Activations for tile_product.cu: normed if asked for, brought below 1, in halves and in the order of tiles.cuh.
#include "tiles.cuh"

// One block a token. x: [tokens, width]; norm: factors [width] or null; out: [tokens, padded], padded whole spans;
// exponents: of the powers of two taken off.
extern "C" __global__ void __launch_bounds__(256) tile_rows(const float *x, const float *norm, __half *out, int *exponents, int width, int padded, float eps) {
  __shared__ float scratch[32];
  let_next_start();
  wait_for_previous();
  const float *row = x + (size_t)blockIdx.x * width;
  float squares = 0.f, top = 0.f, factor = 1.f;
  if (norm != nullptr) {
    for (int e = 4 * threadIdx.x; e < width; e += 4 * blockDim.x) {
      const float4 v = four_of(row, e, width);
      squares += dot4(v, v);
    }
    factor = 1.f / sqrtf(block_sum(squares, scratch) / width + eps);
  }
  const auto normed = [&](int e) {
    float4 v = four_of(row, e, width);
    if (norm != nullptr) {
      const float4 by = four_of(norm, e, width);
      v = make_float4(v.x * factor * by.x, v.y * factor * by.y, v.z * factor * by.z, v.w * factor * by.w);
    }
    return v;
  };
  for (int e = 4 * threadIdx.x; e < width; e += 4 * blockDim.x) {
    const float4 v = normed(e);
    top = fmaxf(top, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))));
  }
  int exponent;
  frexpf(block_max(top, scratch), &exponent);
  if (threadIdx.x == 0) exponents[blockIdx.x] = exponent;
  for (int e = 4 * threadIdx.x; e < padded; e += 4 * blockDim.x) {
    const float4 v = normed(e);
    const uint2 four = make_uint2(halves(ldexpf(v.x, -exponent), ldexpf(v.y, -exponent)), halves(ldexpf(v.z, -exponent), ldexpf(v.w, -exponent)));
    *(uint2 *)(out + (size_t)blockIdx.x * padded + e / SPAN * SPAN + place_in_span(e % SPAN)) = four;
  }
}
