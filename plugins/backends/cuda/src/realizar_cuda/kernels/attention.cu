// Attention of single tokens over a paged cache: what decoding needs, and right for prompts too.
//
// Flash decoding (Dao et al. 2023): a block takes a span of the positions that a token sees, for query heads that share
// keys; softmax is kept online; the block that comes last merges the spans, in their order, so results never depend on
// which block that was.
#include "attention.cuh"

constexpr int SPAN = 128;           // positions below which a token's work is not split further
constexpr int WARPS = 8;

// Online softmax of GROUP heads: 8 of their dims a lane. Scores are in powers of two.
template <int GROUP> struct Softmax {
  float top[GROUP], total[GROUP], sum[GROUP][8];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
      top[g] = LOWEST, total[g] = 0.f;
#pragma unroll
      for (int i = 0; i < 8; i++) sum[g][i] = 0.f;
    }
  }
  __device__ __forceinline__ void add(int g, float other_top, float other_total, const float *values) {
    const float most = fmaxf(top[g], other_top);
    const float keep = exp2f(top[g] - most), take = exp2f(other_top - most);
    top[g] = most, total[g] = total[g] * keep + other_total * take;
#pragma unroll
    for (int i = 0; i < 8; i++) sum[g][i] = sum[g][i] * keep + values[i] * take;
  }
  // With the lanes that hold the same dims of other positions.
  __device__ __forceinline__ void merge_lanes(int lanes) {
#pragma unroll
    for (int g = 0; g < GROUP; g++)
      for (int o = lanes; o < 32; o <<= 1) {
        float values[8];
        const float other_top = __shfl_xor_sync(ALL_LANES, top[g], o), other_total = __shfl_xor_sync(ALL_LANES, total[g], o);
#pragma unroll
        for (int i = 0; i < 8; i++) values[i] = __shfl_xor_sync(ALL_LANES, sum[g][i], o);
        add(g, other_top, other_total, values);
      }
  }
};

__device__ constexpr int lanes_of(int head_dim) {  // lanes of 8 dims each, a power of two
  int lanes = 1;
  while (8 * lanes < head_dim) lanes *= 2;
  return lanes;
}

// By what a warp's up to 32 sums of one head are to be taken, a lane each: (maximum, total) at `from`. divide: the sum
// is complete; else the maximum and total of all go to `to`. Every lane must call it. from: in shared memory, or written
// by another block just now, hence volatile.
__device__ __forceinline__ void share_of(float *factors, bool mine, const volatile float *from, bool divide, float *to) {
  const float top = mine ? from[0] : LOWEST, total = mine ? from[1] : 0.f;
  const float most = warp_max(top), take = mine ? exp2f(top - most) : 0.f, all = warp_sum(total * take);
  factors[lane_id()] = divide ? take / all : take;
  if (!divide && lane_id() == 0) __stcg(to, most), __stcg(to + 1, all);
}

template <class KV, int HEAD_DIM, int GROUP, int BLOCK>
__global__ void __launch_bounds__(32 * WARPS) attention(AttentionArguments a) {
  constexpr int ROW = padded(HEAD_DIM, KV::UNIT), LANES = lanes_of(HEAD_DIM), AT_ONCE = 32 / LANES, WIDE = HEAD_DIM + 2;
  __shared__ float merged[WARPS * GROUP * WIDE];
  __shared__ float factors[GROUP * 32];
  __shared__ int is_last;
  const int token = blockIdx.x, tile = blockIdx.y, split = blockIdx.z, lane = lane_id(), warp = warp_id();
  const int tiles = a.heads / a.kv_heads / GROUP, kv_head = tile / tiles, head = tile * GROUP;
  let_next_start();
  wait_for_previous();
  const int sequence = a.sequences[token];
  if (sequence < 0) return;
  const int position = a.positions[token], end = a.causal ? position + 1 : a.context_lens[sequence];
  const int start = a.window ? max(0, end - a.window) : 0;
  const int splits = min((int)gridDim.z, (end - start + SPAN - 1) / SPAN), span = (end - start + splits - 1) / splits;
  if (split >= splits) return;
  const int first = start + split * span, last = min(end, first + span);
  const int dim = lane % LANES * 8, which = lane / LANES;
  const bool has_dims = dim < HEAD_DIM;
  float q[GROUP][8];
#pragma unroll
  for (int g = 0; g < GROUP; g++)
#pragma unroll
    for (int i = 0; i < 8; i++)
      q[g][i] = dim + i < HEAD_DIM ? __ldcg(a.q + ((size_t)token * a.heads + head + g) * HEAD_DIM + dim + i) : 0.f;
  Softmax<GROUP> softmax;
  softmax.clear();
  const int *table = a.block_tables + (size_t)sequence * a.max_blocks;
  float key[8], value[8], next_key[8], next_value[8];
  const auto load = [&](int j, float *to_key, float *to_value) {
    const int seen = min(j, last - 1);
    const size_t row = ((size_t)table[seen / BLOCK] * a.kv_heads + kv_head) * BLOCK + seen % BLOCK;
    KV::load(a.cache.keys, a.cache.key_scales, row * ROW + (has_dims ? dim : 0), to_key);
    KV::load(a.cache.values, a.cache.value_scales, row * ROW + (has_dims ? dim : 0), to_value);
  };
  load(first + warp * AT_ONCE + which, next_key, next_value);
  for (int at = first + warp * AT_ONCE; at < last; at += WARPS * AT_ONCE) {
    const int j = at + which;
#pragma unroll
    for (int i = 0; i < 8; i++) key[i] = next_key[i], value[i] = next_value[i];
    load(j + WARPS * AT_ONCE, next_key, next_value);  // while this one is computed
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
      float dot = 0.f;
#pragma unroll
      for (int i = 0; i < 8; i++) dot = fmaf(q[g][i], key[i], dot);
#pragma unroll
      for (int o = 1; o < LANES; o <<= 1) dot += __shfl_xor_sync(ALL_LANES, dot, o);
      const float score = score_of(a, dot, head + g, position - j);
      if (j < last) softmax.add(g, score, 1.f, value);
    }
  }
  softmax.merge_lanes(LANES);
  if (which == 0) {
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
      float *to = merged + (warp * GROUP + g) * WIDE;
#pragma unroll
      for (int i = 0; i < 8; i++)
        if (dim + i < HEAD_DIM) to[dim + i] = softmax.sum[g][i];
      if (lane == 0) to[HEAD_DIM] = softmax.top[g], to[HEAD_DIM + 1] = softmax.total[g];
    }
  }
  __syncthreads();
  const size_t place = (size_t)token * gridDim.y + tile;
  float *parts = a.parts + (place * gridDim.z) * GROUP * WIDE;
  if (warp < GROUP) share_of(factors + warp * 32, lane < WARPS, merged + (lane * GROUP + warp) * WIDE + HEAD_DIM, splits == 1, parts + ((size_t)split * GROUP + warp) * WIDE + HEAD_DIM);
  __syncthreads();
  for (int i = threadIdx.x; i < GROUP * HEAD_DIM; i += blockDim.x) {
    const int g = i / HEAD_DIM, d = i % HEAD_DIM;
    float sum = 0.f;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += merged[(w * GROUP + g) * WIDE + d] * factors[g * 32 + w];
    if (splits == 1) a.out[((size_t)token * a.heads + head) * HEAD_DIM + i] = sum;
    else __stcg(parts + ((size_t)split * GROUP + g) * WIDE + d, sum);
  }
  if (splits == 1) return;  // the same for all threads
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(a.tickets + place, 1) == splits - 1;
    if (is_last) a.tickets[place] = 0;
    __threadfence();
  }
  __syncthreads();
  if (!is_last) return;
  if (warp < GROUP) share_of(factors + warp * 32, lane < splits, parts + ((size_t)lane * GROUP + warp) * WIDE + HEAD_DIM, true, nullptr);
  __syncthreads();
  for (int i = threadIdx.x; i < GROUP * HEAD_DIM; i += blockDim.x) {
    const int g = i / HEAD_DIM, d = i % HEAD_DIM;
    float sum = 0.f;
#pragma unroll 8
    for (int s = 0; s < splits; s++) sum += __ldcg(parts + ((size_t)s * GROUP + g) * WIDE + d) * factors[g * 32 + s];
    a.out[((size_t)token * a.heads + head) * HEAD_DIM + i] = sum;
  }
}
