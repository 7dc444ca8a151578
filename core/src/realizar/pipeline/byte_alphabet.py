"""GPT-2's byte alphabet: every byte has a printable character, so that a vocabulary can be written as text.

Source: Radford et al. 2019 (GPT-2), released vocabulary. The 188 bytes that are printable in Latin-1 (0x21-0x7E,
0xA1-0xAC, 0xAE-0xFF) stand for themselves; the other 68, in order, are U+0100 to U+0143 (a space is U+0120).
"""

from __future__ import annotations

_PRINTABLE = frozenset([*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)])


def _characters() -> tuple[str, ...]:
    spares = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in _PRINTABLE else next(spares)) for byte in range(256))


BYTE_TO_CHAR: tuple[str, ...] = _characters()
CHAR_TO_BYTE: dict[str, int] = {char: byte for byte, char in enumerate(BYTE_TO_CHAR)}

_SPELLING = dict(enumerate(BYTE_TO_CHAR))


def spell(data: bytes) -> str:
    """`data` in the byte alphabet, one character per byte."""
    return data.decode("latin-1").translate(_SPELLING)


def unspell(piece: str) -> bytes | None:
    """The bytes that `piece` spells; None if a character is outside the alphabet."""
    try:
        return bytes([CHAR_TO_BYTE[char] for char in piece])
    except KeyError:
        return None
