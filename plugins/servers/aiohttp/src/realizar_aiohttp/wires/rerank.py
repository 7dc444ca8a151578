"""POST /v1/rerank: documents by how near they are to a query."""

from __future__ import annotations

import attrs
import numpy as np
from aiohttp import web

from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.problem import not_implemented, wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.wires.openai_embeddings import embed


@attrs.frozen(kw_only=True)
class RerankRequest:
    """A query and documents."""

    query: str = field()
    documents: list[str] = field(max_items=1024)
    model: str | None = field(None, max_chars=512)
    top_n: int | None = field(None, "only the best so many", low=1)
    return_documents: bool = field(False, "the texts beside their scores")


async def rerank(call: Call[RerankRequest]) -> web.Response:
    """Scores, best first: the cosine between the embeddings of query and document, for no model here is a reranker."""
    body = call.body
    if not body.documents:
        raise wrong_value("documents", "an empty list", "at least one text")
    async with call.service.pool.lease(body.model) as model:
        if model.llm.can_generate:
            raise not_implemented(
                f"model {model.id!r} generates text; reranking needs one that gives embeddings",
                "serve an encoder such as minilm",
            )
        texts = [body.query, *body.documents]
        vectors, num_tokens = await call.service.resilience.score(
            model, lambda served: embed(served, texts, truncate=False)
        )
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = units[1:] @ units[0]
    order = np.argsort(-scores, kind="stable")[: body.top_n].tolist()
    results = [
        {"index": i, "relevance_score": float(scores[i])}
        | ({"document": {"text": body.documents[i]}} if body.return_documents else {})
        for i in order
    ]
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return call.json({"model": model.id, "object": "list", "results": results, "usage": usage})


ROUTES = tuple(
    Route("POST", path, rerank, RerankRequest, "Documents by nearness to a query")
    for path in ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking")
)
