"""POST /tokenize, /detokenize and /apply-template: llama.cpp's, vLLM's and the Rust engine's, told apart by field."""

from __future__ import annotations

from typing import Any

import attrs
from aiohttp import web

from realizar.chat import ChatTemplate
from realizar.model_pool import ServedModel
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.problem import wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.wires.openai_messages import Message, template_messages


@attrs.frozen(kw_only=True)
class TokenizeRequest:
    """One text under one of three names, or messages; the name decides the form of the answer."""

    content: str | None = field(None, "llama.cpp: gives `tokens`")
    text: str | None = field(None, "the Rust engine: gives `token_ids` and `num_tokens`")
    prompt: str | None = field(None, "vLLM: gives `tokens`, `count` and `max_model_len`")
    messages: list[Message] | None = field(None, "vLLM: a conversation, with the chat template", max_items=4096)
    model: str | None = field(None, max_chars=512)
    model_id: str | None = field(None, "the Rust engine's name for `model`", max_chars=512)
    add_special: bool = field(False, "llama.cpp: tokens that begin and end a text")
    parse_special: bool = field(True, "llama.cpp: control tokens spelled in the text count")
    with_pieces: bool = field(False, "llama.cpp: each id with its text")
    add_special_tokens: bool = field(True, "vLLM: tokens that begin and end a text")


@attrs.frozen(kw_only=True)
class BatchTokenizeRequest:
    """Texts."""

    texts: list[str] = field(max_items=1024)
    model_id: str | None = field(None, max_chars=512)


@attrs.frozen(kw_only=True)
class DetokenizeRequest:
    """Ids."""

    tokens: list[int] = field(max_items=1 << 20)
    model: str | None = field(None, max_chars=512)


@attrs.frozen(kw_only=True)
class TemplateRequest:
    """A conversation to be rendered."""

    messages: list[Message] = field(max_items=4096)
    model: str | None = field(None, max_chars=512)


async def tokenize(call: Call[TokenizeRequest]) -> web.Response:
    """The ids of a text."""
    body = call.body
    given = [name for name in ("content", "text", "prompt", "messages") if getattr(body, name) is not None]
    if len(given) != 1:
        raise wrong_value("content", f"{given or 'none'} of them", "one of content, text, prompt or messages")
    answer = {"content": _llama_cpp, "text": _rust, "prompt": _vllm, "messages": _vllm}[given[0]]
    async with call.service.pool.lease(body.model or body.model_id) as model:
        return call.json(await call.service.resilience.tokenize(lambda: answer(body, model)))


def _llama_cpp(body: TokenizeRequest, model: ServedModel) -> dict[str, Any]:
    tokenizer = model.llm.tokenizer
    ids = tokenizer.encode(
        body.content or "", add_special_tokens=body.add_special, parse_special=body.parse_special
    )  # fmt: skip
    return {"tokens": [_piece(i, tokenizer.token_bytes(i)) for i in ids] if body.with_pieces else ids}


def _piece(token_id: int, spelled: bytes) -> dict[str, Any]:
    """An id with its text, or with its bytes where these are not one."""
    try:
        return {"id": token_id, "piece": spelled.decode("utf-8")}
    except UnicodeDecodeError:
        return {"id": token_id, "piece": list(spelled)}


def _rust(body: TokenizeRequest, model: ServedModel) -> dict[str, Any]:
    return token_ids(body.text or "", model)


def token_ids(text: str, model: ServedModel) -> dict[str, Any]:
    """The Rust engine's answer for one text."""
    ids = model.llm.tokenizer.encode(text)
    return {"token_ids": ids, "num_tokens": len(ids)}


def _vllm(body: TokenizeRequest, model: ServedModel) -> dict[str, Any]:
    if body.messages is not None:
        ids = model.llm.encode(template_messages(body.messages)) if body.messages else []
    else:
        ids = model.llm.tokenizer.encode(body.prompt or "", add_special_tokens=body.add_special_tokens)
    return {"tokens": ids, "count": len(ids), "max_model_len": model.llm.max_model_len}


async def batch_tokenize(call: Call[BatchTokenizeRequest]) -> web.Response:
    """The ids of each text."""
    async with call.service.pool.lease(call.body.model_id) as model:
        texts = call.body.texts
        return call.json(
            {"results": await call.service.resilience.tokenize(lambda: [token_ids(text, model) for text in texts])}
        )


async def detokenize(call: Call[DetokenizeRequest]) -> web.Response:
    """The text of ids, as `content` (llama.cpp) and as `prompt` (vLLM)."""
    async with call.service.pool.lease(call.body.model) as model:
        ids, size = call.body.tokens, model.llm.config.vocab_size
        for i, token_id in enumerate(ids):
            if not 0 <= token_id < size:
                raise wrong_value(f"tokens[{i}]", str(token_id)[:40], f"an id from 0 to {size - 1}")
        text = await call.service.resilience.tokenize(
            lambda: model.llm.tokenizer.decode(ids, skip_special_tokens=False)
        )
    return call.json({"content": text, "prompt": text})


async def apply_template(call: Call[TemplateRequest]) -> web.Response:
    """A conversation as the text that the model would read."""
    messages = template_messages(call.body.messages)
    async with call.service.pool.lease(call.body.model) as model:
        text = await call.service.resilience.tokenize(
            lambda: ChatTemplate.from_spec(model.llm.tokenizer.spec).render(messages)
        )
    return call.json({"prompt": text})


ROUTES = (
    Route("POST", "/tokenize", tokenize, TokenizeRequest, "Ids of a text"),
    Route("POST", "/batch/tokenize", batch_tokenize, BatchTokenizeRequest, "Ids of texts"),
    Route("POST", "/detokenize", detokenize, DetokenizeRequest, "The text of ids"),
    Route("POST", "/apply-template", apply_template, TemplateRequest, "A conversation as text"),
)
