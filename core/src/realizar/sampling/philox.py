"""Philox4x32-10, a counter-based random generator: the draw at a position needs no state from earlier ones.

Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, section 3.3.
"""

from __future__ import annotations

import secrets

_MASK = 0xFFFFFFFF
_MULTIPLIER_0 = 0xD2511F53
_MULTIPLIER_1 = 0xCD9E8D57
_WEYL_0 = 0x9E3779B9  # the golden ratio
_WEYL_1 = 0xBB67AE85  # the square root of 3, less 1
_ROUNDS = 10


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """The four 32-bit words that ten rounds of Philox make of a 128-bit counter and a 64-bit key.

    Words are in the order of the published known-answer vectors (Random123, `kat_vectors`).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product_0, product_1 = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (
            (product_1 >> 32) ^ c1 ^ k0,
            product_1 & _MASK,
            (product_0 >> 32) ^ c3 ^ k1,
            product_0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL_0) & _MASK, (k1 + _WEYL_1) & _MASK
    return c0, c1, c2, c3


def uniform(seed: int, position: int, stream: int = 0) -> float:
    """A float64 in [0, 1) for the output token at `position` of the request with `seed`.

    stream: which of the draws of that position; they are independent.
    Key: the low 64 bits of the seed, low word first. Counter: (position mod 2^32, position div 2^32, stream, 0).
    The value is a multiple of 2^-53: the high 27 bits of word 0 above the high 26 bits of word 1.
    """
    key = (seed & _MASK, (seed >> 32) & _MASK)
    high, low, _, _ = philox4x32((position & _MASK, (position >> 32) & _MASK, stream, 0), key)
    return float(((high >> 5) << 26) | (low >> 6)) * 2.0**-53


def random_seed() -> int:
    """A 64-bit seed from the operating system, for a request that names none."""
    return secrets.randbits(64)
