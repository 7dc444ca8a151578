"""The scale and offset with which small integers come closest to groups of weights, by least squares.

Groups are the columns of x [size, n], so that sums run over contiguous memory. For given codes q the best scale and
offset solve the normal equations; codes are tried for several starting scales and then improved by turns, as in
k-means: codes from scales, scales from codes. The search over starting scales is the idea of ggml's `make_qx_quants`
and `make_qkx2_quants` (`ggml-quants.c`); with equal weights it minimizes the mean squared error itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np

from realizar.quant.layouts import Float32Array

Weights = Float32Array | None
"""How much an error counts, shaped as x; None: all alike."""


def fit_affine(
    x: Float32Array, weights: Weights, top: int, steps: Sequence[float], turns: int
) -> tuple[Float32Array, Float32Array]:
    """scale [n] and offset [n] <= 0 of x = scale q + offset, q in 0..top.

    steps: how many codes more than `top` the range of a group is cut into at first, for each trial.
    """
    low = np.minimum(x.min(axis=0), 0)
    width = x.max(axis=0) - low
    best = _Best(low, np.zeros_like(low), low)
    sums, shifted, codes = _Sums.of(x, weights), x - low, np.empty_like(x)
    for step in steps:
        np.multiply(shifted, _divided(np.float32(top + step), width), out=codes)
        best.offer(*sums.solve_affine(_whole(codes, 0, top)))
    for _ in range(turns):
        np.subtract(x, best.offset, out=codes)
        np.multiply(codes, _divided(np.float32(1), best.scale), out=codes)
        best.offer(*sums.solve_affine(_whole(codes, 0, top)))
    return best.scale, best.offset


def fit_symmetric(
    x: Float32Array, weights: Weights, bottom: int, steps: Sequence[float], turns: int,
    to_codes: Callable[[Float32Array], Float32Array] | None = None,
) -> Float32Array:  # fmt: skip
    """scale [n], of either sign, of x = scale q with q in bottom..-bottom - 1, or what `to_codes` rounds to.

    steps: how far beyond `bottom` the largest element of a group lies at first, for each trial.
    """
    to_codes = to_codes or (lambda scaled: _whole(scaled, bottom, -bottom - 1))
    extreme = np.take_along_axis(x, np.abs(x).argmax(axis=0)[np.newaxis], axis=0)[0]
    zero = np.zeros_like(extreme)
    best = _Best(zero, zero.copy(), zero)
    sums, codes = _Sums.of(x, weights), np.empty_like(x)
    for step in steps:
        np.multiply(x, _divided(np.float32(bottom - step), extreme), out=codes)
        best.offer(*sums.solve_symmetric(to_codes(codes)))
    for _ in range(turns):
        np.multiply(x, _divided(np.float32(1), best.scale), out=codes)
        best.offer(*sums.solve_symmetric(to_codes(codes)))
    return best.scale


def _divided(number: np.float32, by: Float32Array) -> Float32Array:
    """number / by, 0 where that is not finite."""
    quotient: Float32Array = number / by
    quotient[~np.isfinite(quotient)] = 0
    return quotient


def _whole(codes: Float32Array, low: int, high: int) -> Float32Array:
    """Codes rounded and bounded, in place."""
    np.rint(codes, out=codes)
    np.maximum(codes, low, out=codes)
    return np.minimum(codes, high, out=codes)


@attrs.define
class _Best:
    """What has been found for each group. gain: by how much the sum of squared errors is less than that of x."""

    gain: Float32Array
    scale: Float32Array
    offset: Float32Array

    def __attrs_post_init__(self) -> None:
        self.gain = np.full_like(self.scale, -np.inf)

    def offer(self, gain: Float32Array, scale: Float32Array, offset: Float32Array | None = None) -> None:
        better = gain > self.gain
        self.gain = np.where(better, gain, self.gain)
        self.scale = np.where(better, scale, self.scale)
        if offset is not None:
            self.offset = np.where(better, offset, self.offset)


@attrs.frozen
class _Sums:
    """Sums over a group: of weights, of w x, and x or w x itself."""

    weights: Weights
    weighted: Float32Array
    w: Float32Array
    x: Float32Array

    @classmethod
    def of(cls, x: Float32Array, weights: Weights) -> _Sums:
        if weights is None:
            return cls(None, x, np.full(x.shape[1], len(x), np.float32), x.sum(axis=0))
        weighted = weights * x
        return cls(weights, weighted, weights.sum(axis=0), weighted.sum(axis=0))

    def solve_affine(self, codes: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
        """gain, scale and offset for given codes; an offset above 0 becomes 0."""
        q, qq, xq = self._moments(codes)
        determinant = self.w * qq - q * q
        offset: Float32Array = np.divide(qq * self.x - q * xq, determinant)
        above = ~(offset <= 0)
        offset[above] = 0
        scale: Float32Array = np.where(above, xq / qq, (self.w * xq - self.x * q) / determinant)
        gain: Float32Array = scale * xq + offset * self.x
        gain[~np.isfinite(gain)] = -np.inf
        return gain, scale, offset

    def solve_symmetric(self, codes: Float32Array) -> tuple[Float32Array, Float32Array]:
        """gain and scale for given codes."""
        _, qq, xq = self._moments(codes)
        scale = xq / qq
        gain = scale * xq
        gain[~np.isfinite(gain)] = -np.inf
        return gain, scale

    def _moments(self, codes: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Sums of w q, w q^2 and w x q."""
        xq = np.einsum("ij,ij->j", self.weighted, codes)
        if self.weights is None:
            return codes.sum(axis=0), np.einsum("ij,ij->j", codes, codes), xq
        wq = self.weights * codes
        return wq.sum(axis=0), np.einsum("ij,ij->j", wq, codes), xq
