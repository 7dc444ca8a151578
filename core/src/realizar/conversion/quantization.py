"""A model with its weights in blocks."""

from __future__ import annotations

import logging
from pathlib import Path

import attrs

from realizar.conversion.convert import prove_writable
from realizar.conversion.importance import Importance
from realizar.conversion.mixes import ALIASES, plan
from realizar.conversion.retyping import retyped
from realizar.conversion.source_metadata import RETYPED
from realizar.errors import FormatError
from realizar.formats import Format
from realizar.model import ModelFile
from realizar.progress import Progress, silent

log = logging.getLogger(__name__)


def quantize_model(
    model: ModelFile, target: Format, path: Path, mix: str, *, pure: bool = False,
    importance: Importance | None = None, threads: int | None = None, progress: Progress = silent,
) -> dict[str, str]:  # fmt: skip
    """Write `model` to `path` with weights as the mix says; returns their types by name.

    Raises FormatError for an unknown mix or what the target cannot hold, before anything is written.
    """
    if model.config is None:
        raise FormatError(f"{model.path}: cannot be quantized: {model.no_config or 'it has no configuration'}")
    types = plan(
        model.config, model.tensors, mix, pure=pure, has_importance=importance is not None,
        together=target.stored_together(model.config),
    )  # fmt: skip
    _tell(model, types, importance)
    tensors = dict(model.tensors)
    for name, kind in types.items():
        known = importance.of(tensors[name]) if importance else None
        tensors[name] = retyped(tensors[name], kind, known, threads)
    metadata = {**model.metadata, RETYPED: ALIASES.get(mix, mix) if not pure else mix}
    changed = attrs.evolve(model, tensors=tensors, metadata=metadata, prepacked={})
    prove_writable(changed, target)
    target.write(path, changed, progress)
    return types


def _tell(model: ModelFile, types: dict[str, str], importance: Importance | None) -> None:
    """Warn of what costs quality."""
    again = [name for name, kind in types.items() if model.tensors[name].dtype.is_quantized
             and model.tensors[name].dtype.name != kind]  # fmt: skip
    if again:
        log.warning("%s: %d tensors are quantized already and lose a second time", model.path, len(again))
    if importance is not None:
        bare = [name for name in types if importance.of(model.tensors[name]) is None]
        if bare:
            log.warning("%s: no importance for %d tensors: %s", model.path, len(bare), ", ".join(bare[:3]))
