"""Logits processors: somebody else's code between the model and the samplers, as a callable or from a plugin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from realizar.errors import RequestError
from realizar.tokenizers import Tokenizer

LogitsProcessor = Callable[[Sequence[int], Sequence[int], NDArray[np.float32]], NDArray[np.float32]]
"""(prompt ids, output ids so far, logits float32 [V], its own copy) -> logits of the same shape.

Minus infinity bans a token; NaN and plus infinity are refused. It runs on the engine's thread, for every token: while
it works nobody else is served.
"""


class LogitsProcessorFactory(ABC):
    """What a plugin registers with the hook realizar_logits_processors; requests name it in `logits_processors`."""

    name: ClassVar[str]
    priority: ClassVar[int] = 0

    @abstractmethod
    def start(self, prompt_ids: Sequence[int], tokenizer: Tokenizer) -> LogitsProcessor:
        """A processor for one sequence; it may remember what it likes of that one."""


def started(
    wanted: Sequence[str | LogitsProcessor], prompt_ids: Sequence[int], tokenizer: Tokenizer
) -> tuple[tuple[str, LogitsProcessor], ...]:
    """Each with the name that errors call it by; names are looked up among the plugins."""
    return tuple(_started(item, prompt_ids, tokenizer) for item in wanted)


def _started(
    item: str | LogitsProcessor, prompt_ids: Sequence[int], tokenizer: Tokenizer
) -> tuple[str, LogitsProcessor]:
    if not isinstance(item, str):
        return getattr(item, "__name__", type(item).__name__), item
    from realizar.plugins import host  # plugins are discovered only when one is asked for
    from realizar.selection import named

    factory: LogitsProcessorFactory = named("logits_processor", item, host()).contribution
    return item, factory.start(prompt_ids, tokenizer)


def processed(
    name: str, processor: LogitsProcessor, prompt_ids: Sequence[int], output_ids: Sequence[int],
    logits: NDArray[np.float32],
) -> NDArray[np.float32]:  # fmt: skip
    """Logits after one processor; raises RequestError naming it if it fails or gives no row of numbers."""
    try:
        result = np.asarray(processor(tuple(prompt_ids), tuple(output_ids), logits.copy()), np.float32)
    except Exception as error:
        raise RequestError(f"logits processor {name!r} failed: {type(error).__name__}: {error}") from error
    if result.shape != logits.shape:
        raise RequestError(f"logits processor {name!r} gave shape {result.shape}, expected {logits.shape}")
    if np.isnan(result).any() or np.isposinf(result).any():
        raise RequestError(f"logits processor {name!r} gave NaN or infinity, expected numbers or minus infinity")
    return result
