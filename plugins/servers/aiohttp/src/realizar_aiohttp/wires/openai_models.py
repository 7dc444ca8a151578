"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from realizar.model_pool import ModelPool, ServedModel
from realizar_aiohttp.call import Call
from realizar_aiohttp.routes import Route


async def models(call: Call[None]) -> web.Response:
    """Every model that is served."""
    pool = call.service.pool
    return call.json({"object": "list", "data": [_entry(name, pool) for name in pool.ids]})


async def model(call: Call[None]) -> web.Response:
    """One of them."""
    pool, name = call.service.pool, call.request.match_info["model"]
    pool.prove_known(name)
    return call.json(_entry(name, pool))


def _entry(name: str, pool: ModelPool) -> dict[str, Any]:
    """OpenAI's fields and whether it is loaded; if so, vLLM's max_model_len and llama.cpp's meta too."""
    loaded = {served.id: served for served in pool.loaded}.get(name)
    created = loaded.created if loaded else 0
    entry = {"id": name, "object": "model", "created": created, "owned_by": "realizar", "loaded": loaded is not None}
    return entry if loaded is None else {**entry, **_sizes(loaded)}


def _sizes(served: ServedModel) -> dict[str, Any]:
    config, info = served.llm.config, served.llm.info
    meta = {
        "n_vocab": config.vocab_size, "n_ctx_train": config.max_position_embeddings, "n_embd": config.hidden_size,
        "n_params": info.num_parameters, "size": info.nbytes,
        "n_ctx": served.llm.max_model_len, "architecture": config.model_type, "backend": served.llm.backend_name,
    }  # fmt: skip
    return {"max_model_len": served.llm.max_model_len, "meta": meta}


ROUTES = (
    Route("GET", "/v1/models", models, None, "Every model that is served"),
    Route("GET", "/v1/models/{model:.+}", model, None, "One model"),
)
