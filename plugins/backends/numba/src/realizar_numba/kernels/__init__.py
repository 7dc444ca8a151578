"""Compiled phases: code that every thread of a pool runs side by side, over a record of arguments.

Each file holds one op's kernels and the function that appends them to a `Program`. Work is split over threads
by rows, heads or tokens only, never along a sum, so the bits do not depend on the number of threads.
"""
