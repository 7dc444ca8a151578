"""Why a generation ended, more exactly than OpenAI's interface asks."""

from __future__ import annotations

from typing import Literal

import attrs

from realizar.engine import Completion
from realizar.sampling import SamplingParams, StopMatcher
from realizar.tokenizers import Tokenizer


@attrs.frozen
class Ending:
    """kind: an end token, a stop id or the end of a structure ("eos"), the stop string `word`, or the limit."""

    kind: Literal["eos", "word", "limit"]
    word: str | None = None


def ending(completion: Completion, params: SamplingParams, tokenizer: Tokenizer) -> Ending:
    """The end of a completion, found again in its tokens."""
    if completion.finish_reason != "stop":
        return Ending("limit")
    last = completion.token_ids[-1]
    is_end = last in tokenizer.spec.eos_token_ids and not params.ignore_eos
    if is_end or last in params.stop_token_ids:
        return Ending("eos")
    _, word = StopMatcher(params.stop).push(tokenizer.decode(completion.token_ids))
    return Ending("eos") if word is None else Ending("word", word)
