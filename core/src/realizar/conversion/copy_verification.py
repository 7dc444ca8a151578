"""What is wrong with the copies of weights that a file holds in the layouts of backends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np

from realizar.backend import Backend
from realizar.errors import RealizarError
from realizar.model import ModelFile
from realizar.plugins import host
from realizar.prepacked import HEADER_NBYTES, findings
from realizar.progress import Progress, silent
from realizar.selection import build_graph
from realizar.tensors import LazyTensor


def verify_copies(model: ModelFile, progress: Progress = silent) -> tuple[list[str], list[str]]:
    """Findings and notes: whether copies fit their checksums and, if their backend is here, are what that makes."""
    wrong: list[str] = []
    notes: list[str] = []
    uses = _uses(model)
    for layout, copies in model.prepacked.items():
        with contextlib.ExitStack() as stack:
            backend = _maker(layout, stack)
            if backend is None:
                notes.append(f"copies in layout {layout!r}: only checksums are checked, for no backend here makes such")
            for done, (name, copy) in enumerate(copies.items()):
                progress(f"comparing {layout}", done, len(copies))
                wrong += _findings(copy, model.tensors.get(name), uses.get(name, frozenset()), backend)
            progress(f"comparing {layout}", len(copies), len(copies))
    return wrong, notes


def _findings(
    copy: LazyTensor, tensor: LazyTensor | None, ops: frozenset[str], backend: Backend | None
) -> Iterator[str]:
    found = list(findings(copy, tensor))
    yield from found
    if found or tensor is None or backend is None:
        return
    nbytes = backend.prepacked_nbytes(tensor)
    data = copy.read()[HEADER_NBYTES:]
    if nbytes != data.nbytes or not nbytes or not np.array_equal(backend.prepack(tensor, ops), data):
        yield f"{copy.source}: found other bytes than backend {backend.name!r} makes of {tensor.name!r}"
    copy.release()
    tensor.release()


def _maker(layout: str, stack: contextlib.ExitStack) -> Backend | None:
    """An instance of the backend here that has this layout, closed with `stack`."""
    for record in host().contributions("backend"):
        if record.contribution.prepack is not Backend.prepack:
            backend: Backend = stack.enter_context(contextlib.closing(record.contribution()))
            if backend.prepacked_layout == layout:
                return backend
    return None


def _uses(model: ModelFile) -> Mapping[str, frozenset[str]]:
    """What reads each tensor; nothing where there is no graph, which is a finding of its own."""
    if not model.prepacked or model.config is None:
        return {}
    try:
        return build_graph(model.config, model.tensors).tensor_ops
    except RealizarError:
        return {}
