"""`realizar doctor`: is everything here that a model needs, and if not, what to do."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import attrs
import click

from realizar.cli.display import print_table
from realizar.cli.server_state import fetch_state
from realizar.errors import RealizarError
from realizar.host_memory import available_memory
from realizar.plugins import host
from realizar.selection import choose_backend
from realizar.store import list_models
from realizar.store.cache import models_folder

LEAST_MEMORY, LEAST_DISK = 1 << 30, 2 << 30
"""Bytes below which even a small model is in trouble."""


@attrs.frozen
class Check:
    """What was looked at, how it stands, what was seen, and what to do about it."""

    name: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    remedy: str = ""


@click.command("doctor")
@click.option("--server", "url", help="Look at the server at this URL too.")
@click.option("--api-key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its key.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
def doctor_command(url: str | None, api_key_file: Path | None, as_json: bool) -> None:
    """Look at Python, memory, disk, plugins, backends and models; exit code 1 if no model could run."""
    checks = [check for look in CHECKS for check in look()]
    if url is not None:
        key = None if api_key_file is None else api_key_file.read_text(encoding="utf-8").strip()
        checks += server(asyncio.run(fetch_state(url, key)))
    if as_json:
        click.echo(json.dumps([attrs.asdict(check) for check in checks], indent=1))
    else:
        print_table(("", "", "", "WHAT TO DO"), ((c.status, c.name, c.detail, c.remedy) for c in checks))
    if any(check.status == "failed" for check in checks):
        click.get_current_context().exit(1)


def system() -> Iterator[Check]:
    """Versions, cores, memory."""
    detail = f"realizar {version('realizar-core')}, Python {platform.python_version()}, {platform.platform()}"
    yield Check("system", "ok", detail)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check("cores", "ok", f"{cores} that this process may use")
    memory = available_memory()
    if memory is None:
        yield Check("memory", "ok", "not known on this system")
    elif memory < LEAST_MEMORY:
        remedy = "end other programs; realizar plan MODEL says what a model takes"
        yield Check("memory", "warning", f"{memory / 2**30:.1f} GiB available", remedy)
    else:
        yield Check("memory", "ok", f"{memory / 2**30:.1f} GiB available")


def disk() -> Iterator[Check]:
    """Where downloads go: can it be written, and is there room?"""
    folder = models_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        yield Check("disk", "failed", f"{existing} cannot be written", "set REALIZAR_HOME to a folder of yours")
        return
    free = shutil.disk_usage(existing).free
    status: Literal["ok", "warning"] = "warning" if free < LEAST_DISK else "ok"
    remedy = "free some, or set REALIZAR_HOME to another disk" if status == "warning" else ""
    yield Check("disk", status, f"{free / 2**30:.1f} GiB free for models in {folder}", remedy)


def plugins() -> Iterator[Check]:
    """Every plugin that is installed and does not work; and whether each kind is there at all."""
    records = host().records
    for record in records:
        if record.status in ("failed", "refused"):
            yield Check(f"plugin {record.name}", "failed", record.detail, f"reinstall or remove {record.distribution}")
        elif record.status != "ok":
            yield Check(f"plugin {record.name}", "warning", f"{record.status}: {record.detail}")
    for kind, word in (("format", "gguf"), ("tokenizer", "bpe"), ("server", "aiohttp")):
        names = [record.name for record in records if record.kind == kind and record.status == "ok"]
        if names:
            yield Check(f"{kind}s", "ok", ", ".join(names))
        else:
            needed = kind != "server"
            remedy = f"pip install 'realizar[{word}]'"
            yield Check(f"{kind}s", "failed" if needed else "warning", "none is installed", remedy)


def backend() -> Iterator[Check]:
    """The backend that would be taken, and whether it is more than the reference."""
    try:
        chosen, reason = choose_backend()
    except RealizarError as error:
        yield Check("backend", "failed", str(error), "pip install 'realizar[numba]'")
        return
    detail = f"{chosen.name} ({reason}): {chosen.probe().detail}"
    if chosen.name.startswith("numpy"):
        remedy = "pip install 'realizar[numba]' for a fast one"
        yield Check("backend", "warning", f"{detail}; it is the reference, and slow", remedy)
    else:
        yield Check("backend", "ok", detail)


def models() -> Iterator[Check]:
    """What was pulled."""
    try:
        stored = list_models()
    except RealizarError as error:
        yield Check("models", "warning", str(error))
        return
    for model in stored:
        if model.status == "damaged":
            yield Check(f"model {model.name}", "warning", model.detail, f"realizar pull {model.name}")
    names = ", ".join(model.name for model in stored if model.status == "ready")
    yield Check("models", "ok", names or "none yet", "" if names else "realizar pull smollm2")


def server(state: dict[str, Any]) -> Iterator[Check]:
    """What a server says of itself: engines, breakers, what it has given up for want of memory."""
    ending = "no new requests are taken" if state["draining"] else ""
    busy = f"{state['open_requests']} open requests"
    yield Check("server", "warning" if ending else "ok", busy, ending)
    resilience = state.get("resilience", {})
    lanes = {lane["id"]: lane for lane in resilience.get("lanes", ())}
    for model in state["models"]:
        yield _served(model, lanes.get(model["id"], {}))
    if given_up := resilience.get("degradation", {}).get("given_up"):
        yield Check(
            "memory of the server", "warning", f"given up: {', '.join(given_up)}", "serve fewer or smaller models"
        )


def _served(model: dict[str, Any], lane: dict[str, Any]) -> Check:
    name, stats = f"served {model['id']}", model["stats"]
    if stats is None:
        return Check(name, "ok", "not loaded")
    numbers = f"{stats['running']} running, {stats['waiting']} waiting"
    if not model["alive"] or lane.get("stalled"):
        return Check(
            name, "failed", f"its engine has {'stalled' if model['alive'] else 'stopped'}", "see the server's log"
        )
    if lane.get("breaker", "closed") != "closed":
        detail = f"left alone after failures, tried again in {lane['retry_after_s']} s; {numbers}"
        return Check(name, "warning", detail, "see the server's log")
    return Check(name, "ok", numbers)


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (system, disk, plugins, backend, models)
"""Everything that is looked at, in order."""
