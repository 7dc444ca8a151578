// out = x @ weight.T for a few tokens: one warp for a few rows of the weight at a time, each weight read once.
//
// Up to three matrices over the same x run as one launch. A block first brings its tokens into shared memory, normed and
// rounded as the weights want them; that is cheaper than a launch of its own.
#include "activations.cuh"
#include "staging.cuh"

enum Epilogue { STORE, ADD, GATED };

struct Matrix {
  Planes weights;
  const float *bias;  // or null
  float *out;         // [tokens, rows]
  int rows, unused;
};

struct GemvArguments {
  Matrix matrix[3];
  const float *x;     // [tokens, width]
  const float *norm;  // factors of rms_norm [width]
  const int *experts; // null, or which of the matrices stacked in `weights` each row of the output goes through
  int tokens, width, chunks, tasks, activation, slots;
  float eps;
  int unused;
};

// Which rows a warp works on: the rows of a task, side by side in one matrix, or one of gate and one of up by turns.
template <int ROWS, int EPILOGUE> struct Task {
  Planes planes[2];
  size_t chunk[ROWS];  // of the first of each row
  int matrix, row;

  __device__ __forceinline__ void find(const GemvArguments &a, int task, int expert) {
    constexpr int STRIDE = EPILOGUE == GATED ? ROWS / 2 : ROWS;
    matrix = 0;
    if constexpr (EPILOGUE != GATED) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int count = (a.matrix[i].rows + STRIDE - 1) / STRIDE;
        if (matrix == i && task >= count) task -= count, matrix++;
      }
    }
    row = task * STRIDE;
    const Matrix &m = matrix == 0 ? a.matrix[0] : matrix == 1 ? a.matrix[1] : a.matrix[2];
    planes[0] = m.weights;
    planes[1] = a.matrix[1].weights;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const int at = row + (EPILOGUE == GATED ? r / 2 : r);
      chunk[r] = ((size_t)expert * m.rows + min(at, m.rows - 1)) * a.chunks;
    }
  }
  template <class T> __device__ __forceinline__ void load(Stored<T> *slots, int c) const {
#pragma unroll
    for (int r = 0; r < ROWS; r++) slots[r].load(planes[EPILOGUE == GATED ? r % 2 : 0], chunk[r] + c);
  }
};

// Largest divisor of `steps` that is at most `most`: slots are refilled in turn, so turns must come out even.
__device__ constexpr int depth_of(int steps, int most) {
  for (int depth = most; depth > 1; depth--)
    if (steps % depth == 0) return depth;
  return 1;
}

// Threads of a block; the most warps that have what they keep of so many tokens in registers.
__device__ constexpr int threads_of(int tokens) { return tokens <= 2 ? 512 : 256; }

// One token into shared memory. TURNS: how many times four elements each thread takes, so that all its loads are in
// flight at once; 0 if that is known at run time only.
template <class T, int TURNS> __device__ __forceinline__ void stage(const GemvArguments &a, const float *x, char *staged, float *scratch) {
  constexpr int HELD = TURNS ? TURNS : 1;
  const int end = a.chunks * Staging<T>::CHUNK, stride = 4 * blockDim.x, turns = TURNS ? TURNS : (end + stride - 1) / stride;
  float4 v[HELD], w[HELD];
  float factor = 1.f, squares = 0.f;
  if (TURNS || a.norm != nullptr) {
#pragma unroll
    for (int i = 0; i < turns; i++) {
      v[i % HELD] = four_of(x, 4 * threadIdx.x + i * stride, a.width);
      if (TURNS == 0) squares += dot4(v[0], v[0]);
    }
  }
  if (a.norm != nullptr) {
#pragma unroll
    for (int i = 0; i < TURNS; i++) {
      w[i] = four_of(a.norm, 4 * threadIdx.x + i * stride, a.width);
      squares += dot4(v[i], v[i]);
    }
    factor = 1.f / sqrtf(block_sum(squares, scratch) / a.width + a.eps);
  }
#pragma unroll
  for (int i = 0; i < turns; i++) {
    const int e = 4 * threadIdx.x + i * stride;
    if ((e & ~127) >= end) break;  // whole warps: groups of 16 span lanes
    if (TURNS == 0) v[0] = four_of(x, e, a.width);
    float4 four = v[i % HELD];
    if (a.norm != nullptr) {
      if (TURNS == 0) w[0] = four_of(a.norm, e, a.width);
      const float4 by = w[i % HELD];
      four = make_float4(four.x * factor * by.x, four.y * factor * by.y, four.z * factor * by.z, four.w * factor * by.w);
    }
    if (Staging<T>::CHUNK == 32 || e < end) Staging<T>::put(staged, a.chunks, e, four);
  }
}

// Sums of one step over the chunks that this lane has in hand.
template <class T, int TOKENS, int ROWS>
__device__ __forceinline__ void accumulate(float (&sums)[ROWS][TOKENS], const Stored<T> *slots, const char *staged, int chunks, int c) {
  typename Staging<T>::Weights weights[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) weights[r] = Staging<T>::unpack(slots[r], c & 7);
#pragma unroll
  for (int t = 0; t < TOKENS; t++) {
    const typename Staging<T>::Activations x = Staging<T>::get(staged + (size_t)t * chunks * Staging<T>::NBYTES, chunks, c);
#pragma unroll
    for (int r = 0; r < ROWS; r++) sums[r][t] += Staging<T>::dot(weights[r], x);
  }
}

// WIDTH: chunks of a row, or 0 if they are known at run time only. DEPTH: chunks of each row that a lane has in flight.
template <class T, int WIDTH, int TOKENS, int ROWS, int DEPTH, int EPILOGUE>
__global__ void __launch_bounds__(threads_of(TOKENS)) gemv(GemvArguments a) {
  extern __shared__ __align__(16) char staged[];
  __shared__ float scratch[32];
  constexpr int STEPS = WIDTH / 32, SLOTS = depth_of(STEPS ? STEPS : 1, DEPTH);
  constexpr int TURNS = (WIDTH * Staging<T>::CHUNK / 4 + threads_of(TOKENS) - 1) / threads_of(TOKENS);
  constexpr int VALUES = EPILOGUE == GATED ? ROWS / 2 : ROWS;  // a token's results of a task
  const int chunks = WIDTH ? WIDTH : a.chunks, lane = lane_id(), num_warps = gridDim.x * (blockDim.x / 32);
  int task = warp_id() * gridDim.x + blockIdx.x;
  let_next_start();
  Task<ROWS, EPILOGUE> now;
  Stored<T> slots[SLOTS][ROWS];
  if (WIDTH && a.experts == nullptr && task < a.tasks) {  // weights do not depend on the previous kernel
    now.find(a, task, 0);
#pragma unroll
    for (int s = 0; s < SLOTS; s++) now.load(slots[s], 32 * s + lane);
  }
  wait_for_previous();
  const int expert = a.experts == nullptr ? 0 : a.experts[blockIdx.y];
  const int first = a.experts == nullptr ? blockIdx.y * TOKENS : blockIdx.y / a.slots;
  for (int t = 0; t < TOKENS; t++)
    stage<T, TURNS <= 16 ? TURNS : 0>(a, a.x + (size_t)min(first + t, a.tokens - 1) * a.width, staged + (size_t)t * chunks * Staging<T>::NBYTES, scratch);
  __syncthreads();
  if (task >= a.tasks) return;  // no barrier follows
  if (!WIDTH || a.experts != nullptr) {
    now.find(a, task, expert);
    if (WIDTH) {
#pragma unroll
      for (int s = 0; s < SLOTS; s++) now.load(slots[s], 32 * s + lane);
    }
  }
  for (; task < a.tasks; task += num_warps) {
    const bool more = task + num_warps < a.tasks;
    Task<ROWS, EPILOGUE> next = now;
    if (more) next.find(a, task + num_warps, expert);
    const Matrix &m = now.matrix == 0 ? a.matrix[0] : now.matrix == 1 ? a.matrix[1] : a.matrix[2];
    const int token = a.experts == nullptr ? first + lane / VALUES : blockIdx.y, row = now.row + lane % VALUES;
    const bool mine = lane < VALUES * TOKENS && row < m.rows && (a.experts != nullptr || token < a.tokens);
    float *out = m.out + (size_t)token * m.rows + row;
    float result = EPILOGUE == ADD && mine ? __ldcg(out) : 0.f;
    if (EPILOGUE != GATED && m.bias != nullptr && mine) result += m.bias[row];
    float sums[ROWS][TOKENS] = {};
    if constexpr (WIDTH != 0) {
#pragma unroll (TOKENS == 1 ? STEPS : 1)
      for (int turn = 0; turn < STEPS; turn += SLOTS) {
#pragma unroll
        for (int s = 0; s < SLOTS; s++) {
          accumulate<T, TOKENS, ROWS>(sums, slots[s], staged, chunks, 32 * (turn + s) + lane);
          if (turn + SLOTS < STEPS) now.load(slots[s], 32 * (turn + SLOTS + s) + lane);
          else if (more) next.load(slots[s], 32 * s + lane);
        }
      }
    } else {
      for (int c = lane; c < chunks; c += 32) {
        now.load(slots[0], c);
        accumulate<T, TOKENS, ROWS>(sums, slots[0], staged, chunks, c);
      }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
      for (int t = 0; t < TOKENS; t++) sums[r][t] = warp_sum(sums[r][t]);
    float gate = 0.f, up = 0.f;
#pragma unroll
    for (int t = 0; t < TOKENS; t++)
#pragma unroll
      for (int v = 0; v < VALUES; v++)
        if (lane == t * VALUES + v) {
          if (EPILOGUE == GATED) gate = sums[2 * v][t], up = sums[2 * v + 1][t];
          else result += sums[v][t];
        }
    if (EPILOGUE == GATED) result = activate(a.activation, gate) * up;
    if (mine) *out = result;
    now = next;
  }
}
