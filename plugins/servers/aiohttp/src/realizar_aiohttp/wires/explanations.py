"""What each sampler did to the candidates for each token, where a request asks for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from realizar.engine import Piece
from realizar.tokenizers import Tokenizer


def explanations(pieces: Iterable[Piece], tokenizer: Tokenizer) -> dict[str, Any]:
    """The member `explanation`: for each piece its tokens and the steps that chose them; nothing where none were kept.

    top: of what was left after a step, the likeliest, with probabilities among those.
    """
    kept = [_explanation(piece, tokenizer) for piece in pieces if piece.explanation]
    return {"explanation": kept} if kept else {}


def _explanation(piece: Piece, tokenizer: Tokenizer) -> dict[str, Any]:
    steps = [
        {
            "sampler": step.name, "before": step.before, "after": step.after, "removed": step.removed,
            "top": [{"id": i, "token": _spelled(i, tokenizer), "prob": prob} for i, prob in step.top],
        }
        for step in piece.explanation
    ]  # fmt: skip
    return {"token_ids": list(piece.token_ids), "steps": steps}


def _spelled(token_id: int, tokenizer: Tokenizer) -> str:
    return tokenizer.token_bytes(token_id).decode("utf-8", "replace")
