// Activations for tile_product.cu: normed if asked for, brought below 1, in halves and in the order of tiles.cuh.
#include "tiles.cuh"

// One block a token. x: [tokens, width]; norm: factors [width] or null; out: [tokens, padded], padded whole spans;
// exponents: of the powers of two taken off.
extern "C" __global__ void __launch_bounds__(1024) tile_rows(const float *x, const float *norm, __half *out, int *exponents, int width, int padded, float eps) {
  constexpr int HELD = 4;  // times four elements that a thread has in registers: rows of up to 16384 are read once
  __shared__ float scratch[32];
  let_next_start();
  wait_for_previous();
  const float *row = x + (size_t)blockIdx.x * width;
  const int stride = 4 * blockDim.x;
  float4 held[HELD], factors[HELD];
#pragma unroll
  for (int i = 0; i < HELD; i++) held[i] = four_of(row, 4 * threadIdx.x + i * stride, width);
#pragma unroll
  for (int i = 0; i < HELD; i++)
    factors[i] = norm == nullptr ? make_float4(1.f, 1.f, 1.f, 1.f) : four_of(norm, 4 * threadIdx.x + i * stride, width);
  const auto each = [&](auto visit) {  // (element, four of x, four factors)
#pragma unroll
    for (int i = 0; i < HELD; i++) visit(4 * threadIdx.x + i * stride, held[i], factors[i]);
    for (int e = 4 * threadIdx.x + HELD * stride; e < padded; e += stride)
      visit(e, four_of(row, e, width), norm == nullptr ? make_float4(1.f, 1.f, 1.f, 1.f) : four_of(norm, e, width));
  };
  float factor = 1.f, top = 0.f;
  if (norm != nullptr) {
    float squares = 0.f;
    each([&](int, float4 v, float4) { squares += dot4(v, v); });
    factor = 1.f / sqrtf(block_sum(squares, scratch) / width + eps);
  }
  const auto scaled = [&](float4 v, float4 by) {
    return make_float4(v.x * factor * by.x, v.y * factor * by.y, v.z * factor * by.z, v.w * factor * by.w);
  };
  each([&](int, float4 v, float4 by) {
    v = scaled(v, by);
    top = fmaxf(top, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))));
  });
  int exponent;
  frexpf(block_max(top, scratch), &exponent);
  if (threadIdx.x == 0) exponents[blockIdx.x] = exponent;
  each([&](int e, float4 v, float4 by) {
    if (e >= padded) return;
    v = scaled(v, by);
    *(uint2 *)(out + (size_t)blockIdx.x * padded + e / SPAN * SPAN + place_in_span(e % SPAN)) =
        make_uint2(halves(ldexpf(v.x, -exponent), ldexpf(v.y, -exponent)), halves(ldexpf(v.z, -exponent), ldexpf(v.w, -exponent)));
  });
}
