"""realizar: an LLM inference engine made of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realizar.hookspecs import hookimpl

if TYPE_CHECKING:
    from realizar.backend import Backend, kernel
    from realizar.engine import LLM, Completion, Piece, load_tokenizer
    from realizar.sampling import SamplingParams

_LAZY = {
    "LLM": "realizar.engine", "Completion": "realizar.engine", "Piece": "realizar.engine",
    "load_tokenizer": "realizar.engine", "SamplingParams": "realizar.sampling",
    "Backend": "realizar.backend", "kernel": "realizar.backend",
}  # fmt: skip
"""Public name -> where it lives; imported on first use, because plugins and the CLI need only `hookimpl`."""

__all__ = ["LLM", "Backend", "Completion", "Piece", "SamplingParams", "hookimpl", "kernel", "load_tokenizer"]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _LAZY:
        raise AttributeError(f"module 'realizar' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
