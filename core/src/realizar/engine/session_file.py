"""Keys and values of a text in a file, so that they need not be computed again.

Little-endian: HEADER (magic, version, tokens of a block, number of blocks, bytes of a block, KV type, backend, identity
of the model), the token ids as int32, the blocks as the backend lays them out, SHA-256 of all that comes before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.errors import FormatError

MAGIC, VERSION = b"RZKVSESS", 1
HEADER = struct.Struct("<8sIIIQ16s32s32s")
_DIGEST_NBYTES = 32
_CHUNK = 1 << 20


@attrs.frozen
class SessionKind:
    """What must agree for keys and values to mean the same. model: a SHA-256 over what the model is."""

    model: bytes
    backend: str
    kv_type: str
    block_size: int
    block_nbytes: int


def write_session(path: Path, kind: SessionKind, token_ids: list[int], blocks: NDArray[np.uint8]) -> None:
    """Write whole blocks [B, block_nbytes] of as many tokens; `path` is the new file or what it was, never a part."""
    header = HEADER.pack(
        MAGIC, VERSION, kind.block_size, len(blocks), kind.block_nbytes, kind.kv_type.encode(), kind.backend.encode(),
        kind.model,
    )  # fmt: skip
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            digest = hashlib.sha256()
            for part in (header, np.asarray(token_ids, "<i4").tobytes(), *(block.tobytes() for block in blocks)):
                digest.update(part)
                file.write(part)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        raise
    _sync_folder(path.parent)


def read_session(path: Path, kind: SessionKind) -> tuple[list[int], NDArray[np.uint8]]:
    """Token ids and blocks [B, block_nbytes] of a file of that kind.

    Raises FormatError if it is another kind, another version, truncated or changed; nothing is allocated before the
    size is what the header says.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEADER.size)
        num_blocks = _num_blocks(path, head, kind, size)
        digest = hashlib.sha256(head)
        ids = file.read(4 * num_blocks * kind.block_size)
        digest.update(ids)
        blocks = np.empty((num_blocks, kind.block_nbytes), np.uint8)
        for block in blocks:
            file.readinto(block.data)
            digest.update(block.data)
        found = file.read(_DIGEST_NBYTES)
    if found != digest.digest():
        raise FormatError(
            f"{path}: SHA-256 at byte {size - _DIGEST_NBYTES} is {found.hex()}, found {digest.hexdigest()}"
        )
    return np.frombuffer(ids, "<i4").tolist(), blocks


def _num_blocks(path: Path, head: bytes, kind: SessionKind, size: int) -> int:
    """The number of blocks that the header tells, once all it tells is what is expected."""
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        raise FormatError(f"{path}: not a saved session: it does not begin with {MAGIC!r} and {HEADER.size} bytes")
    _, version, block_size, num_blocks, block_nbytes, kv_type, backend, model = HEADER.unpack(head)
    if version != VERSION:
        raise FormatError(f"{path}: byte 8: version {version}, this realizar reads {VERSION}; save the session again")
    found = (block_size, block_nbytes, _text(kv_type), _text(backend), model.hex())
    expected = (kind.block_size, kind.block_nbytes, kind.kv_type, kind.backend, kind.model.hex())
    names = ("tokens of a block", "bytes of a block", "KV type", "backend", "model")
    for name, has, needs in zip(names, found, expected, strict=True):
        if has != needs:
            raise FormatError(
                f"{path}: {name}: found {has}, expected {needs}; the session is of another model or setup"
            )
    needed = HEADER.size + num_blocks * (4 * block_size + block_nbytes) + _DIGEST_NBYTES
    if size != needed:
        raise FormatError(f"{path}: {num_blocks} blocks need {needed} bytes, the file has {size}")
    return int(num_blocks)


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode("ascii", "replace")


def model_identity(parts: Iterable[bytes]) -> bytes:
    """SHA-256 over parts, each with its length."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _sync_folder(folder: Path) -> None:
    """Make the new name last as well; where folders cannot be opened (Windows), the system does it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
