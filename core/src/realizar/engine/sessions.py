"""Saves what the cache has of a text, and puts it back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realizar.engine.engine import Engine
from realizar.engine.loader import LoadedModel
from realizar.engine.runner import ModelRunner
from realizar.engine.scheduler import Scheduler
from realizar.engine.session_file import SessionKind, model_identity, read_session, write_session
from realizar.errors import RequestError
from realizar.tensors import LazyTensor

_SAMPLED = 64
"""Rows of a tensor, evenly spread, that tell it from another."""


class Sessions:
    """Moves blocks between the cache and files; the cache is touched on the engine's thread, between two steps."""

    def __init__(self, engine: Engine, scheduler: Scheduler, runner: ModelRunner, loaded: LoadedModel) -> None:
        self._engine, self._scheduler, self._runner = engine, scheduler, runner
        self._loaded = loaded

    def save(self, path: Path, token_ids: list[int]) -> int:
        """Write the longest run of full blocks that the cache has of `token_ids`; how many tokens that are.

        Raises RequestError if there is none.
        """
        self._prove_cache()
        blocks = self._engine.between_steps(lambda: self._read(token_ids))
        if blocks is None:
            raise RequestError("the prefix cache has no full block of this text; compute it first, with a completion")
        count = len(blocks) * self._scheduler.blocks.block_size
        write_session(path, self._kind, token_ids[:count], blocks)
        return count

    def restore(self, path: Path) -> int:
        """Put the blocks of a file into free blocks, as many as there are; how many tokens the cache then has of it.

        Raises FormatError for a file of another model, KV type, backend or version, and for a damaged one.
        """
        self._prove_cache()
        token_ids, blocks = read_session(path, self._kind)
        return self._engine.between_steps(lambda: self._write(token_ids, blocks))

    @cached_property
    def _kind(self) -> SessionKind:
        nbytes = self._engine.between_steps(lambda: self._runner.read_blocks([0])).shape[1]
        backend, block_size = self._loaded.backend.name, self._scheduler.blocks.block_size
        return SessionKind(self._model, backend, self._loaded.kv_type, block_size, nbytes)

    @cached_property
    def _model(self) -> bytes:
        """The graph as it was built for this context, and names, shapes and some rows of every tensor."""
        tensors: Mapping[str, LazyTensor] = self._loaded.file.tensors
        parts = [repr(self._loaded.graph.blocks).encode()]
        for name in sorted(self._loaded.graph.tensor_ops):
            tensor = tensors[name]
            parts += [f"{name} {tensor.shape} {tensor.dtype.name}".encode(), _sample(tensor.read())]
            tensor.release()
        return model_identity(parts)

    def _prove_cache(self) -> None:
        if not self._scheduler.prefix_cache:
            raise RequestError("sessions live in the prefix cache, which is off; open the model with prefix_cache=True")

    def _read(self, token_ids: list[int]) -> NDArray[np.uint8] | None:
        blocks = self._scheduler.cached_blocks(token_ids)
        return self._runner.read_blocks(blocks) if blocks else None

    def _write(self, token_ids: list[int], blocks: NDArray[np.uint8]) -> int:
        return self._scheduler.adopt(token_ids, lambda table, first: self._runner.write_blocks(table, blocks[first:]))


def _sample(array: NDArray[np.generic]) -> bytes:
    rows = array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
    return rows[:: max(1, len(rows) // _SAMPLED)].tobytes()
