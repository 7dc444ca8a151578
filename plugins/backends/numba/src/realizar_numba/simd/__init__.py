"""A SIMD vocabulary for Numba: vectors of 512 bits as values, memory by address, one LLVM operation per function."""
