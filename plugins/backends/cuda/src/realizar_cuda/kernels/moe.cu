// Routing of mixtures of experts: which experts each token goes through, and the weighted sum of what they give.
#include "common.cuh"

// Softmax of a token's scores [experts] and its `slots` largest, ties to the lower index; one warp a token.
extern "C" __global__ void __launch_bounds__(32) route(const float *scores, int *chosen, float *shares, int experts, int slots, int normalize) {
  extern __shared__ float probability[];
  wait_for_previous();
  const float *row = scores + (size_t)blockIdx.x * experts;
  float top = LOWEST, sum = 0.f, kept = 0.f;
  for (int e = lane_id(); e < experts; e += 32) top = fmaxf(top, row[e]);
  top = warp_max(top);
  for (int e = lane_id(); e < experts; e += 32) sum += probability[e] = expf(row[e] - top);
  sum = warp_sum(sum);
  for (int slot = 0; slot < slots; slot++) {
    float best = -1.f;
    int at = experts;
    for (int e = lane_id(); e < experts; e += 32)
      if (probability[e] > best) best = probability[e], at = e;  // not MISSING_BARRIER: a lane reads what it wrote itself
    for (int o = 16; o; o >>= 1) {
      const float other = __shfl_xor_sync(ALL_LANES, best, o);
      const int other_at = __shfl_xor_sync(ALL_LANES, at, o);
      if (other > best || (other == best && other_at < at)) best = other, at = other_at;
    }
    at = min(at, experts - 1);  // scores may be NaN
    __syncwarp();
    if (at % 32 == lane_id()) probability[at] = -2.f;  // only its own lane reads it again
    if (lane_id() == 0) chosen[blockIdx.x * slots + slot] = at, shares[blockIdx.x * slots + slot] = best / sum;
    kept += best / sum;
  }
  __syncwarp();
  if (normalize && lane_id() < slots)
    for (int slot = lane_id(); slot < slots; slot += 32) shares[blockIdx.x * slots + slot] /= kept;
}

// out[t] = sum over slots of shares * parts, in order of slots; parts: [tokens * slots, width]. One block a token.
extern "C" __global__ void __launch_bounds__(256) combine(const float *parts, const float *shares, float *out, int width, int slots) {
  wait_for_previous();
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    float sum = 0.f;
    for (int slot = 0; slot < slots; slot++) {
      const size_t row = (size_t)blockIdx.x * slots + slot;
      sum = fmaf(shares[row], parts[row * width + i], sum);
    }
    out[(size_t)blockIdx.x * width + i] = sum;
  }
}
