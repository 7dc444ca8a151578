"""Which models there are, as Ollama's clients ask: /api/tags, /api/ps, /api/show, /api/version, and `/`."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import attrs
from aiohttp import web

from realizar.model_pool import ServedModel
from realizar.tool_calls.reasoning import think_marks
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.problem import wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.turn import tells_of_tools
from realizar_aiohttp.wires.ollama_options import lease, stamp

_NEVER = "9999-12-31T23:59:59Z"
"""When a model is unloaded that stays."""


@attrs.frozen(kw_only=True)
class ShowRequest:
    """A model by name."""

    model: str | None = field(None, max_chars=512)
    name: str | None = field(None, "the older name of the field", max_chars=512)
    verbose: bool = field(False, "not used")


async def tags(call: Call[None]) -> web.Response:
    """Every model; what is not loaded has only a name yet."""
    pool = call.service.pool
    loaded = {model.id: model for model in pool.loaded}
    listed = [_entry(loaded[name]) if name in loaded else _named(name) for name in pool.ids]
    return call.json({"models": listed})


async def running(call: Call[None]) -> web.Response:
    """Those in memory, with when they are unloaded if nobody asks."""
    extra = [
        {**_entry(model), "expires_at": _expires_at(model), "size_vram": 0, "context_length": model.llm.max_model_len}
        for model in call.service.pool.loaded
    ]
    return call.json({"models": extra})


async def show(call: Call[ShowRequest]) -> web.Response:
    """One model: its sizes, by the keys that a GGUF file has, and its chat template, which is a Jinja template."""
    name = call.body.model or call.body.name
    if name is None:
        raise wrong_value("model", "nothing", "the name of a model")
    async with lease(call.service.pool, name) as model:
        config, info = model.llm.config, model.llm.info
        kind = config.model_type
        sizes = {
            "context_length": config.max_position_embeddings, "embedding_length": config.hidden_size,
            "block_count": config.num_hidden_layers, "feed_forward_length": config.intermediate_size,
            "attention.head_count": config.num_attention_heads,
            "attention.head_count_kv": config.num_key_value_heads, "vocab_size": config.vocab_size,
        }  # fmt: skip
        general = {"general.architecture": kind, "general.parameter_count": info.num_parameters}
        return call.json(
            {
                "modelfile": f"FROM {model.id}", "parameters": "", "modified_at": stamp(info.modified_s),
                "template": model.llm.tokenizer.spec.chat_template or "", "details": _details(model),
                "model_info": {**general, **{f"{kind}.{key}": value for key, value in sizes.items()}},
                "capabilities": _capabilities(model),
            }
        )  # fmt: skip


async def ollama_version(call: Call[None]) -> web.Response:
    """Our own version."""
    return call.json({"version": version("realizar-core")})


def _entry(model: ServedModel) -> dict[str, Any]:
    info = model.llm.info
    return {
        **_named(model.id), "modified_at": stamp(info.modified_s), "size": info.nbytes,
        "digest": info.digest, "details": _details(model), "capabilities": _capabilities(model),
    }  # fmt: skip


def _named(model_id: str) -> dict[str, Any]:
    name = model_id if ":" in model_id else f"{model_id}:latest"
    return {"name": name, "model": name}


def _expires_at(model: ServedModel) -> str:
    expires_s = model.expires_s
    return _NEVER if expires_s is None else stamp(time.time() + expires_s - time.monotonic())


def _details(model: ServedModel) -> dict[str, Any]:
    config, info = model.llm.config, model.llm.info
    return {
        "parent_model": "", "format": info.format, "family": config.model_type, "families": [config.model_type],
        "parameter_size": _size(info.num_parameters), "quantization_level": info.weight_type,
        "context_length": config.max_position_embeddings, "embedding_length": config.hidden_size,
    }  # fmt: skip


def _capabilities(model: ServedModel) -> list[str]:
    """What the model does, as far as its chat template tells."""
    if not model.llm.can_generate:
        return ["embedding"]
    spec = model.llm.tokenizer.spec
    thinks = think_marks(spec.chat_template, "") is not None
    return ["completion", *["tools"] * tells_of_tools(spec), *["thinking"] * thinks]


def _size(count: int) -> str:
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= unit:
            return f"{count / unit:.1f}{letter}"
    return str(count)


ROUTES = (
    Route("GET", "/api/tags", tags, None, "Models, as Ollama's clients ask"),
    Route("HEAD", "/api/tags", tags, None, "The same"),
    Route("GET", "/api/ps", running, None, "Models in memory"),
    Route("POST", "/api/show", show, ShowRequest, "One model"),
    Route("GET", "/api/version", ollama_version, None, "The version"),
    Route("HEAD", "/api/version", ollama_version, None, "The same"),
)
