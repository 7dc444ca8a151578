"""POST /slots/{id}?action=save|restore: what the cache has of a prompt, kept over a restart of the server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from aiohttp import web

from realizar.errors import FormatError, UnsupportedOp
from realizar.model_pool import ServedModel
from realizar.session_folder import SessionFolder
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.managing import prove_managing
from realizar_aiohttp.problem import Problem, not_implemented, wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.wires.openai_messages import Message, template_messages


@attrs.frozen(kw_only=True)
class SlotRequest:
    """What is to be saved, or the file that is to be restored; a slot holds nothing, for all share the cache."""

    filename: str | None = field(None, "restore: what saving returned; not used to save", max_chars=128)
    prompt: str | list[int] | None = field(None, "save: a text, or its ids", max_items=1 << 20)
    messages: list[Message] | None = field(None, "save: a conversation, instead of a prompt", max_items=4096)
    model: str | None = field(None, max_chars=512)


async def slot(call: Call[SlotRequest]) -> web.Response:
    """Save or restore; llama.cpp's third action, erase, has no meaning where requests share the cache."""
    prove_managing(call, "save or restore what its cache holds")
    action = call.request.query.get("action", "")
    if action not in _ACTIONS:
        raise wrong_value("action", repr(action[:40]), "save or restore")
    async with call.service.pool.lease(call.body.model) as model:
        slot_id = _slot_id(call.request.match_info["id"], model)
        act = _ACTIONS[action](call, SessionFolder(call.service.config.session_folder))
        started_s = time.perf_counter()
        (path, count), _ = await call.service.resilience.score(model, lambda served: (act(served), 0))
        took_ms = (time.perf_counter() - started_s) * 1e3
    done, moved = ("saved", "written") if action == "save" else ("restored", "read")
    return call.json(
        {
            "id_slot": slot_id, "filename": path.name, f"n_{done}": count,
            f"n_{moved}": path.stat().st_size, "timings": {f"{action}_ms": took_ms},
        }
    )  # fmt: skip


def _slot_id(text: str, model: ServedModel) -> int:
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or int(text) >= model.llm.max_running:
        raise wrong_value("id", repr(text[:40]), f"a slot below {model.llm.max_running}")
    return int(text)


Act = Callable[[ServedModel], tuple[Path, int]]
"""Does it, blocking; the file, and how many tokens it holds."""


def _save(call: Call[SlotRequest], folder: SessionFolder) -> Act:
    body = call.body
    if (body.prompt is None) == (body.messages is None):
        raise wrong_value("prompt", "both or neither of prompt and messages", "one of them, computed before")
    prompt: Any = body.prompt if body.messages is None else template_messages(body.messages)

    def save(model: ServedModel) -> tuple[Path, int]:
        path = folder.new()
        try:
            return path, model.llm.save_session(path, prompt)
        except UnsupportedOp as error:
            raise not_implemented(str(error)) from error

    return save


def _restore(call: Call[SlotRequest], folder: SessionFolder) -> Act:
    path = folder.find(call.body.filename or "")

    def restore(model: ServedModel) -> tuple[Path, int]:
        try:
            return path, model.llm.restore_session(path)
        except UnsupportedOp as error:
            raise not_implemented(str(error)) from error
        except FormatError as error:
            message = str(error).replace(str(path), path.name)  # where the server keeps it is nobody's business
            raise Problem(status=400, code="session_mismatch", param="filename", message=message) from error

    return restore


_ACTIONS: dict[str, Callable[[Call[SlotRequest], SessionFolder], Act]] = {"save": _save, "restore": _restore}

ROUTES = (Route("POST", "/slots/{id}", slot, SlotRequest, "Save or restore the cache of a prompt"),)
