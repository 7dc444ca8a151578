"""A server of strangers: OpenAI's routes for models and chat, on nothing but the streams of asyncio."""

import asyncio
import contextlib
import http.client
import io
import json
import time
import uuid

import attrs

from realizar import SamplingParams, hookimpl
from realizar.access import AccessDenied, prove_host, prove_key, prove_origin
from realizar.errors import ContextOverflow, RealizarError, RequestError, TemplateError
from realizar.model_pool import ModelNotReady, UnknownModel
from realizar.servers import Server

REALIZAR_API = (1, 0)
PARAMS = {field.name for field in attrs.fields(SamplingParams)} - {"n", "logprobs"}
STATUSES = {
    ContextOverflow: (400, "context_length_exceeded"), RequestError: (400, "invalid_value"),
    TemplateError: (400, "invalid_value"), UnknownModel: (404, "model_not_found"), ModelNotReady: (503, "unavailable"),
}  # fmt: skip


class TooLarge(RealizarError):
    """More bytes than are read."""


class AcmeServer(Server):
    """One request a connection."""

    name = "acme"
    priority = -1

    async def serve(self, pool, config, *, listening, stop):
        """See Server."""
        busy = set()

        async def connected(reader, writer):
            busy.add(asyncio.current_task())
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await Exchange(pool, config, reader, writer).run()
            writer.close()
            busy.discard(asyncio.current_task())

        try:
            listener = await asyncio.start_server(connected, config.host, config.port)
        except OSError as error:
            raise RequestError(f"port {config.port}: {error}") from error
        listening("http://{}:{}".format(*listener.sockets[0].getsockname()[:2]))
        await stop.wait()
        listener.close()
        if busy:
            await asyncio.wait(busy, timeout=config.drain_s)


@attrs.define
class Exchange:
    """A request and its response."""

    pool: object
    config: object
    reader: object
    writer: object
    begun: bool = False

    async def run(self):
        """Answer, or say why not."""
        try:
            await self.answer()
        except (RealizarError, ValueError, RecursionError, asyncio.LimitOverrunError) as error:
            await self.refuse(error)

    async def answer(self):
        """Read the request, ask who it is from, and do what it says."""
        head = io.BytesIO(await self.reader.readuntil(b"\r\n\r\n"))
        method, path, _ = head.readline().decode("latin-1").split(" ")
        headers = http.client.parse_headers(head)
        body = await self.body(int(headers.get("Content-Length") or 0))
        prove_host(headers, self.config)
        prove_origin(headers, self.config)
        if (method, path) == ("GET", "/health"):
            return await self.send(200 if self.pool.is_ready else 503, {"status": "ok"})
        prove_key(headers, self.config)
        if (method, path) == ("GET", "/v1/models"):
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "acme"} for name in self.pool.ids]
            return await self.send(200, {"object": "list", "data": listed})
        if (method, path) != ("POST", "/v1/chat/completions"):
            raise UnknownModel(f"{method} {path[:99]}: no such route")
        return await self.chat(json.loads(body))

    async def body(self, length):
        """The body, unless it is too large."""
        if length > self.config.max_body_nbytes:
            await self.reader.read(1 << 20)
            raise TooLarge(f"the body has {length} bytes")
        return await self.reader.readexactly(length)

    async def chat(self, asked):
        """Generate, and send pieces as they come or all at the end."""
        if not isinstance(asked, dict) or asked.get("n") not in (None, 1):
            raise RequestError("body: expected an object, and n to be 1")
        messages, options = asked.get("messages"), asked.get("stream_options") or {}
        if not isinstance(messages, list) or not messages or not all(map(is_message, messages)):
            raise RequestError("messages: expected a list of objects with a role and a content, both texts")
        if not isinstance(asked.get("model") or "", str) or not isinstance(options, dict):
            raise RequestError("model, stream_options: expected a text and an object")
        given = {name: asked[name] for name in PARAMS & set(asked) if asked[name] is not None}
        params = SamplingParams(**{"max_tokens": None} | given)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
        async with self.pool.lease(asked.get("model")) as model:
            head |= {"model": model.id, "object": "chat.completion.chunk" if asked.get("stream") else "chat.completion"}
            async with contextlib.aclosing(model.llm.astream(messages, params)) as pieces:
                async for piece in pieces:
                    if asked.get("stream"):
                        await self.event(head, {"content": piece.text}, None)
                    done = piece.completion
        counts = len(done.prompt_token_ids), len(done.token_ids)
        usage = dict(zip(("prompt_tokens", "completion_tokens", "total_tokens"), (*counts, sum(counts)), strict=True))
        if not asked.get("stream"):
            message = {"role": "assistant", "content": done.text}
            choice = {"index": 0, "message": message, "finish_reason": done.finish_reason}
            return await self.send(200, {**head, "choices": [choice], "usage": usage})
        await self.event(head, {}, done.finish_reason)
        if options.get("include_usage"):
            await self.write(b"data: " + json.dumps({**head, "choices": [], "usage": usage}).encode() + b"\n\n")
        await self.write(b"data: [DONE]\n\n")

    async def event(self, head, delta, reason):
        """Write a chunk, the first one with the head of the response."""
        if not self.begun:
            self.begun = True
            await self.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            delta = {"role": "assistant", **delta}
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        await self.write(b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n")

    async def refuse(self, error):
        """Send an error, in band if the response has begun."""
        status, code = next((STATUSES[kind] for kind in STATUSES if isinstance(error, kind)), (400, "invalid_json"))
        if isinstance(error, AccessDenied):
            status, code = error.status, error.code
        if isinstance(error, TooLarge):
            status, code = 413, "request_too_large"
        found = {"error": {"message": str(error), "type": "invalid_request_error", "param": None, "code": code}}
        if self.begun:
            return await self.write(b"data: " + json.dumps(found).encode() + b"\n\ndata: [DONE]\n\n")
        await self.send(status, found)

    async def send(self, status, value):
        """A whole response of JSON."""
        raw = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} {http.client.responses[status]}\r\nContent-Type: application/json\r\n"
        await self.write(f"{head}Content-Length: {len(raw)}\r\nConnection: close\r\n\r\n".encode() + raw)

    async def write(self, raw):
        """Write, and wait while the client does not read."""
        self.writer.write(raw)
        await self.writer.drain()


def is_message(value):
    """Whether it has a role and a content that are texts."""
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("role", "content"))


@hookimpl
def realizar_servers():
    """One server."""
    return [AcmeServer()]
