"""NVIDIA GPU backend for realizar: CUDA C++ kernels, compiled at run time through CuPy."""
