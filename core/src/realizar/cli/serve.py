"""`realizar serve`: models over HTTP."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from realizar.cli.serve_limits import FALLBACK, limit_options, limits_of
from realizar.cli.serve_models import build_pool, pool_options
from realizar.errors import RealizarError, RequestError
from realizar.model_pool import ModelPool
from realizar.selection import choose_backend, choose_server
from realizar.servers import Server, ServerConfig

DEMO_MODEL = "smollm2"
"""The smallest model that still chats."""

LOADING = (
    "backend", "threads", "max_model_len", "kv_type", "model_format", "prefix_cache", "draft", "num_drafts",
    "max_waiting", "deterministic",
)  # fmt: skip
"""Options that go to `LLM`."""

POOLING = ("names", "default", "budget_nbytes", "keep_s")
"""Options that go to `build_pool`; the others go to `ServerConfig`."""


@click.command("serve")
@click.argument("models", nargs=-1, metavar="MODEL...")
@click.option("--demo", is_flag=True, help=f"Serve {DEMO_MODEL}, downloaded if it is not here, instead of a MODEL.")
@pool_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any that is free.")
@click.option("--backend", help="Compute backend; the best one by default.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; all cores by default.")
@click.option("--ctx", "max_model_len", type=click.IntRange(min=1), help="Context length in tokens.")
@click.option("--kv-type", help="Type of the KV cache (F32, F16, BF16, Q8_0); the backend's default.")
@click.option("--model-format", help="Format plugin that reads MODEL; recognized by default.")
@click.option(
    "--deterministic", is_flag=True,
    help="The same bits for a request alone and in any batch; a backend that cannot is refused.",
)  # fmt: skip
@click.option("--prefix-cache/--no-prefix-cache", default=True, show_default=True, help="Reuse what prompts share.")
@click.option("--draft", help="What guesses tokens: prompt-lookup, or a smaller model of the same vocabulary.")
@click.option("--num-drafts", type=click.IntRange(1, 64), default=8, show_default=True, help="Guesses of one step.")
@click.option(
    "--max-queue", "max_waiting", type=click.IntRange(1), default=512, show_default=True,
    help="Requests that may wait; more are told to try again (429).",
)  # fmt: skip
@click.option("--server", "server_name", help="Server plugin; the best one by default.")
@click.option(
    "--api-key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Keys, one a line; every request but those for health must bring one.",
)  # fmt: skip
@click.option("--insecure", is_flag=True, help="Allow an address that other machines reach without a key.")
@click.option("--allow-host", "allowed_hosts", multiple=True, help="A name that requests may use for this server.")
@click.option("--allow-origin", "allowed_origins", multiple=True, help="A web origin whose pages may ask, with CORS.")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="PEM certificate chain.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="PEM private key.")
@click.option("--allow-manage", is_flag=True, help="Let requests load models anew, unload them and save their cache.")
@click.option("--strict", is_flag=True, help="Refuse requests with unknown fields instead of naming them in a header.")
@click.option("--max-body", "max_body_nbytes", type=click.IntRange(1024), default=8 << 20, show_default=True)
@click.option("--drain", "drain_s", type=float, default=30.0, show_default=True, help="Seconds for open requests.")
@click.option("--metrics-compat", type=click.Choice(["vllm"]), help="Metrics also under that engine's names.")
@limit_options
def serve_command(
    models: tuple[str, ...], demo: bool, server_name: str | None, api_key_file: Path | None, **options: Any
) -> None:
    """Serve models over HTTP until Ctrl-C or SIGTERM, which let open requests end; a second Ctrl-C does not wait.

    The first is loaded at once, the others when a request names them. SIGHUP loads anew what is loaded.
    """
    if demo == bool(models):
        raise click.UsageError("name a MODEL to serve, or give --demo alone")
    keys = read_keys(api_key_file) if api_key_file is not None else ()
    stand_in, limits = options.pop(FALLBACK), limits_of(options)
    loading = {name: options.pop(name) for name in LOADING}
    pooling = {name: options.pop(name) for name in POOLING}
    config = ServerConfig(api_keys=keys, limits=limits, **options)
    server = choose_server(server_name)
    if stand_in is not None:
        choose_backend(stand_in)  # a name that means nothing is refused now, not in the hour of need
    pool = build_pool(models or (DEMO_MODEL,), loading, stand_in=stand_in, **pooling)
    try:
        asyncio.run(_serve(server, pool, config))
    finally:
        pool.close()


def read_keys(path: Path) -> tuple[str, ...]:
    """The keys of a file: one a line, empty lines and those after # left out; raises RequestError if there is none."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise RequestError(f"{path}: has no key; expected one a line")
    return keys


async def _serve(server: Server, pool: ModelPool, config: ServerConfig) -> None:
    """Listen and load side by side; say so when both are done. Whatever fails ends the other."""
    stop, listening, loaded = asyncio.Event(), asyncio.Event(), _in_thread(pool.load)
    url = ""

    def at(address: str) -> None:
        nonlocal url
        url = address
        listening.set()

    async def announce() -> None:
        await listening.wait()
        await loaded
        click.echo(f"{', '.join(pool.ids)}: ready at {url} (Ctrl-C ends)")

    _on_signals(stop)
    _on_hangup(pool)
    serving = asyncio.ensure_future(server.serve(pool, config, listening=at, stop=stop))
    ready = asyncio.ensure_future(announce())
    done, _ = await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    if ready in done and ready.exception() is not None:
        stop.set()
    await serving
    if ready.done():
        ready.result()
    elif not loaded.done():
        ready.cancel()
        raise KeyboardInterrupt  # stopped while loading: there was nothing to drain


def _in_thread(function: Callable[[], None]) -> asyncio.Future[None]:
    """Run it in a thread that does not keep the process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if not future.done():
            future.set_result(None) if error is None else future.set_exception(error)

    def run() -> None:
        try:
            function()
        except BaseException as error:
            _tell(loop, finish, error)
        else:
            _tell(loop, finish, None)

    threading.Thread(target=run, name="realizar-load", daemon=True).start()
    return future


def _tell(loop: asyncio.AbstractEventLoop, finish: Callable[[BaseException | None], None], error: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(finish, error)


def _on_signals(stop: asyncio.Event) -> None:
    """The first SIGINT or SIGTERM drains; then SIGINT interrupts as it does everywhere."""
    loop = asyncio.get_running_loop()

    def drain(signum: int) -> None:
        click.echo("finishing open requests (Ctrl-C again to end at once)", err=True)
        stop.set()
        loop.remove_signal_handler(signum)

    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, drain, signum)


def _on_hangup(pool: ModelPool) -> None:
    """SIGHUP loads anew what is loaded, while requests go on."""
    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: _in_thread(lambda: _reload(pool)))


def _reload(pool: ModelPool) -> None:
    """A model that cannot be loaded anew is said and stays as it is."""
    for model in pool.loaded:
        try:
            pool.cache.reload(model.id)
        except RealizarError as error:
            click.echo(f"{model.id}: not loaded anew: {error}", err=True)
        else:
            click.echo(f"{model.id}: loaded anew")
