"""Requests that change what the server has, which it must have been told to allow."""

from __future__ import annotations

from typing import Any

from realizar_aiohttp.call import Call
from realizar_aiohttp.problem import Problem


def prove_managing(call: Call[Any], what: str) -> None:
    """Refuse with 403 unless the server was started with --allow-manage."""
    if not call.service.config.allow_manage:
        raise Problem(
            status=403, code="management_disabled", message=f"this server lets no request {what}",
            hint="start it with --allow-manage if its clients may",
        )  # fmt: skip
