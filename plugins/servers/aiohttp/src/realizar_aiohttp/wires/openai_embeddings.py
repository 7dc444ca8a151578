"""POST /v1/embeddings."""

from __future__ import annotations

import base64
from typing import Any, Literal

import attrs
import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from realizar.model_pool import ServedModel
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.problem import not_supported, wrong_value
from realizar_aiohttp.routes import Route

MAX_TEXTS = 2048
"""Texts of one request, as OpenAI has it."""


@attrs.frozen(kw_only=True)
class EmbeddingsRequest:
    """Texts to be made into vectors."""

    input: str | list[str] | list[int] | list[list[int]] = field(doc="token ids are refused", max_items=MAX_TEXTS)
    model: str | None = field(None, max_chars=512)
    encoding_format: Literal["float", "base64"] = field("float")
    dimensions: int | None = field(None, "must be the model's own", low=1)
    truncate: bool = field(False, "leave out what is beyond the model's context instead of refusing")
    user: str | None = field(None, "whom the request is for; not used")

    @property
    def texts(self) -> list[str]:
        """The texts; raises Problem if there are none, or ids instead."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        if not texts:
            raise wrong_value("input", "an empty list", "at least one text")
        if not isinstance(texts[0], str):
            raise not_supported("input", "token ids are not served", "send the texts themselves")
        return texts


async def embeddings(call: Call[EmbeddingsRequest]) -> web.Response:
    """A vector for each text, as numbers or as base64 of little-endian float32."""
    body, texts = call.body, call.body.texts
    async with call.service.pool.lease(body.model) as model:
        width = model.llm.config.hidden_size
        if body.dimensions not in (None, width):
            raise not_supported("dimensions", f"found {body.dimensions}, this model's vectors have {width}")

        def answer(served: ServedModel) -> tuple[web.Response, int]:
            """All of it in a thread: millions of numbers take their time to be spelled."""
            vectors, num_tokens = embed(served, texts, truncate=body.truncate)
            listed = [
                {"object": "embedding", "index": i, "embedding": _encoded(vector, body.encoding_format)}
                for i, vector in enumerate(vectors)
            ]
            total = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
            return call.json({"object": "list", "data": listed, "model": model.id, "usage": total}), num_tokens

        response, _ = await call.service.resilience.score(model, answer)
        return response


def embed(model: ServedModel, texts: list[str], *, truncate: bool) -> tuple[NDArray[np.float32], int]:
    """The vectors of texts, and how many tokens these were; blocks."""
    vectors = model.llm.embed(texts, truncate=truncate)
    counts = [len(model.llm.tokenizer.encode(text)) for text in texts]
    return vectors, sum(min(count, model.llm.max_model_len) for count in counts)


def _encoded(vector: NDArray[np.float32], encoding: str) -> Any:
    return vector.tolist() if encoding == "float" else base64.b64encode(vector.astype("<f4").tobytes()).decode()


ROUTES = (Route("POST", "/v1/embeddings", embeddings, EmbeddingsRequest, "Vectors for texts"),)
