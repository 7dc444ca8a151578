"""POST /api/embed, and /api/embeddings as older clients call it."""

from __future__ import annotations

import time
from typing import Any

import attrs
from aiohttp import web

from realizar.model_pool import ServedModel
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.routes import Route
from realizar_aiohttp.wires.ollama_options import lease
from realizar_aiohttp.wires.openai_embeddings import MAX_TEXTS, embed


@attrs.frozen(kw_only=True)
class EmbedRequest:
    """Texts to be made into vectors."""

    model: str | None = field(None, max_chars=512)
    input: str | list[str] = field(max_items=MAX_TEXTS)
    truncate: bool = field(True, "leave out what is beyond the model's context; otherwise such a text is refused")
    keep_alive: str | float | None = field(None, "not used: models stay loaded", max_chars=32)


@attrs.frozen(kw_only=True)
class EmbeddingsRequest:
    """One text to be made into a vector."""

    model: str | None = field(None, max_chars=512)
    prompt: str = field()
    keep_alive: str | float | None = field(None, "not used: models stay loaded", max_chars=32)


async def embed_texts(call: Call[EmbedRequest]) -> web.Response:
    """A vector for each text."""
    body, started_s = call.body, time.perf_counter()
    texts = [body.input] if isinstance(body.input, str) else body.input
    async with lease(call.service.pool, body.model) as model:

        def answer(served: ServedModel) -> tuple[web.Response, int]:
            """All of it in a thread: millions of numbers take their time to be spelled."""
            vectors, num_tokens = embed(served, texts, truncate=body.truncate)
            found: dict[str, Any] = {"model": model.id, "embeddings": vectors.tolist()}
            total = int((time.perf_counter() - started_s) * 1e9)
            rest = {"total_duration": total, "load_duration": 0, "prompt_eval_count": num_tokens}
            return call.json({**found, **rest}), num_tokens

        response, _ = await call.service.resilience.score(model, answer)
        return response


async def embed_text(call: Call[EmbeddingsRequest]) -> web.Response:
    """The vector of one text."""
    async with lease(call.service.pool, call.body.model) as model:
        vectors, _ = await call.service.resilience.score(
            model, lambda served: embed(served, [call.body.prompt], truncate=True)
        )
        return call.json({"embedding": vectors[0].tolist()})


ROUTES = (
    Route("POST", "/api/embed", embed_texts, EmbedRequest, "Vectors for texts, as Ollama's clients ask"),
    Route("POST", "/api/embeddings", embed_text, EmbeddingsRequest, "The vector of one text, the older way"),
)
