"""What is wrong with a model file: everything that can be said without running it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np

from realizar.conversion.copy_verification import verify_copies
from realizar.errors import RealizarError
from realizar.model import ModelFile
from realizar.progress import Progress, silent
from realizar.quant import dequantize
from realizar.selection import build_graph, build_tokenizer, choose_format
from realizar.tensors import LazyTensor

CHUNK_ELEMENTS = 1 << 20

TIED = "lm_head.weight"
"""A file may hold this copy of the embedding, which is not read where the two are tied."""


@attrs.frozen
class Report:
    """findings: what is wrong; notes: what is odd and does no harm; num_tensors: those that were scanned."""

    findings: list[str]
    notes: list[str]
    num_tensors: int = 0
    nbytes: int = 0


def verify(path: Path, model_format: str | None = None, progress: Progress = silent) -> Report:
    """Checksums where the format has them, sizes, numbers that are none, names and shapes against the architecture.

    A file that cannot be opened is one finding; raises nothing for what is wrong with it.
    """
    try:
        format_ = choose_format(path, model_format)
        findings = list(format_.verify(path))
        model = format_.open(path)
    except RealizarError as error:
        return Report([str(error)], [])
    try:
        wrong, notes = _against_architecture(model)
        findings += wrong
        for done, tensor in enumerate(model.tensors.values()):
            progress("scanning", done, len(model.tensors))
            findings += _scan(tensor)
            tensor.release()
        progress("scanning", len(model.tensors), len(model.tensors))
        wrong, more = verify_copies(model, progress)
        return Report(findings + wrong, notes + more, len(model.tensors), sum(t.nbytes for t in model.tensors.values()))
    finally:
        model.close()


def _against_architecture(model: ModelFile) -> tuple[list[str], list[str]]:
    """What does not fit the configuration, and tensors that nobody reads."""
    config, findings, notes = model.config, [], []
    if config is None:
        findings.append(model.no_config or "the file has no model configuration")
    else:
        try:
            used = set(build_graph(config, model.tensors).tensor_ops)
            unread = [name for name in model.tensors if name not in used and name != TIED and "rope_f" not in name]
            notes += [f"tensor {name!r} is not read by {config.model_type} models" for name in unread]
        except RealizarError as error:
            findings.append(str(error))
        notes += [f"key {key!r} is not understood" for key in config.unknown]
    findings += _failure(lambda: model.tokenizer and build_tokenizer(model.tokenizer))
    if config is not None and model.tokenizer is not None and len(model.tokenizer.tokens) > config.vocab_size:
        findings.append(f"{len(model.tokenizer.tokens)} tokens, but the embedding has {config.vocab_size} rows")
    if model.tokenizer is None:
        notes.append(model.no_tokenizer or "the file has no tokenizer")
    return findings, notes


def _failure(step: Callable[[], object]) -> list[str]:
    try:
        step()
    except RealizarError as error:
        return [str(error)]
    return []


def _scan(tensor: LazyTensor) -> Iterator[str]:
    """NaN and infinity among the elements; those of a scale show in the elements of its block."""
    if not tensor.dtype.is_quantized and tensor.dtype.storage[-2] in "iu" and "F" not in tensor.dtype.name:
        return
    stored = tensor.read()
    rows = stored.reshape(-1, stored.shape[-1]) if stored.ndim else stored.reshape(1, 1)
    step = max(1, CHUNK_ELEMENTS // max(1, rows.shape[-1]))
    nan = infinite = 0
    first = -1
    for at in range(0, len(rows), step):
        values = dequantize(rows[at : at + step], tensor.dtype)
        bad = ~np.isfinite(values)
        if bad.any():
            nan += int(np.isnan(values).sum())
            infinite += int(np.isinf(values).sum())
            first = at + int(bad.any(axis=-1).argmax()) if first < 0 else first
    if first >= 0:
        yield f"{tensor.source}: {nan} NaN and {infinite} infinite of {tensor.dtype.name}, the first in row {first}"
