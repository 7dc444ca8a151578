"""A problem in the shape that each family of clients reads."""

from __future__ import annotations

from typing import Any

from realizar_aiohttp.problem import TYPES, Problem


def openai_error(problem: Problem) -> dict[str, Any]:
    """OpenAI's object, which llama.cpp's clients read too; `hint` is ours."""
    fields = {
        "message": problem.message, "type": _type(problem), "param": problem.param, "code": problem.code,
        "hint": problem.hint, **problem.extra,
    }  # fmt: skip
    return {"error": fields}


def anthropic_error(problem: Problem) -> dict[str, Any]:
    """Anthropic's object. Its type for an overloaded server is its own."""
    renamed = {"unavailable_error": "overloaded_error", "server_error": "api_error", "not_supported_error": "api_error"}
    kind = _type(problem)
    return {"type": "error", "error": {"type": renamed.get(kind, kind), "message": _with_hint(problem)}}


def ollama_error(problem: Problem) -> dict[str, Any]:
    """Ollama's: nothing but a text."""
    return {"error": _with_hint(problem)}


def error_shape(path: str, problem: Problem) -> dict[str, Any]:
    """The shape that callers of that path expect."""
    if path.startswith("/api/"):
        return ollama_error(problem)
    return anthropic_error(problem) if path.startswith("/v1/messages") else openai_error(problem)


def _type(problem: Problem) -> str:
    return TYPES.get(problem.status, "invalid_request_error" if problem.status < 500 else "server_error")


def _with_hint(problem: Problem) -> str:
    return problem.message if problem.hint is None else f"{problem.message} ({problem.hint})"
