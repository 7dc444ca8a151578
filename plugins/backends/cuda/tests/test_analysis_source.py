"""Each class of bug, planted in CUDA C++ and found, and a clean kernel beside it where nothing is."""

from __future__ import annotations

from pathlib import Path

import pytest

import realizar_cuda
from realizar_cuda.analysis import Severity, check_source
from realizar_cuda.analysis.source_tree import functions, walk

HEAD = "__global__ void k(const float *x, float *out, int n) {\n"

HELPERS = """
__device__ __forceinline__ float block_sum(float v, float *scratch) {
  v = warp_sum(v);
  __syncthreads();
  if (lane_id() == 0) scratch[threadIdx.x >> 5] = v;
  __syncthreads();
  return warp_sum(scratch[lane_id()]);
}
"""

PLANTED = {
    "EARLY_EXIT_BARRIER": """
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  __shared__ float s[256];
  s[threadIdx.x] = x[i];
  __syncthreads();
  out[i] = s[255 - threadIdx.x];
""",
    "DIVERGENT_BARRIER": """
  __shared__ float s[256];
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    s[threadIdx.x] = x[i];
    __syncthreads();
    out[i] = s[0];
    __syncthreads();
  }
""",
    "MISSING_BARRIER": """
  __shared__ float s[256];
  int i = min(threadIdx.x, n - 1);
  s[threadIdx.x] = x[i];
  out[i] = s[255 - threadIdx.x];
""",
    "NO_BOUNDS_CHECK": """
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = 2.f * x[i];
""",
    "EMPTY_LOOP": """
  if (threadIdx.x < n) out[threadIdx.x] = 0.f;
  for (int i = 0; i < n; i++) {}
""",
    "UNCOALESCED": """
  if (threadIdx.x < n) out[threadIdx.x] = x[threadIdx.x * n];
""",
    "BANK_CONFLICT": """
  __shared__ float s[32][32];
  int i = min(threadIdx.x, n - 1);
  s[i][0] = x[i];
  __syncthreads();
  out[i] = s[threadIdx.x][3];
""",
    "PLACEHOLDER_CODE": """
  if (threadIdx.x < n) out[threadIdx.x] = x[threadIdx.x];  // TODO the tail
""",
}

CLEAN = {
    "EARLY_EXIT_BARRIER": """
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (n == 0) return;
  __shared__ float s[256];
  s[threadIdx.x] = i < n ? x[i] : 0.f;
  __syncthreads();
  if (i >= n) return;
  out[i] = s[255 - threadIdx.x];
""",
    "DIVERGENT_BARRIER": """
  __shared__ float s[256];
  for (int start = 0; start < n; start += blockDim.x) {
    int i = start + threadIdx.x;
    s[threadIdx.x] = i < n ? x[i] : 0.f;
    __syncthreads();
    if (i < n) out[i] = s[0];
    __syncthreads();
  }
""",
    "MISSING_BARRIER": """
  __shared__ float s[256];
  int i = min(threadIdx.x, n - 1);
  s[threadIdx.x] = x[i];
  s[threadIdx.x] += 1.f;
  __syncthreads();
  out[i] = s[255 - threadIdx.x];
""",
    "NO_BOUNDS_CHECK": """
  for (int i = threadIdx.x; i < n; i += blockDim.x) out[i] = 2.f * x[i];
""",
    "EMPTY_LOOP": """
  int i = 1;
  while (8 * i < n) i *= 2;
  for (int o = 16; o; o >>= 1) i += __shfl_xor_sync(0xffffffffu, i, o);
  if (threadIdx.x < n) out[threadIdx.x] = i;
""",
    "UNCOALESCED": """
  if (threadIdx.x < n) out[threadIdx.x] = x[blockIdx.x * n + threadIdx.x];
""",
    "BANK_CONFLICT": """
  __shared__ float s[32][33];
  int i = min(threadIdx.x, n - 1);
  s[i][0] = x[i];
  __syncthreads();
  out[i] = s[threadIdx.x][3];
""",
    "PLACEHOLDER_CODE": """
  if (threadIdx.x < n) out[threadIdx.x] = x[threadIdx.x];  // to do it, each thread takes one
""",
}


def found(body: str, *, helpers: str = "") -> set[str]:
    return {finding.bug for finding in check_source(HEAD + body + "}\n", helpers)}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found_and_nothing_else(bug):
    assert found(PLANTED[bug]) == {bug}


@pytest.mark.parametrize("bug", CLEAN)
def test_nothing_is_found_where_nothing_is(bug):
    assert found(CLEAN[bug]) == set()


def test_a_finding_says_where_and_how_bad():
    (finding,) = check_source(HEAD + PLANTED["EARLY_EXIT_BARRIER"] + "}\n")
    assert (finding.kernel, finding.line, finding.severity) == ("k", 4, Severity.P0)
    assert "line 7" in finding.message


def test_barriers_are_found_in_functions_that_are_called():
    body = "  __shared__ float s[32];\n  if (threadIdx.x >= n) return;\n  out[threadIdx.x] = block_sum(1.f, s);\n"
    assert found(body, helpers=HELPERS) == {"EARLY_EXIT_BARRIER"}
    assert found(body) == set(), "nobody knows what block_sum does"


def test_a_sum_over_the_block_is_the_same_for_all_its_threads():
    body = """
  __shared__ float s[32];
  const float sum = block_sum(x[min(threadIdx.x, n - 1)], s);
  if (sum > 0.f) return;
  if (threadIdx.x < n) out[threadIdx.x] = block_max(1.f, s);
"""
    helpers = HELPERS + HELPERS.replace("block_sum", "block_max")
    assert found(body, helpers=helpers) == {"DIVERGENT_BARRIER"}


def test_shared_arrays_are_followed_into_calls():
    """Two sums with one scratch: the helper's first barrier separates them. Without it, they race."""
    body = """
  __shared__ float s[32];
  float a = block_sum(1.f, s), b = block_sum(2.f, s);
  if (threadIdx.x < n) out[threadIdx.x] = a + b;
"""
    assert found(body, helpers=HELPERS) == set()
    racing = HELPERS.replace("v = warp_sum(v);\n  __syncthreads();", "v = warp_sum(v);")
    assert found(body, helpers=racing) == {"MISSING_BARRIER"}


def test_the_end_of_a_loop_meets_its_beginning():
    body = """
  __shared__ float s[256];
  for (int start = 0; start < n; start += 256) {
    s[threadIdx.x] = x[min(start + threadIdx.x, n - 1)];
    __syncthreads();
    if (threadIdx.x < n) out[threadIdx.x] = s[255 - threadIdx.x];
  }
"""
    assert found(body) == {"MISSING_BARRIER"}


def test_a_barrier_in_one_branch_is_none_for_the_other():
    body = """
  __shared__ float s[256];
  s[threadIdx.x] = 1.f;
  if (n > 3) __syncthreads();
  if (threadIdx.x < n) out[threadIdx.x] = s[0];
"""
    assert found(body) == {"MISSING_BARRIER"}


def test_a_line_may_be_waived_with_a_reason():
    body = PLANTED["NO_BOUNDS_CHECK"].replace("x[i];", "x[i];  // not NO_BOUNDS_CHECK: the grid is exact")
    assert found(body) == set()
    assert found(body.replace("the grid is exact", "")) == {"NO_BOUNDS_CHECK"}
    assert found(body.replace("NO_BOUNDS_CHECK", "UNCOALESCED")) == {"NO_BOUNDS_CHECK"}


def test_functions_of_structs_and_templates_are_read():
    source = """
// int not_a_function(int a) { return 0; }
template <class T, int N> struct S {
  __device__ void put(T *to, int i) const { if constexpr (N > 1) { to[i] = N; } else to[0] = 1; }
};
template <int N> __global__ void __launch_bounds__(N) k(S<float, N> s, int *p) { do { p[0]++; } while (p[0] < N); }
"""
    put, kernel = functions(source)
    assert (put.name, put.is_kernel, put.params, put.pointers) == ("put", False, ("to", "i"), frozenset({"to"}))
    assert (kernel.name, kernel.is_kernel, kernel.line) == ("k", True, 6)
    assert [s.text for s, _ in walk(put.body)] == ["N > 1", "to[i] = N", "to[0] = 1"]
    assert [s.text for s, _ in walk(kernel.body) if s.text] == ["p[0] < N", "p[0]++"]


KERNELS = Path(realizar_cuda.__file__).parent / "kernels"
HEADERS = "".join(path.read_text() for path in sorted(KERNELS.glob("*.cuh")))


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.cu*")), ids=lambda path: path.name)
def test_our_kernels_are_clean(path):
    assert check_source(path.read_text(), HEADERS) == []
