"""Log probabilities in OpenAI's two forms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from realizar.engine import TokenLogprob
from realizar.tokenizers import Tokenizer

_LOWEST = -9999.0
"""What stands for minus infinity, which JSON does not have; OpenAI's own value."""


def chat_logprobs(logprobs: Iterable[TokenLogprob], tokenizer: Tokenizer) -> dict[str, Any]:
    """One entry a token, with its bytes, for a token may be half a character."""
    return {"content": [_entry(item, tokenizer) for item in logprobs], "refusal": None}


def _entry(item: TokenLogprob, tokenizer: Tokenizer) -> dict[str, Any]:
    top = [_token(token_id, logprob, tokenizer) for token_id, logprob in item.top]
    return {**_token(item.token_id, item.logprob, tokenizer), "top_logprobs": top}


def _token(token_id: int, logprob: float, tokenizer: Tokenizer) -> dict[str, Any]:
    spelled = tokenizer.token_bytes(token_id)
    return {
        "token": spelled.decode("utf-8", "replace"), "logprob": max(logprob, _LOWEST), "bytes": list(spelled),
    }  # fmt: skip


def completion_logprobs(logprobs: Sequence[TokenLogprob], tokenizer: Tokenizer, offset: int) -> dict[str, Any]:
    """The four lists of the older interface. offset: where the text of the first token begins in the answer."""
    found: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for item in logprobs:
        spelled = _spelled(item.token_id, tokenizer)
        found["tokens"].append(spelled)
        found["token_logprobs"].append(max(item.logprob, _LOWEST))
        found["top_logprobs"].append({_spelled(i, tokenizer): max(p, _LOWEST) for i, p in item.top})
        found["text_offset"].append(offset)
        offset += len(spelled)
    return found


def _spelled(token_id: int, tokenizer: Tokenizer) -> str:
    return tokenizer.token_bytes(token_id).decode("utf-8", "replace")
