// New keys and values into the cache, at the step's slots.
#include "cache.cuh"

// One warp for each token and head; a slot below 0 is no token's. k, v: [tokens, heads, head_dim].
template <class KV, int HEAD_DIM, int BLOCK>
__global__ void __launch_bounds__(32) cache_write(const float *k, const float *v, const int *slots, Cache cache, int heads) {
  constexpr int ROW = padded(HEAD_DIM, KV::UNIT);
  wait_for_previous();
  const int slot = slots[blockIdx.x];
  if (slot < 0) return;
  const float *key = k + ((size_t)blockIdx.x * heads + blockIdx.y) * HEAD_DIM;
  const float *value = v + ((size_t)blockIdx.x * heads + blockIdx.y) * HEAD_DIM;
  const size_t row = ((size_t)(slot / BLOCK) * heads + blockIdx.y) * BLOCK + slot % BLOCK;
  for (int start = 0; start < ROW; start += 32) {
    const int i = start + threadIdx.x;
    if (KV::UNIT < 32 && i >= ROW) continue;
    KV::store(cache.keys, cache.key_scales, row * ROW + i, i < HEAD_DIM ? key[i] : 0.f);
    KV::store(cache.values, cache.value_scales, row * ROW + i, i < HEAD_DIM ? value[i] : 0.f);
  }
}
