"""Every op on its own: launches over values that are CuPy arrays, cut to the rows in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from realizar.errors import ModelError
from realizar.ops import ACTIVATIONS
from realizar_cuda.attention import Attention, Attributes
from realizar_cuda.constants import Constants
from realizar_cuda.device import Device
from realizar_cuda.gemm import Gemm
from realizar_cuda.gemv import GATED, Target
from realizar_cuda.kvcache import LayerCache
from realizar_cuda.products import Products
from realizar_cuda.staged_step import StagedStep
from realizar_cuda.weights import Weight

Rows = Any
"""A float32 CuPy array [rows, width], densely packed."""

GEMM_TOKENS = 64
"""Tokens above which weights are worth dequantizing first."""

ELEMENTWISE = {"add": 0, "mul": 1, "scale": 2, "act": 3, "act_mul": 4, "softcap": 5}
"""Op -> number of the template in elementwise.cu."""


def address(array: Any) -> int:
    """Where an array is; 0 for None."""
    return 0 if array is None else int(array.data.ptr)


class Ops:
    """The ops on one device."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.constants = Constants(device)
        self.products, self.gemm = Products(device), Gemm(device)
        self.attention = Attention(device, self.constants)

    def embedding(self, ids: Any, weight: Weight, scale: float, out: Rows) -> None:
        """Rows of a table of any type."""
        name = f"embed_{'quantized' if weight.is_quantized else 'plain'}<{weight.kind}>"
        self.device.launch(
            name, (len(ids),), 128, (*weight.pointers(), address(ids), address(out), weight.width, scale)
        )

    def rms_norm(self, x: Rows, weight: Any, eps: float, out: Rows) -> None:
        """Over groups of as many columns as the weight has."""
        self._norm("rms_norm", x, (weight,), eps, out)

    def layer_norm(self, x: Rows, weight: Any, bias: Any, eps: float, out: Rows) -> None:
        """Over groups of as many columns as the weight has."""
        self._norm("layer_norm", x, (weight, bias), eps, out)

    def _norm(self, name: str, x: Rows, factors: tuple[Any, ...], eps: float, out: Rows) -> None:
        width = factors[0].shape[-1]
        pointers = (address(x), *map(address, factors), address(out))
        values = (*pointers, width, factors[0].size // width, eps)
        self.device.launch(name, (x.size // width,), _threads(width), values)

    def linear(self, x: Rows, weight: Weight, bias: Any, out: Rows) -> None:
        """With few tokens on weights as they are stored, with many by gemm."""
        if len(x) > GEMM_TOKENS:
            self.gemm.run(address(x), len(x), weight, address(bias), address(out))
        elif len(x):
            self.products.run(address(x), len(x), [Target(weight, address(out), address(bias))])

    def rope(self, x: Rows, positions: Any, head_dim: int, inv_freq: Sequence[float], scale: float, out: Rows) -> None:
        """One block for each token and head."""
        heads = x.shape[1] // head_dim
        frequencies = self.constants.doubles(tuple(inv_freq))
        values = (address(x), address(positions), frequencies, address(out), heads, head_dim, len(inv_freq), scale)
        self.device.launch("rope", (len(x) * heads,), _threads(len(inv_freq), 128), values)

    def write_and_attend(
        self, q: Rows, k: Rows, v: Rows, attributes: Attributes, cache: LayerCache, step: StagedStep, out: Rows
    ) -> None:
        """Keys and values into the cache, then attention over it."""
        if len(q):
            self.attention.write(address(k), address(v), len(q), cache, step)
            self.attention.attend(address(q), address(out), len(q), attributes, cache, step)

    def elementwise(
        self, op: str, x: Rows, y: Rows | None, out: Rows, *, kind: str = ACTIVATIONS[0], factor: float = 0.0
    ) -> None:
        """An op of ELEMENTWISE."""
        columns = 0 if y is None else y.shape[1]
        values = (
            address(x), address(y), address(out), x.size, x.shape[1], columns, ACTIVATIONS.index(kind), factor,
        )  # fmt: skip
        blocks = min(-(-x.size // 256), 8 * self.device.num_processors)
        self.device.launch(f"elementwise<{ELEMENTWISE[op]}>", (blocks,), 256, values)

    def gather_rows(self, x: Rows, rows: Any, out: Rows) -> None:
        """out[r] = x[rows[r]]."""
        values = (address(x), address(rows), address(out), x.shape[1])
        self.device.launch("gather_rows", (len(rows),), 256, values)

    def moe_ffn(
        self, x: Rows, router: Weight, gate: Weight, up: Weight, down: Weight, slots: int, kind: str, normalize: bool,
        out: Rows,
    ) -> None:  # fmt: skip
        """Each row through its experts, a product a row and expert."""
        if slots > router.rows:
            raise ModelError(f"num_experts_per_tok is {slots}, the router has {router.rows} experts")
        tokens, pairs, scratch = len(x), len(x) * slots, self.device.scratch
        if not tokens:
            return
        scores = scratch("moe scores", 4 * tokens * router.rows)
        chosen, shares = scratch("moe chosen", 4 * pairs), scratch("moe shares", 4 * pairs)
        hidden, parts = scratch("moe hidden", 4 * pairs * gate.rows), scratch("moe parts", 4 * pairs * down.rows)
        self.products.run(address(x), tokens, [Target(router, scores)])
        values = (scores, chosen, shares, router.rows, slots, int(normalize))
        self.device.launch("route", (tokens,), 32, values, 4 * router.rows)
        targets = [Target(gate, hidden), Target(up, hidden)]
        self.products.gemv.run_experts(address(x), pairs, slots, chosen, targets, GATED, kind=kind)
        self.products.gemv.run_experts(hidden, pairs, 1, chosen, [Target(down, parts)])
        self.device.launch("combine", (tokens,), 256, (parts, shares, address(out), down.rows, slots))


def _threads(width: int, most: int = 256) -> int:
    """Whole warps for rows of a width."""
    return min(most, max(32, -(-width // 32) * 32))
