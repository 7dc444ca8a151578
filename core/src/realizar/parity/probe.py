"""A product whose result is known without a reference: ones times ones is the number of columns."""

from __future__ import annotations

import numpy as np

from realizar.backend import Backend
from realizar.dtypes import DType, dtype
from realizar.errors import RealizarError
from realizar.graph import Block, Graph, Node, WeightSpec
from realizar.parity.diagnosis import diagnose
from realizar.parity.side import Rows, Side
from realizar.parity.units import units
from realizar.quant import quantize
from realizar.tensors import LazyTensor


def linear_of_ones(backend: Backend, tokens: int, columns: int, rows: int, weight_type: str = "F32") -> Rows:
    """Ones [tokens, columns] through a linear layer of ones [rows, columns] of a type: `columns`, everywhere.

    Raises RealizarError for a type that nobody here can write.
    """
    kind = dtype(weight_type)
    stored = quantize(np.ones((rows, columns), np.float32), kind)
    tensor = LazyTensor("ones", (rows, columns), kind, "memory: ones", lambda: stored)
    block = Block(
        "ones", (Node("linear", ("x", "ones"), "y"),), {"ones": WeightSpec("ones", (rows, columns), kind.name)}
    )
    graph = Graph((block,), {"x": columns, "y": rows}, output="y")
    weights = {"ones": backend.load(tensor, frozenset({"linear"}))}
    side = Side(backend, graph, weights, kv_type=backend.kv_types[0], max_tokens=tokens, max_model_len=tokens)
    side.start_step([0] * tokens, 0)
    return side.run(units(graph, "op")[0], {"x": np.ones((tokens, columns), np.float32)})


def diagnose_linear(backend: Backend, tokens: int, columns: int, rows: int, kind: DType) -> str | None:
    """What ones say of a linear layer of this size and type; None if they come out right, or cannot be written."""
    try:
        found = linear_of_ones(backend, tokens, columns, rows, kind.name)
    except RealizarError:
        return None
    expected = np.full((tokens, rows), columns, np.float32)
    return None if np.allclose(found, expected, rtol=0.02) else diagnose(found, expected)
