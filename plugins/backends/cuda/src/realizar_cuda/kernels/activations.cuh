// Elementwise activations, numbered as in `realizar.ops.ACTIVATIONS`.
#pragma once
#include "common.cuh"

enum Activation { RELU, RELU2, SIGMOID, GELU, GELU_TANH, SILU, MISH, SELU, HARDSWISH };

__device__ __forceinline__ float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

// log(1 + e^x) without overflow
__device__ __forceinline__ float softplus(float x) { return fmaxf(x, 0.f) + log1pf(expf(-fabsf(x))); }

__device__ __forceinline__ float activate(int kind, float x) {
  switch (kind) {
    case RELU: return fmaxf(x, 0.f);
    case RELU2: return fmaxf(x, 0.f) * fmaxf(x, 0.f);
    case SIGMOID: return sigmoid(x);
    case GELU: return 0.5f * x * (1.f + erff(x * 0.70710678f));
    case GELU_TANH: return 0.5f * x * (1.f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case SILU: return x * sigmoid(x);
    case MISH: return x * tanhf(softplus(x));
    case SELU: return 1.05070099f * (x > 0.f ? x : 1.67326324f * expm1f(x));
    default: return x * fminf(fmaxf(x / 6.f + 0.5f, 0.f), 1.f);
  }
}
