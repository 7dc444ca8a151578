"""Normalization rules as SentencePiece compiles them: a double-array trie of byte strings, and their replacements.

Layout: u32 size of the trie in bytes; the trie, an array of u32 units; replacements, UTF-8, each ended by a zero byte.
All little-endian. A unit, by bits: 0-7 label, 8 whether a value hangs below, 9 whether the offset is shifted by 8,
10-30 offset; bit 31 marks a value, in bits 0-30. The child of the node at i for byte b is at i ^ offset ^ b and has b
for its label; the value of the node is at i ^ offset. Source: darts-clone; SentencePiece `normalizer.cc`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from realizar.errors import TokenizerError

MAX_NODES = 1 << 20
"""Nodes of the unfolded trie; SentencePiece's own rules (nmt_nfkc) have 262,072."""
MAX_KEY_NBYTES = 256

_VALUE = 1 << 31
_HAS_VALUE = 1 << 8

Units = np.ndarray[Any, np.dtype[np.int64]]


def read_rules(charsmap: bytes, source: str) -> dict[str, str]:
    """What each text is replaced with; of several that match at a place the longest counts.

    Raises TokenizerError naming `source` for an array or a replacement that leaves the bytes, a trie that unfolds
    without end, or text that is no UTF-8.
    """
    if not charsmap:
        return {}
    trie_nbytes = int.from_bytes(charsmap[:4], "little")
    if trie_nbytes % 4 or not 4 <= trie_nbytes <= len(charsmap) - 4:
        raise _broken(source, f"its trie has {trie_nbytes} bytes, expected a multiple of 4 up to {len(charsmap) - 4}")
    units = np.frombuffer(charsmap, "<u4", trie_nbytes // 4, 4).astype(np.int64)
    replacements = _Replacements(charsmap[4 + trie_nbytes :], source)
    return {_text(key, source): replacements[at] for key, at in _unfold(units, source)}


def _unfold(units: Units, source: str) -> list[tuple[bytes, int]]:
    """Every key with its value, level by level.

    A unit with label b at i is a child of whichever node has i ^ b for its position xor its offset: units are sorted
    by that number, and the children of all nodes of a level are found together.
    """
    positions = np.arange(len(units))
    targets = positions ^ ((units >> 10) << ((units >> 6) & 8))
    inner = positions[(units & _VALUE == 0) & (units & 0xFF != 0)]
    inner = inner[np.argsort(inner ^ units[inner] & 0xFF, kind="stable")]
    parents = inner ^ units[inner] & 0xFF
    keys, level, num_nodes = [b""], np.array([0]), 0
    found: list[tuple[bytes, int]] = []
    while len(level):
        first = np.searchsorted(parents, targets[level], "left")
        counts = np.searchsorted(parents, targets[level], "right") - first
        num_nodes += int(counts.sum())
        if num_nodes > MAX_NODES or len(keys[0]) > MAX_KEY_NBYTES:
            raise _broken(source, f"its trie unfolds to over {MAX_NODES} nodes or {MAX_KEY_NBYTES} bytes deep")
        owners = np.repeat(np.arange(len(level)), counts)
        level = inner[np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(len(owners))]
        labels = (units[level] & 0xFF).tolist()
        keys = [keys[owner] + bytes((label,)) for owner, label in zip(owners.tolist(), labels, strict=True)]
        found += _values(units, targets, level, keys, source)
    return found


def _values(units: Units, targets: Units, level: Units, keys: list[bytes], source: str) -> list[tuple[bytes, int]]:
    """The nodes of a level that have values."""
    ending = np.flatnonzero(units[level] & _HAS_VALUE)
    at = targets[level[ending]]
    if np.any(at >= len(units)) or not np.all(units[at] & _VALUE):
        raise _broken(source, f"a value of its trie is not among its {len(units)} units")
    return [(keys[i], value) for i, value in zip(ending.tolist(), (units[at] & (_VALUE - 1)).tolist(), strict=True)]


class _Replacements(dict[int, str]):
    """The replacement at each place, read when first asked for."""

    def __init__(self, blob: bytes, source: str) -> None:
        super().__init__()
        self._blob = blob
        self._source = source

    def __missing__(self, at: int) -> str:
        end = self._blob.find(b"\0", at) if at < len(self._blob) else -1
        if end < 0:
            raise _broken(self._source, f"a replacement at {at} does not end within {len(self._blob)} bytes")
        text = self[at] = _text(self._blob[at:end], self._source)
        return text


def _text(data: bytes, source: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _broken(source, f"{data[:16]!r} is not UTF-8") from None


def _broken(source: str, problem: str) -> TokenizerError:
    return TokenizerError(f"{source}: the normalization rules (precompiled_charsmap) are damaged: {problem}")
