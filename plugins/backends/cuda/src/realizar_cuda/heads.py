"""Recognizes norms, rotations and attention that follow the projections of a layer, for heads.cu to do at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from realizar.dataflow import Dataflow
from realizar.graph import Node


@attrs.frozen
class HeadsCase:
    """attention: index of its node. q_norm, k_norm: factors or None. inv_freq: empty for no rotation."""

    attention: int
    num_heads: int
    q_norm: Any = None
    k_norm: Any = None
    eps: float = 0.0
    inv_freq: tuple[float, ...] = ()
    scale: float = 1.0


def match_heads(nodes: Sequence[Node], start: int, weight: Callable[[str], Any], flow: Dataflow) -> HeadsCase | None:
    """What starts at node `start`, if it is norms of q and k, then rotations of both, then their attention."""
    end = next((j for j in range(start, len(nodes)) if nodes[j].op == "attention"), None)
    if end is None or len(set(nodes[end].inputs)) != 3:
        return None
    q, k, _ = nodes[end].inputs
    head_dim = nodes[end].attrs["head_dim"]
    before = nodes[start:end]
    if any(node.op not in ("rms_norm", "rope") or node.inputs[0] != node.output for node in before):
        return None
    norms = [node for node in before if node.op == "rms_norm"]
    ropes = [node for node in before if node.op == "rope"]
    if (
        [*norms, *ropes] != list(before)
        or not _once_each(norms, q, k)
        or {n.output for n in ropes} not in ({q, k}, set())
    ):
        return None
    if len(ropes) > 2 or len({(n.attrs["inv_freq"], n.attrs["scale"]) for n in ropes}) > 1:
        return None
    factors = {node.output: weight(node.inputs[1]) for node in norms}
    if any(array.shape != (head_dim,) for array in factors.values()) or len({node.attrs["eps"] for node in norms}) > 1:
        return None
    if not _rotated_values_are_seen_by_attention_only(nodes, start, end, flow):
        return None
    return HeadsCase(
        end, nodes[end].attrs["num_heads"], factors.get(q), factors.get(k), norms[0].attrs["eps"] if norms else 0.0,
        tuple(ropes[0].attrs["inv_freq"]) if ropes else (), ropes[0].attrs["scale"] if ropes else 1.0,
    )  # fmt: skip


def _once_each(norms: Sequence[Node], q: str, k: str) -> bool:
    found = [node.output for node in norms]
    return len(found) == len(set(found)) and set(found) <= {q, k}


def _rotated_values_are_seen_by_attention_only(nodes: Sequence[Node], start: int, end: int, flow: Dataflow) -> bool:
    """heads.cu leaves k as it was: nobody else may want to see it normed or rotated."""
    last = {nodes[j].output: j for j in range(start, end)}
    return all(flow.only_read_by(j, {end}) for j in last.values())
