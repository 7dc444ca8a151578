"""What a model will take in memory, computed from its header."""

from __future__ import annotations

import contextlib
from pathlib import Path

import attrs

from realizar.architectures.rope import for_texts_of
from realizar.engine.loader import kv_type_of, open_named
from realizar.engine.sizes import cache_blocks, context_of, memory_plan
from realizar.errors import ModelError
from realizar.memory_plan import MemoryPlan
from realizar.progress import Progress, silent
from realizar.selection import build_graph, choose_backend


def plan_model(
    model: str | Path, *, backend: str | None = None, max_model_len: int | None = None, sequences: int = 1,
    kv_type: str | None = None, model_format: str | None = None, allow_download: bool = False,
    progress: Progress = silent,
) -> MemoryPlan:  # fmt: skip
    """The plan of a model by path or name, of which only the header is read; arguments as of `LLM`."""
    cls, _ = choose_backend(backend)
    opened = open_named(model, model_format=model_format, allow_download=allow_download, progress=progress)
    with contextlib.closing(opened) as file:
        if file.config is None:
            raise ModelError(f"{file.path}: cannot be run, {file.no_config or 'the file has no model configuration'}")
        context = context_of(file.config, max_model_len)
        graph = build_graph(for_texts_of(file.config, file.tensors, context), file.tensors)
        kind = kv_type_of(cls, graph, kv_type)
        return memory_plan(cls, graph, file, kv_type=kind, context=context, sequences=sequences)


def footprint(plan: MemoryPlan, what: str, budget_nbytes: int | None) -> int:
    """Bytes that an engine of that plan takes, with the cache as large as it makes it.

    Raises MemoryExceeded, with the numbers of the plan, if not even one context fits the budget. Where one does but
    the whole cache does not, the budget is what it takes: it is alone in memory.
    """
    attrs.evolve(plan, budget_nbytes=budget_nbytes).prove(what)
    block_nbytes = plan.block_size * plan.kv_token_nbytes
    cache_nbytes = cache_blocks(block_nbytes, plan.context) * block_nbytes
    nbytes = plan.weights_nbytes + plan.scratch_nbytes + cache_nbytes
    return nbytes if budget_nbytes is None else min(nbytes, budget_nbytes)
