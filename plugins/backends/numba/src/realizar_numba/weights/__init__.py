"""Weight layouts and their micro-kernels, one file per type.

Every type is stored in groups of 16 rows, so that one 64-byte load gives 4 columns (8 with nibbles) of 16
rows and nothing is ever summed across lanes. Packing moves 4-byte units of the file's blocks; scales lie
right behind their quants, in reading order, one stream. Weights are the unsigned operand of the dot product;
a signed type is stored with a bias, and the accumulator starts at minus bias times the sum of the activations.

A type's module gives: `group_nbytes(columns)`; `pack_group(source, row_nbytes, rows, columns, destination)` for
up to 16 rows; `build_tile(lanes, dot)`, whose `tile(weights, x, columns, sums)` adds 16 rows times `lanes` tokens
to registers; `value(group, row, column)`, one element as float32, bit for bit the reference dequantization.
"""
