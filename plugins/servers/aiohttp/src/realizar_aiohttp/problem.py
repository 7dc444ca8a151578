"""What goes wrong with a request, with the status, the words and the hint that each wire puts into its own shape."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from realizar.access import AccessDenied
from realizar.errors import (
    ContextOverflow,
    DeadlineExceeded,
    EngineFailed,
    MemoryExceeded,
    ModelError,
    QueueFull,
    RealizarError,
    RequestError,
    StepFailed,
    StoreError,
    TemplateError,
    TokenizerError,
    UnsupportedTask,
)  # fmt: skip
from realizar.model_pool import ModelNotReady, UnknownModel

TYPES: Mapping[int, str] = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 408: "invalid_request_error", 413: "invalid_request_error",
    429: "rate_limit_error", 500: "server_error", 501: "not_supported_error", 503: "unavailable_error",
}  # fmt: skip
"""Status -> the type that OpenAI and llama.cpp give it."""


@attrs.define(kw_only=True, slots=False)
class Problem(RealizarError):
    """A refusal or failure as a client sees it.

    code: a slug; param: the path of the field; hint: what to do next. extra: further members of the error object.
    """

    status: int
    message: str
    code: str
    param: str | None = None
    hint: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def __str__(self) -> str:
        return self.message


def wrong_value(path: str, found: str, expected: str) -> Problem:
    """A field that has the wrong type or is out of range."""
    return Problem(
        status=400, code="invalid_value", param=path, message=f"{path}: found {found}, expected {expected}",
    )  # fmt: skip


def not_supported(param: str, why: str, hint: str | None = None) -> Problem:
    """A field that asks for something this server does not do: refused by name, never ignored."""
    return Problem(status=400, code="unsupported_parameter", param=param, message=f"{param}: {why}", hint=hint)


def not_implemented(message: str, hint: str | None = None) -> Problem:
    """A route that the model or the server has no use for."""
    return Problem(status=501, code="not_supported", message=message, hint=hint)


def problem_of(error: BaseException) -> Problem:
    """Any exception as a problem; what nobody foresaw is a 500 that tells nothing of the inside."""
    if isinstance(error, Problem):
        return error
    for kind, make in _OURS:
        if isinstance(error, kind):
            return make(error)
    return _unforeseen(error)


def _unforeseen(error: BaseException) -> Problem:
    return Problem(
        status=500, code="engine_error", message=f"the request failed inside the server: {type(error).__name__}",
        hint="the server's log has the details under this request's id",
    )  # fmt: skip


def _denied(error: Any) -> Problem:
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    return Problem(status=error.status, code=error.code, message=str(error), hint=error.hint, headers=headers)


def _overflow(error: Any) -> Problem:
    return Problem(
        status=400, code="context_length_exceeded", message=str(error),
        hint="shorten the prompt, or start the server with a larger --ctx if the model allows it",
        extra={"n_prompt_tokens": error.num_tokens, "n_ctx": error.max_model_len},
    )  # fmt: skip


def _refused(error: BaseException) -> Problem:
    text = str(error)
    named = re.match(r"[A-Za-z_][\w.\[\]]*(?=: )", text)
    return Problem(status=400, code="invalid_value", message=text, param=named[0] if named else None)


def _unknown_model(error: BaseException) -> Problem:
    return Problem(
        status=404, code="model_not_found", param="model", message=str(error),
        hint="GET /v1/models lists what is served; a request cannot load anything else",
    )  # fmt: skip


def _not_brought(error: BaseException) -> Problem:
    return Problem(
        status=502, code="pull_failed", message=str(error), hint="the server's own network or disk failed it"
    )


def _broken_model(error: BaseException) -> Problem:
    return Problem(status=500, code="engine_error", message=str(error))


def _too_large(error: BaseException) -> Problem:
    return Problem(
        status=503, code="model_does_not_fit", param="model", message=str(error),
        hint="trying again does not help: start the server with a larger --memory-budget or a smaller --ctx",
    )  # fmt: skip


def _full(error: Any) -> Problem:
    return Problem(
        status=429, code="queue_full", message=str(error), hint="send fewer requests at a time",
        headers={"Retry-After": str(max(1, math.ceil(error.retry_after_s)))},
    )  # fmt: skip


def _late(error: BaseException) -> Problem:
    return Problem(status=408, code="deadline_exceeded", message=str(error))


def _unavailable(error: BaseException) -> Problem:
    return Problem(
        status=503, code="unavailable", message=str(error), hint="try again shortly", headers={"Retry-After": "1"}
    )


def _restarting(error: BaseException) -> Problem:
    return _unavailable(RealizarError("the engine has failed and is started again"))


def _step_failed(error: BaseException) -> Problem:
    cause = error.__cause__ or error
    return _out_of_memory(cause) if isinstance(cause, MemoryError) else _unforeseen(cause)


def _out_of_memory(error: BaseException) -> Problem:
    return _unavailable(RealizarError("the server ran out of memory while it computed this"))


_OURS: tuple[tuple[type[BaseException], Callable[[Any], Problem]], ...] = (
    (AccessDenied, _denied),
    (ContextOverflow, _overflow),
    (QueueFull, _full),
    (DeadlineExceeded, _late),
    (EngineFailed, _restarting),
    (StepFailed, _step_failed),
    (MemoryError, _out_of_memory),
    (UnknownModel, _unknown_model),
    (ModelNotReady, _unavailable),
    (MemoryExceeded, _too_large),
    (UnsupportedTask, lambda error: not_implemented(str(error))),
    (ModelError, _broken_model),
    (RequestError, _refused),
    (StoreError, _not_brought),
    (TemplateError, _refused),
    (TokenizerError, _refused),
    (RealizarError, _unavailable),
)
"""The first that fits counts; a RealizarError of no special kind is the engine's, which is closing or full."""
