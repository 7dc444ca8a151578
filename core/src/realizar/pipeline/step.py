"""Why a step of a pipeline fails, and how far a text may grow on its way."""

from __future__ import annotations

from realizar.errors import TokenizerError

MAX_GROWTH = 32
"""How many times as long a text may become, and one of a few characters FREE_GROWTH characters longer."""
FREE_GROWTH = 1 << 12


def prove_growth(before: str, after: str, step: object) -> None:
    """Raise TokenizerError if `step` made far too much of a text: rules of a stranger may double it again and again."""
    if len(after) > MAX_GROWTH * len(before) + FREE_GROWTH:
        raise TokenizerError(
            f"{type(step).__name__} makes {len(after)} characters of {len(before)}, at most {MAX_GROWTH} times as "
            f"many are supported; the tokenizer.json looks damaged"
        )
