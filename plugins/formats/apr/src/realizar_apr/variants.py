"""Which of the layouts that are called ".apr" a file has; all but one are refused by name.

| magic   | layout                                             | told by                                 |
|---------|----------------------------------------------------|-----------------------------------------|
| `APR\\0` | version 2, read                                    | byte 4 = 2                              |
| `APR2`  | version 2 of January 2026, read                    | byte 4 = 2                              |
| either  | compressed `APR1`                                  | byte 4 = 0, 1, 2; 2 with a zstd frame   |
| `APRN`  | aprender's version 1 for classical models          | MessagePack at byte 32                  |
| `APRN`  | realizar 0.3's JSON                                | JSON at byte 32                         |
| `APRT`  | realizar 0.3's dump of a quantized transformer     |                                         |
| `APR1`  | aprender's JSON index                              | JSON at byte 8                          |
| `APR1`  | whisper.apr                                        | no JSON at byte 8                       |
"""

from __future__ import annotations

from realizar.errors import FormatError

MAGIC = b"APR\0"
EARLIER_MAGIC = b"APR2"
MAGICS = (MAGIC, EARLIER_MAGIC, b"APRN", b"APRT", b"APR1")

_ZSTD_FRAME = b"\x28\xb5\x2f\xfd"

_ADVICE = "APR version 2; import the original model anew with a current aprender, or use its GGUF or Safetensors file"


def malformed(file: str, offset: int, found: str, expected: str) -> FormatError:
    """The error of a malformed file: which file, at which byte, what was found and what was expected."""
    return FormatError(f"{file}: offset {offset}: found {found}, expected {expected}")


def refuse_others(head: bytes, file: str) -> None:
    """Raise FormatError unless `head`, the file's first bytes, begins APR version 2."""
    magic = head[:4]
    if magic not in MAGICS:
        raise malformed(file, 0, repr(magic), f"{MAGIC!r} or {EARLIER_MAGIC!r}")
    if magic == b"APRT":
        raise malformed(file, 0, "APRT, realizar 0.3's dump of a quantized transformer", _ADVICE)
    if magic == b"APRN":
        kind = "realizar 0.3's model in JSON" if head[32:33] == b"{" else "aprender's version 1 of a classical model"
        raise malformed(file, 0, f"APRN, {kind}", _ADVICE)
    if magic == b"APR1":
        kind = "aprender's older container with a JSON index" if head[8:9] == b"{" else "a model of whisper.apr"
        raise malformed(file, 0, f"APR1, {kind}", _ADVICE)
    _refuse_versions(head, file)


def _refuse_versions(head: bytes, file: str) -> None:
    if len(head) < 5:
        raise malformed(file, 4, "the end of the file", "a version")
    version, inner = head[4], head[9:13]
    if version == 1 or (version == 0 and inner == b"APR1") or (version == 2 and inner == _ZSTD_FRAME):
        how = ("not at all", "by LZ4", "by zstd")[version]
        raise malformed(file, 4, f"an APR1 file, aprender's older container, compressed {how}", _ADVICE)
    if version != 2:
        raise malformed(file, 4, f"version {version}", "version 2")
