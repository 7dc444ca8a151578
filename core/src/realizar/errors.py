"""Every error a user can meet, in one tree.

A message says what was found, what was expected, where, and what to do next.
"""

from __future__ import annotations


class RealizarError(Exception):
    """The root of all errors that realizar raises on purpose; the CLI prints it without a traceback."""


class FormatError(RealizarError):
    """A model file is malformed, truncated or hostile; names the file, the byte offset, found and expected."""


class ModelError(RealizarError):
    """A well-formed model cannot be run: unknown architecture, missing tensor, contradicting sizes."""


class UnsupportedTask(ModelError):
    """A model is asked for what its kind does not do: to generate, or to embed."""


class TokenizerError(RealizarError):
    """A tokenizer cannot be built or a text cannot be encoded."""


class TemplateError(RealizarError):
    """A chat template is missing, invalid, over its budget, or rejected the conversation."""


class PluginError(RealizarError):
    """A plugin is unknown, refused, or broke its contract."""


class BackendUnavailable(RealizarError):
    """The chosen backend cannot run on this machine; says why."""


class UnsupportedOp(RealizarError):
    """A backend has no kernel for an op, or not for these attributes."""


class ContextOverflow(RealizarError):
    """A prompt does not fit the context; carries both counts."""

    def __init__(self, num_tokens: int, max_model_len: int) -> None:
        super().__init__(
            f"the prompt has {num_tokens} tokens, the context holds {max_model_len} and at least one must be "
            f"left to generate; shorten the prompt or raise the context length"
        )
        self.num_tokens = num_tokens
        self.max_model_len = max_model_len


class RequestError(RealizarError):
    """A request's parameters are invalid; names the parameter."""


class ParityError(RealizarError):
    """A backend does not compute what the reference does."""


class MemoryExceeded(RealizarError):
    """A model, with the context that was asked for, does not fit the memory of its device."""


class StoreError(RealizarError):
    """A model cannot be found, downloaded or verified."""


class QueueFull(RealizarError):
    """As many requests wait as may; carries how many, and in how many seconds another try is worth it."""

    def __init__(self, num_waiting: int, retry_after_s: float) -> None:
        super().__init__(
            f"{num_waiting} requests are waiting, as many as may; try again in about {retry_after_s:.1f} s"
        )
        self.num_waiting = num_waiting
        self.retry_after_s = retry_after_s


class DeadlineExceeded(RealizarError):
    """A request was not done by its deadline; carries how long it had and how many tokens it had generated."""

    def __init__(self, allowed_s: float, num_generated: int) -> None:
        super().__init__(
            f"the request was not done within its deadline of {allowed_s:.3g} s, with {num_generated} tokens "
            f"generated; allow more time or ask for fewer tokens"
        )
        self.allowed_s = allowed_s
        self.num_generated = num_generated


class EngineFailed(RealizarError):
    """The engine's thread has ended by an exception, which is the cause; it takes requests again once restarted."""


class StepFailed(RealizarError):
    """A step of the engine failed by something unforeseen, which is the cause; no request of it is to blame."""


class EngineStalled(RealizarError):
    """The engine has been busy with one step for longer than any step takes."""


class TransientFault(RealizarError):
    """A backend could not do a step for a reason that passes; it did nothing, and the same step may be tried again."""


class CorruptedLogits(ModelError):
    """A model gave NaN or infinity where numbers were expected; nothing can be chosen from them."""
