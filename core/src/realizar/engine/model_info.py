"""What a loaded model is, in the few facts that lists of models show."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter

import attrs

from realizar.model import ModelFile


@attrs.frozen
class ModelInfo:
    """Facts from the header of a model file.

    file_name, format: as it was opened. nbytes: of its tensors; num_parameters: their elements. weight_type: the type
    that most bytes have. digest: SHA-256 of the tensors' names, shapes and types, not of their values. modified_s:
    when the file was changed, in seconds since 1970, 0 if there is none.
    """

    file_name: str
    format: str
    num_parameters: int
    nbytes: int
    weight_type: str
    digest: str
    modified_s: float

    @classmethod
    def of(cls, file: ModelFile) -> ModelInfo:
        """The facts of an open file; reads no tensor."""
        sizes: Counter[str] = Counter()
        for tensor in file.tensors.values():
            sizes[tensor.dtype.name] += tensor.nbytes
        manifest = [[name, tensor.dtype.name, list(tensor.shape)] for name, tensor in file.tensors.items()]
        return cls(
            file_name=file.path.name,
            format=file.format,
            num_parameters=sum(math.prod(tensor.shape) for tensor in file.tensors.values()),
            nbytes=sizes.total(),
            weight_type=max(sizes, key=lambda name: sizes[name], default="none"),
            digest=hashlib.sha256(json.dumps(manifest).encode()).hexdigest(),
            modified_s=file.path.stat().st_mtime if file.path.exists() else 0.0,
        )
