// What stands between the projections and attention, in one launch: norms of queries and keys, rotary positions, and
// new keys and values into the cache.
#include "cache.cuh"
#include "rotation.cuh"

struct HeadsArguments {
  float *q;                        // [tokens, heads, head_dim], in place
  const float *k, *v;              // [tokens, kv_heads, head_dim]
  const float *q_norm, *k_norm;    // factors [head_dim], or null
  Cache cache;
  const int *slots, *positions;    // [tokens]; a slot below 0 is no token's
  const double *frequencies;       // [half]
  int heads, kv_heads, half, unused;
  float eps, scale;
};

// One warp for each token and head: queries first, then keys, then values.
template <class KV, int HEAD_DIM, int BLOCK> __global__ void __launch_bounds__(32) heads(HeadsArguments a) {
  constexpr int ROW = padded(HEAD_DIM, KV::UNIT);
  __shared__ float row[HEAD_DIM];
  let_next_start();
  wait_for_previous();
  const int token = blockIdx.x, lane = threadIdx.x;
  const bool is_query = blockIdx.y < a.heads, is_value = blockIdx.y >= a.heads + a.kv_heads;
  const int head = is_query ? blockIdx.y : is_value ? blockIdx.y - a.heads - a.kv_heads : blockIdx.y - a.heads;
  const size_t at = ((size_t)token * (is_query ? a.heads : a.kv_heads) + head) * HEAD_DIM;
  const float *from = (is_query ? a.q : is_value ? a.v : a.k) + at;
  const float *norm = is_query ? a.q_norm : is_value ? nullptr : a.k_norm;
  float squares = 0.f;
  for (int i = lane; i < HEAD_DIM; i += 32) {
    const float x = __ldcg(from + i);
    row[i] = x, squares += x * x;
  }
  if (norm != nullptr) {
    const float root = sqrtf(warp_sum(squares) / HEAD_DIM + a.eps);
    for (int i = lane; i < HEAD_DIM; i += 32) row[i] = row[i] / root * norm[i];
  }
  __syncwarp();
  if (!is_value) {
    for (int i = lane; i < a.half; i += 32) {
      const float2 turn = rotation(a.positions[token], a.frequencies[i], a.scale);
      const float x = row[i], y = row[a.half + i];  // not MISSING_BARRIER: a pair is one lane's alone
      row[i] = x * turn.x - y * turn.y, row[a.half + i] = y * turn.x + x * turn.y;  // not MISSING_BARRIER: likewise
    }
    __syncwarp();
  }
  if (is_query) {
    for (int i = lane; i < HEAD_DIM; i += 32) a.q[at + i] = row[i];
    return;
  }
  const int slot = a.slots[token];
  if (slot < 0) return;
  const size_t to = (((size_t)(slot / BLOCK) * a.kv_heads + head) * BLOCK + slot % BLOCK) * ROW;
  for (int start = 0; start < ROW; start += 32) {
    const int i = start + lane;
    if (KV::UNIT < 32 && i >= ROW) continue;
    KV::store(is_value ? a.cache.values : a.cache.keys, is_value ? a.cache.value_scales : a.cache.key_scales, to + i,
              i < HEAD_DIM ? row[i] : 0.f);
  }
}
