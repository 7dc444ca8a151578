"""The check before a model is served: the first token's logits, through a few layers, against the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.backend import Backend, Buffer
from realizar.errors import ParityError
from realizar.graph import Graph
from realizar.parity.diagnosis import diagnose
from realizar.parity.error import normalized_mean_square_error
from realizar.parity.side import ReferenceSide, Rows, Side
from realizar.parity.units import first_layers, units
from realizar.reference import NumpyBackend
from realizar.tensors import LazyTensor

LAYERS = 2
ROWS = 1024
"""Rows of embedding and output layer that the reference reads: all of a vocabulary would take gigabytes."""

TOKENS = 4

TOLERANCE = 0.05
"""Greatest normalized mean square error: 8-bit activations stay below 0.01, garbage lies at 1 and more."""


def prove_parity(
    backend: Backend, graph: Graph, weights: Mapping[str, Buffer], tensors: Mapping[str, LazyTensor], kv_type: str
) -> None:
    """Compare `backend`, with its loaded weights, to the NumPy reference; raise ParityError on a mismatch.

    The first LAYERS layers see TOKENS tokens; logits are compared at up to ROWS ids spread over the vocabulary.
    """
    short = first_layers(graph, LAYERS)
    tables = _vocabulary_tables(short)
    sizes: dict[str, Any] = {"kv_type": kv_type, "max_tokens": TOKENS, "max_model_len": TOKENS}
    vocab_size = min(tensors[name].shape[0] for name in tables)
    chosen = np.unique(np.linspace(0, vocab_size - 1, min(ROWS, vocab_size)).astype(np.int64))
    few = {name: _rows(tensors[name], chosen) if name in tables else tensors[name] for name in short.tensor_ops}
    found = _output(Side(backend, short, weights, **sizes), short, chosen[:TOKENS])
    reference = ReferenceSide(NumpyBackend(), _narrowed(short, tables, len(chosen)), few, **sizes)
    expected = _output(reference, reference.plan.graph, np.arange(len(chosen))[:TOKENS])
    if found.shape != expected.shape:
        found = found[:, chosen]
    error = normalized_mean_square_error(found, expected)
    if error > TOLERANCE:
        raise ParityError(
            f"backend {backend.name!r} does not compute this model as the reference does: after {LAYERS} layers the "
            f"output has an error of {error:.3g}, at most {TOLERANCE} is allowed ({diagnose(found, expected)}); "
            f"see where it begins with: realizar parity MODEL --backend {backend.name}"
        )


def _output(side: Side, graph: Graph, token_ids: NDArray[np.int64]) -> Rows:
    """The graph's output for these tokens, computed block by block."""
    side.start_step(token_ids.tolist(), 0)
    for unit in units(graph, "layer"):
        side.run(unit)
    return side.read(graph.output)


def _vocabulary_tables(graph: Graph) -> set[str]:
    """Tensors with a row for each token: what embeds input_ids, and the output layer with its bias."""
    return {
        block.weights[name].tensor
        for block in graph.blocks
        for node in block.nodes
        if "input_ids" in node.inputs or (node.op == "linear" and node.inputs[0] in graph.row_values)
        for name in node.inputs
        if name in block.weights
    }


def _narrowed(graph: Graph, tables: set[str], vocab_size: int) -> Graph:
    """The graph with logits of so few tokens."""
    heads = {
        node.output
        for block in graph.blocks
        for node in block.nodes
        if node.op == "linear" and block.weights[node.inputs[1]].tensor in tables
    }
    values = {name: vocab_size if name in heads else width for name, width in graph.values.items()}
    return attrs.evolve(graph, values=values)


def _rows(tensor: LazyTensor, chosen: NDArray[np.int64]) -> LazyTensor:
    """A tensor of the chosen rows only."""
    shape = (len(chosen), *tensor.shape[1:])
    return LazyTensor(tensor.name, shape, tensor.dtype, tensor.source, lambda: tensor.read()[chosen])
