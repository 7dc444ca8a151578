// Attention of many tokens of a sequence at once, on tensor cores: flash attention (Dao 2023) over a paged cache.
//
// A block takes 64 tokens and one head, a warp 16 of them; keys and values come 64 at a time into shared memory. Queries
// are halves and what those left, so that scores keep their digits; probabilities are halves.
#include "attention.cuh"
#include "matrix.cuh"

constexpr int QUERIES = 64, KEYS = 64;

// tiles: pairs of first token and number of tokens, of one sequence each. The arguments' parts and tickets are not used.
template <class KV, int HEAD_DIM, int BLOCK>
__global__ void __launch_bounds__(128) prompt_attention(AttentionArguments a, const int *tiles) {
  constexpr int ROW = padded(HEAD_DIM, KV::UNIT), WIDTH = padded(HEAD_DIM, 16), STRIDE = WIDTH + 8;
  constexpr int KEY_TILES = KEYS / 8, DIM_TILES = WIDTH / 8;
  extern __shared__ __align__(16) char shared[];
  __half *q = (__half *)shared, *rest = q + QUERIES * STRIDE, *keys = rest + QUERIES * STRIDE, *values = keys + KEYS * STRIDE;
  wait_for_previous();
  const int lane = lane_id(), warp = warp_id(), g = lane / 4, c = lane % 4;
  const int first = tiles[2 * blockIdx.x], count = tiles[2 * blockIdx.x + 1], head = blockIdx.y;
  const int kv_head = head / (a.heads / a.kv_heads), sequence = a.sequences[first];
  const int *table = a.block_tables + (size_t)sequence * a.max_blocks;
  for (int i = threadIdx.x; i < QUERIES * WIDTH; i += blockDim.x) {
    const int t = i / WIDTH, d = i % WIDTH;
    const float v = t < count && d < HEAD_DIM ? a.q[((size_t)(first + t) * a.heads + head) * HEAD_DIM + d] : 0.f;
    const __half near = __float2half_rn(v);
    q[t * STRIDE + d] = near, rest[t * STRIDE + d] = __float2half_rn(v - __half2float(near));
  }
  int position[2];  // of rows g and g + 8
#pragma unroll
  for (int r = 0; r < 2; r++) position[r] = a.positions[first + min(16 * warp + g + 8 * r, count - 1)];
  const int from = a.window ? max(0, a.positions[first] - a.window + 1) / KEYS * KEYS : 0;
  const int end = a.causal ? a.positions[first + count - 1] + 1 : a.context_lens[sequence];
  float out[DIM_TILES][4] = {}, top[2] = {LOWEST, LOWEST}, total[2] = {0.f, 0.f};
  for (int start = from; start < end; start += KEYS) {
    __syncthreads();
    for (int i = threadIdx.x; i < KEYS * (WIDTH / 8); i += blockDim.x) {
      const int j = i / (WIDTH / 8), d = i % (WIDTH / 8) * 8, seen = min(start + j, end - 1);
      const size_t row = ((size_t)table[seen / BLOCK] * a.kv_heads + kv_head) * BLOCK + seen % BLOCK;
      float k[8] = {}, v[8] = {};
      if (d < HEAD_DIM) {
        KV::load(a.cache.keys, a.cache.key_scales, row * ROW + d, k);
        KV::load(a.cache.values, a.cache.value_scales, row * ROW + d, v);
      }
      *(uint4 *)(keys + j * STRIDE + d) = make_uint4(halves(k[0], k[1]), halves(k[2], k[3]), halves(k[4], k[5]), halves(k[6], k[7]));
      *(uint4 *)(values + j * STRIDE + d) = make_uint4(halves(v[0], v[1]), halves(v[2], v[3]), halves(v[4], v[5]), halves(v[6], v[7]));
    }
    __syncthreads();
    float scores[KEY_TILES][4] = {};
#pragma unroll
    for (int d = 0; d < WIDTH; d += 16) {
      u32 near[4], left[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int at = (16 * warp + g + i % 2 * 8) * STRIDE + d + 2 * c + i / 2 * 8;
        near[i] = *(const u32 *)(q + at), left[i] = *(const u32 *)(rest + at);
      }
#pragma unroll
      for (int n = 0; n < KEY_TILES; n++) {
        const __half *at = keys + (8 * n + g) * STRIDE + d + 2 * c;
        const uint2 key = make_uint2(*(const u32 *)at, *(const u32 *)(at + 8));
        multiply(scores[n], near, key);
        multiply(scores[n], left, key);
      }
    }
    float most[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < KEY_TILES; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int r = i / 2, j = start + 8 * n + 2 * c + i % 2, distance = position[r] - j;
        const bool seen = j < end && (!a.causal || (distance >= 0 && (!a.window || distance < a.window)));
        scores[n][i] = seen ? score_of(a, scores[n][i], head, distance) : LOWEST;
        most[r] = fmaxf(most[r], scores[n][i]);
      }
#pragma unroll
    for (int r = 0; r < 2; r++) {
      most[r] = fmaxf(most[r], __shfl_xor_sync(ALL_LANES, most[r], 1));
      most[r] = fmaxf(most[r], __shfl_xor_sync(ALL_LANES, most[r], 2));
      const float keep = exp2f(top[r] - most[r]);
      top[r] = most[r], total[r] *= keep;
#pragma unroll
      for (int n = 0; n < DIM_TILES; n++) out[n][2 * r] *= keep, out[n][2 * r + 1] *= keep;
    }
#pragma unroll
    for (int n = 0; n < KEY_TILES; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        scores[n][i] = scores[n][i] == LOWEST ? 0.f : exp2f(scores[n][i] - top[i / 2]);  // a row may see none of these
        total[i / 2] += scores[n][i];
      }
#pragma unroll
    for (int k = 0; k < KEY_TILES; k += 2) {
      const u32 shares[4] = {halves(scores[k][0], scores[k][1]), halves(scores[k][2], scores[k][3]),
                             halves(scores[k + 1][0], scores[k + 1][1]), halves(scores[k + 1][2], scores[k + 1][3])};
#pragma unroll
      for (int n = 0; n < DIM_TILES; n++) multiply(out[n], shares, load_transposed(values + (8 * k + lane % 16) * STRIDE + 8 * n));
    }
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    total[r] += __shfl_xor_sync(ALL_LANES, total[r], 1);
    total[r] += __shfl_xor_sync(ALL_LANES, total[r], 2);
    const int t = 16 * warp + g + 8 * r;
    if (t >= count) continue;
    float *to = a.out + ((size_t)(first + t) * a.heads + head) * HEAD_DIM;
#pragma unroll
    for (int n = 0; n < DIM_TILES; n++)
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (8 * n + 2 * c + i < HEAD_DIM) to[8 * n + 2 * c + i] = out[n][2 * r + i] / total[r];
  }
}
