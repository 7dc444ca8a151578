// One product of tensor cores, and what goes into it.
#pragma once
#include "common.cuh"

__device__ __forceinline__ u32 halves(float x, float y) {
  const __half2 both = __floats2half2_rn(x, y);
  return *(const u32 *)&both;
}

// d += a b, 16 by 8 with 16 summands: float32 sums of halves. Lane 4 g + c has, of a, rows g and g + 8 at summands 2 c and
// 2 c + 8; of b, column g there; of d, columns 2 c of both rows; always two side by side. wmma's fragments hide who holds
// what, so that numbers could not be decoded into them or taken from one product to the next; hence the instruction.
__device__ __forceinline__ void multiply(float *d, const u32 *a, uint2 b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}

// Two 8 by 8 matrices of halves, transposed, out of shared memory: lanes 0 to 15 give the addresses of their rows.
__device__ __forceinline__ uint2 load_transposed(const __half *row) {
  uint2 v;  // an instruction without an intrinsic
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(v.x), "=r"(v.y)
               : "r"((u32)__cvta_generic_to_shared(row)));
  return v;
}
