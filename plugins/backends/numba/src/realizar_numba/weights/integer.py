"""A quantized type's layout, put together from how its codes and its scales lie."""

from __future__ import annotations

from typing import Any

import attrs

from realizar.dtypes import dtype
from realizar_numba.activations import BLOCK_NBYTES, BLOCK_SIZE
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import prefetch
from realizar_numba.simd.targets import Target
from realizar_numba.simd.types import i32x16, registers
from realizar_numba.weights.codes import LINE, Codes
from realizar_numba.weights.packing import PREFETCH
from realizar_numba.weights.products import build_multiply
from realizar_numba.weights.scales import Scales


@attrs.frozen
class IntegerLayout:
    """Groups of 16 rows: super-blocks of scales, then codes; the last may be short.

    word: see `realizar_numba.weights.words`.
    """

    name: str
    codes: Codes
    word: Any
    scales: Scales

    @property
    def super_nbytes(self) -> int:
        """Bytes of a super-block of 16 rows."""
        return self.scales.nbytes + self.scales.columns // BLOCK_SIZE * self.codes.nbytes

    def group_nbytes(self, columns: int) -> int:
        """Bytes of 16 rows."""
        headers = -(-columns // self.scales.columns)
        return headers * self.scales.nbytes + columns // BLOCK_SIZE * self.codes.nbytes

    def build_pack_group(self) -> Any:
        """pack_group(source, row_nbytes, rows, columns, destination): up to 16 rows as the file has them."""
        file_block = dtype(self.name)
        file_nbytes, per_file_block = file_block.block_nbytes, file_block.block_size // BLOCK_SIZE
        super_nbytes, per_super, header_nbytes = self._sizes()
        quants_nbytes = self.codes.nbytes
        write_codes, write_scales = self.codes.build_write(self.word), self.scales.build_write()

        @compiled
        def pack_group(source, row_nbytes, rows, columns, destination):
            for b in range(columns // BLOCK_SIZE):
                header, i = destination + b // per_super * super_nbytes, b % per_super
                quants, s = header + header_nbytes + i * quants_nbytes, b % per_file_block
                for row in range(rows):
                    block = source + row * row_nbytes + b // per_file_block * file_nbytes
                    write_codes(block, s, quants, row)
                    write_scales(block, s, header, i, row)

        return pack_group

    def build_value(self) -> Any:
        """value(group, row, column): one element as float32, bit for bit the reference dequantization."""
        super_nbytes, per_super, header_nbytes = self._sizes()
        quants_nbytes = self.codes.nbytes
        read, scaled = self.codes.build_read(), self.scales.build_value()

        @compiled
        def value(group, row, column):
            b, c = column // BLOCK_SIZE, column % BLOCK_SIZE
            header, i = group + b // per_super * super_nbytes, b % per_super
            return scaled(header, i, row, c, read(header + header_nbytes + i * quants_nbytes, row, c))

        return value

    def build_tile(self, lanes: int, target: Target) -> Any:
        """tile(weights, x, columns, sums): add 16 rows times `lanes` tokens to the sums, block after block."""
        super_nbytes, per_super, header_nbytes = self._sizes()
        quants_nbytes, halves = self.codes.nbytes, self.scales.halves
        new_products = registers(i32x16, halves * lanes)
        multiply = build_multiply(self.codes, halves, lanes, target)
        load, add_block = self.scales.build_load(), self.scales.build_add(lanes)

        @compiled
        def tile(weights, x, columns, sums):
            blocks = columns // BLOCK_SIZE
            while blocks > 0:
                loaded, quants = load(weights), weights + header_nbytes
                if lanes <= 2:
                    for line in range(0, header_nbytes, LINE):
                        prefetch(weights + line + PREFETCH)
                for i in range(min(blocks, per_super)):
                    products = new_products()
                    multiply(quants, x, products)
                    add_block(products, loaded, weights, i, x, sums)
                    quants += quants_nbytes
                    x += BLOCK_NBYTES
                weights += super_nbytes
                blocks -= per_super

        return tile

    def _sizes(self) -> tuple[int, int, int]:
        """Bytes of a super-block, blocks in it, bytes of its header."""
        return self.super_nbytes, self.scales.columns // BLOCK_SIZE, self.scales.nbytes
