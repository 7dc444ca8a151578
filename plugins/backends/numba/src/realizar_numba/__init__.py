"""CPU backend for realizar: explicit SIMD in Numba."""
