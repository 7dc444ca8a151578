"""What a pinned file is: its size and its digest, under a name that stays in its folder."""

from __future__ import annotations

import re

import attrs

RECEIPT = "receipt.json"
"""Reserved beside a model's files."""

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')


def positive(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    """A validator: at least 1."""
    if value <= 0:
        raise ValueError(f"{attribute.name} must be positive, found {value}")


sha256_digest = attrs.validators.matches_re(r"[0-9a-f]{64}")
"""A validator: SHA-256 in lower-case hexadecimal."""


def is_plain_path(name: str) -> bool:
    """Whether `name` is a relative path of plain names joined by `/`, which every system takes and none resolves."""
    return not _FORBIDDEN.search(name) and all(part.strip(" .") for part in name.split("/")) and name != RECEIPT


def is_plain_name(name: str) -> bool:
    """Whether `name` is a file name without a folder."""
    return is_plain_path(name) and "/" not in name


@attrs.frozen
class Pin:
    """A file's size in bytes and its SHA-256."""

    size: int = attrs.field(validator=positive)
    sha256: str = attrs.field(validator=sha256_digest)
