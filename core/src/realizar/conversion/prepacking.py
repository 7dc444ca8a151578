"""A model with a backend's own copy of its weights beside them."""

from __future__ import annotations

import attrs

from realizar.backend import Backend
from realizar.errors import ModelError, PluginError
from realizar.model import ModelFile
from realizar.prepacked import copy_to_write
from realizar.selection import build_graph


def prepacked(model: ModelFile, backend: Backend) -> ModelFile:
    """`model` with a copy of every weight that `backend` has a layout for, made when it is read.

    Raises PluginError for a backend that has no layout, ModelError for a model that cannot be run.
    """
    layout = backend.prepacked_layout
    if layout is None:
        raise PluginError(f"backend {backend.name!r} has no layout of its own that a file could hold")
    if model.config is None:
        raise ModelError(f"{model.path}: cannot be prepacked, {model.no_config or 'it has no model configuration'}")
    uses = build_graph(model.config, model.tensors).tensor_ops
    copies = {
        name: copy_to_write(model.tensors[name], ops, backend)
        for name, ops in uses.items()
        if backend.prepacked_nbytes(model.tensors[name])
    }
    return attrs.evolve(model, prepacked={layout: copies})
