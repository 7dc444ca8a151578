// Ops on one element at a time: [rows, width] values, densely packed.
#include "activations.cuh"

enum Elementwise { ADDED, MULTIPLIED, SCALED, ACTIVATED, GATE, CAPPED };

// y: null, or as x, or a single column (y_width 1).
template <int OP>
__global__ void __launch_bounds__(256) elementwise(const float *x, const float *y, float *out, int size, int width, int y_width, int kind, float factor) {
  wait_for_previous();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) {
    const float a = x[i], b = OP == ADDED || OP == MULTIPLIED || OP == GATE ? y[y_width == 1 ? i / width : i] : 0.f;
    if (OP == ADDED) out[i] = a + b;
    else if (OP == MULTIPLIED) out[i] = a * b;
    else if (OP == SCALED) out[i] = a * factor;
    else if (OP == ACTIVATED) out[i] = activate(kind, a);
    else if (OP == GATE) out[i] = activate(kind, a) * b;
    else out[i] = factor * tanhf(a / factor);
  }
}
