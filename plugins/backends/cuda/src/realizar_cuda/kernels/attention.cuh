// What both kernels of attention are told, and what a score is.
#pragma once
#include "cache.cuh"

constexpr float LOG2E = 1.44269504f;

struct AttentionArguments {
  const float *q;       // [tokens, heads, head_dim]
  float *out;           // as q
  Cache cache;
  const int *sequences; // [tokens]: row of block_tables, below 0 for no token
  const int *positions, *context_lens, *block_tables;
  const float *slopes;  // [heads] or null
  float *parts;         // [tokens, key heads * group tiles, splits, GROUP, head_dim + 2]: sums, maximum, total
  int *tickets;         // [tokens, key heads * group tiles], zeros between launches
  int kv_heads, heads, max_blocks, window, causal, unused;
  float scale, softcap;
};

__device__ __forceinline__ float score_of(const AttentionArguments &a, float dot, int head, int distance) {
  float score = dot * a.scale;
  if (a.softcap != 0.f) score = a.softcap * tanhf(score / a.softcap);
  if (a.slopes != nullptr) score -= a.slopes[head] * distance;
  return score * LOG2E;
}
