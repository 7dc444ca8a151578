"""A format: magic number, length of a JSON header as u64, the header, then the tensors at offsets it gives."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cattrs
import numpy as np

import realizar
from realizar.dtypes import dtype
from realizar.errors import FormatError
from realizar.formats import Format
from realizar.model import ModelFile, TokenizerSpec, structure_config
from realizar.tensors import LazyTensor

REALIZAR_API = (1, 0)
MAGIC = b"ACME\r\n\x1a\n"


class AcmeFormat(Format):
    name = "acme"

    def sniff(self, path: Path, head: bytes) -> int:
        return 100 if head.startswith(MAGIC) else 0

    def open(self, path: Path) -> ModelFile:
        try:
            data = np.memmap(path, np.uint8, "r")
            header = json.loads(bytes(data[16 : 16 + int.from_bytes(data[8:16], "little")]))
            tensors = {name: _tensor(name, *entry, data, path.name) for name, entry in header["tensors"].items()}
            config = structure_config(header["config"], path.name)
            tokenizer = cattrs.structure(header["tokenizer"], TokenizerSpec)
        except Exception as error:  # whatever a hostile header brings about
            raise FormatError(f"{path.name}: no valid ACME header: {error!r:.200}") from error
        return ModelFile(path, self.name, config, tensors, tokenizer, {})


def _tensor(name: str, kind: str, shape: list[int], start: int, data: np.memmap, file: str) -> LazyTensor:
    element, rows = dtype(kind), (*shape[:-1], -1)
    end = start + math.prod(shape[:-1]) * element.row_nbytes(shape[-1])
    if not all(type(n) is int and n > 0 for n in (*shape, start)) or end > len(data):
        raise FormatError(f"{name!r}: {shape} {kind} in bytes {start} to {end}, the file has {len(data)}")
    read = lambda: data[start:end].view(element.storage).reshape(rows)  # noqa: E731
    return LazyTensor(name, tuple(shape), element, f"{file}: {name}", read)


@realizar.hookimpl
def realizar_formats() -> list[Format]:
    return [AcmeFormat()]
