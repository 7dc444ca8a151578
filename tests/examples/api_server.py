"""Serve a model from a program of one's own, and ask it as any client of OpenAI's interface does."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from typing import Any

from realizar import LLM
from realizar.model_pool import ModelPool
from realizar.selection import choose_server
from realizar.servers import ServerConfig


async def main(model: str = "smollm2") -> None:
    """What `realizar serve` does: listen and load, answer until told to stop, then let open requests end."""
    pool = ModelPool({"example": lambda: LLM(model)})
    stop = asyncio.Event()
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    config = ServerConfig(port=0, api_keys=("secret",))
    serving = asyncio.create_task(choose_server().serve(pool, config, listening=listening.set_result, stop=stop))
    try:
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            await asyncio.to_thread(pool.load)
            await asyncio.to_thread(talk, listening.result())
    finally:
        stop.set()
        await serving
        pool.close()


def talk(url: str) -> None:
    """Requests with the standard library; the official clients need only this URL and the key."""
    with request(f"{url}/v1/models") as response:
        print("models:", [entry["id"] for entry in json.load(response)["data"]])

    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0,
    }  # fmt: skip
    with request(f"{url}/v1/chat/completions", body) as response:
        answer = json.load(response)
        print("answer:", repr(answer["choices"][0]["message"]["content"]), answer["usage"])

    # A stream is server-sent events: a line for each piece as it is computed.
    print("stream:", end=" ")
    with request(f"{url}/v1/chat/completions", {**body, "stream": True}) as response:
        for line in response:
            if line.startswith(b"data: {"):
                for choice in json.loads(line.removeprefix(b"data: "))["choices"]:
                    print(repr(choice["delta"].get("content") or ""), end=" ")
    print()

    # Where the time went: measured, and only for a request that asks.
    with request(f"{url}/v1/chat/completions", body, **{"X-Trace-Level": "layer"}) as response:
        trace = json.load(response)["trace"]
        slowest = max(trace["breakdown"], key=lambda row: row["time_us"])
        print(f"trace: {trace['steps']} steps, {trace['total_time_us']} us, most of it in {slowest['name']!r}")


def request(url: str, body: Any = None, **headers: str) -> Any:
    """The open response to a GET, or to a POST of JSON."""
    data = None if body is None else json.dumps(body).encode()
    headers |= {"Authorization": "Bearer secret", "Content-Type": "application/json"}
    return urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=300)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
