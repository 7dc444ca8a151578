// out = x @ weight.T on tensor cores for some tokens at once: weights are read once and decoded into registers.
//
// A block of 8 warps takes 16 rows for each of ROW_WARPS warps; where those are fewer than 8, the others take other
// parts of the rows' elements, and sums are brought together in a fixed order.
#include "activations.cuh"
#include "tiles.cuh"
#include <cuda_pipeline.h>

enum Epilogue { STORE, ADD, GATED };

struct Matrix {
  Planes weights;
  const float *bias;  // or null
  float *out;         // [tokens, rows]
  int rows, unused;
};

struct TileArguments {
  Matrix matrix[3];
  const __half *x;        // of tile_rows: [tokens, padded]
  const int *exponents;   // [tokens]
  int tokens, padded, chunks, tasks, activation, unused;
};

// TOKEN_TILES: of 8 tokens each.
template <class T, int TOKEN_TILES, int ROW_WARPS, int EPILOGUE>
__global__ void __launch_bounds__(256) tile_product(TileArguments a) {
  constexpr int SPLITS = 8 / ROW_WARPS, PARTS = EPILOGUE == GATED ? 2 : 1, TOKENS = 8 * TOKEN_TILES;
  constexpr int UNIT = SPAN * SPLITS * (TOKEN_TILES < 8 && PARTS == 1 ? 2 : 1), WANTED = 2048 / TOKEN_TILES;
  constexpr int SLAB = WANTED < UNIT ? UNIT : WANTED;  // elements of each row in shared memory, twice
  constexpr int STRIDE = SLAB + 16;                    // so that tokens do not share banks
  extern __shared__ __align__(16) char shared[];
  __half *x = (__half *)shared;
  const int warp = warp_id(), lane = lane_id(), g = lane / 4, c = lane % 4, split = warp / ROW_WARPS;
  const int first = blockIdx.y * TOKENS, count = min(TOKENS, a.tokens - first);
  const int spans = a.padded / SPAN, units = (a.chunks + CHUNKS_OF_32<T>() - 1) / CHUNKS_OF_32<T>();
  let_next_start();
  int task = blockIdx.x * ROW_WARPS + warp % ROW_WARPS, matrix = 0;
  const bool idle = task >= a.tasks;
  if (idle) task = a.tasks - 1;
  if (EPILOGUE != GATED) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int tiles = (a.matrix[i].rows + 15) / 16;
      if (matrix == i && task >= tiles) task -= tiles, matrix++;
    }
  }
  const Matrix &m = matrix == 0 ? a.matrix[0] : matrix == 1 ? a.matrix[1] : a.matrix[2];
  const int row = 16 * task + g;
  const size_t rows[2] = {(size_t)min(row, m.rows - 1), (size_t)min(row + 8, m.rows - 1)};
  TileChunk<T> now[PARTS][2], next[PARTS][2], later[PARTS][2];
  const auto load = [&](TileChunk<T>(&to)[PARTS][2], int span) {
#pragma unroll
    for (int p = 0; p < PARTS; p++)
#pragma unroll
      for (int r = 0; r < 2; r++) to[p][r].load(p ? a.matrix[1].weights : m.weights, rows[r], a.chunks, min(4 * span + c, units - 1));
  };
  load(next, min(split, spans - 1));  // weights do not depend on the previous kernel
  if (PARTS == 1) load(later, min(split + SPLITS, spans - 1));
  wait_for_previous();
  float sums[PARTS][TOKEN_TILES][4] = {};
  const auto fetch = [&](int start) {
    __half *to = x + start / SLAB % 2 * TOKENS * STRIDE;
    const int eights = min(SLAB, a.padded - start) / 8;
    for (int i = threadIdx.x; i < TOKENS * eights; i += blockDim.x) {
      const int t = i / eights, e = i % eights * 8;  // beyond the last token its row again, which nobody stores
      __pipeline_memcpy_async(to + t * STRIDE + e, a.x + (size_t)(first + min(t, count - 1)) * a.padded + start + e, 16);
    }
    __pipeline_commit();
  };
  fetch(0);
  for (int start = 0; start < a.padded; start += SLAB) {
    const int width = min(SLAB, a.padded - start);
    if (start + SLAB < a.padded) fetch(start + SLAB);
    __pipeline_wait_prior(start + SLAB < a.padded ? 1 : 0);
    __syncthreads();
    const __half *slab = x + start / SLAB % 2 * TOKENS * STRIDE;
    for (int span = start / SPAN + split; span < (start + width) / SPAN; span += SPLITS) {
#pragma unroll
      for (int p = 0; p < PARTS; p++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
          now[p][r] = next[p][r], now[p][r].prepare(min(4 * span + c, units - 1));
          if (PARTS == 1) next[p][r] = later[p][r];
        }
      if (PARTS == 1) load(later, min(span + 2 * SPLITS, spans - 1));
      else load(next, min(span + SPLITS, spans - 1));
      const __half *here = slab + g * STRIDE + (span * SPAN - start) + 4 * c;
#pragma unroll
      for (int s = 0; s < STEPS_OF_SPAN; s++) {
        u32 weights[PARTS][4];
#pragma unroll
        for (int p = 0; p < PARTS; p++) {
          const uint2 upper = now[p][0].four(s), lower = now[p][1].four(s);
          weights[p][0] = upper.x, weights[p][1] = lower.x, weights[p][2] = upper.y, weights[p][3] = lower.y;
        }
#pragma unroll
        for (int t = 0; t < TOKEN_TILES; t++) {
          const uint2 four = *(const uint2 *)(here + 8 * t * STRIDE + 16 * s);
#pragma unroll
          for (int p = 0; p < PARTS; p++) multiply(sums[p][t], weights[p], four);
        }
      }
    }
    __syncthreads();
  }
  if (SPLITS > 1) {  // sums of the other splits, in order
    float *parts = (float *)shared;
    constexpr int EACH = PARTS * TOKEN_TILES * 4;
    if (split > 0) {
#pragma unroll
      for (int i = 0; i < EACH; i++) parts[((split - 1) * ROW_WARPS + warp % ROW_WARPS) * 32 * EACH + 32 * i + lane] = (&sums[0][0][0])[i];
    }
    __syncthreads();
    if (split > 0) return;
    for (int other = 1; other < SPLITS; other++) {
#pragma unroll
      for (int i = 0; i < EACH; i++) (&sums[0][0][0])[i] += parts[((other - 1) * ROW_WARPS + warp) * 32 * EACH + 32 * i + lane];
    }
  }
  if (idle) return;
#pragma unroll
  for (int t = 0; t < TOKEN_TILES; t++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int token = first + 8 * t + 2 * c + i % 2, at = row + i / 2 * 8;
      if (token >= a.tokens || at >= m.rows) continue;
      const float factor = ldexpf(1.f / WEIGHT_FACTOR, a.exponents[token]);
      float *out = m.out + (size_t)token * m.rows + at, result = sums[0][t][i] * factor;
      if (EPILOGUE == GATED) result = activate(a.activation, result) * (sums[PARTS - 1][t][i] * factor);
      else if (m.bias != nullptr) result += m.bias[at];
      *out = EPILOGUE == ADD ? *out + result : result;
    }
}
