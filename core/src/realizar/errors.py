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
