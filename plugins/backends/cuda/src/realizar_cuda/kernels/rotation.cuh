// The angle of a rotary pair: position * frequency, exact to far beyond a float's rounding at long contexts.
#pragma once
#include "common.cuh"

// cosine and sine times scale. Whole turns are taken off in double; what is left is small enough for float.
__device__ __forceinline__ float2 rotation(int position, double frequency, float scale) {
  const double turns = position * frequency * 0.15915494309189535;
  float sine, cosine;
  sincosf((float)((turns - rint(turns)) * 6.283185307179586), &sine, &cosine);
  return make_float2(cosine * scale, sine * scale);
}
