"""GET /props and /slots, as llama.cpp's clients ask."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from aiohttp import web

from realizar.model_pool import ServedModel
from realizar.sampling import SamplingParams
from realizar_aiohttp.call import Call
from realizar_aiohttp.routes import Route
from realizar_aiohttp.wires.llama_server_completion import settings


async def props(call: Call[None]) -> web.Response:
    """The default model, its chat template and how many requests it computes at a time."""
    async with call.service.pool.lease(call.request.query.get("model")) as model:
        llm, spec = model.llm, model.llm.tokenizer.spec
        defaults = {"n_ctx": llm.max_model_len, "params": settings(SamplingParams(max_tokens=None))}
        return call.json(
            {
                "default_generation_settings": defaults, "total_slots": llm.max_running,
                "model_alias": model.id, "chat_template": spec.chat_template or "",
                "bos_token": _token(model, spec.bos_token_id),
                "eos_token": _token(model, spec.eos_token_ids[0] if spec.eos_token_ids else None),
                "modalities": {"vision": False, "audio": False},
                "build_info": f"realizar {version('realizar-core')} {llm.backend_name}",
            }
        )  # fmt: skip


async def slots(call: Call[None]) -> web.Response:
    """One entry for each request that could be computed at a time; the first of them are being computed."""
    async with call.service.pool.lease(call.request.query.get("model")) as model:
        busy, total, length = model.llm.stats.running, model.llm.max_running, model.llm.max_model_len
    return call.json([{"id": i, "n_ctx": length, "is_processing": i < busy} for i in range(total)])


def _token(model: ServedModel, token_id: int | None) -> Any:
    return "" if token_id is None else model.llm.tokenizer.spec.tokens[token_id]


ROUTES = (
    Route("GET", "/props", props, None, "The default model and its settings"),
    Route("GET", "/slots", slots, None, "What is being computed"),
)
