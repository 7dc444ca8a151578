"""Weight layouts and their micro-kernels: every type is a way its codes lie and a way its scales lie.

All types are stored in groups of 16 rows, so that one 64-byte load gives 4 columns of 16 rows (8 where codes have 4
bits) and nothing is ever summed across lanes. A group is a row of super-blocks in reading order, one stream: scales,
then blocks of 32 columns whose codes are planes of bits (`codes`). A kernel multiplies codes and int8 activations
exactly (`products`), then scales (`scales`, `super_scales`, `odd_scales`, `byte_scales`): GEMV and GEMM from the same
description, in the same order. Codes are the unsigned operand; a signed type is stored with a bias, which the sum of
the activations undoes.

`words` and `grid_words` know where ggml's blocks keep codes and scales; `registry` names the types. A layout gives
`group_nbytes(columns)`, `build_pack_group()`, `build_value()` and `build_tile(lanes, ...)`; `floats` has those of
types without blocks.
"""
