"""Which models `realizar serve` offers, and how many of them stay in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from realizar.engine import LLM
from realizar.engine.footprint import footprint, plan_model
from realizar.engine.llm import PROMPT_LOOKUP
from realizar.errors import RequestError
from realizar.model_cache import Measure
from realizar.model_pool import ModelPool
from realizar.selection import choose_backend
from realizar.store.names import has_scheme

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size_in_bytes(_context: object, _parameter: object, text: str | None) -> int | None:
    """A number of bytes as people write it: 6G, 512M; a callback of an option."""
    if text is None:
        return None
    plain = text.upper().removesuffix("B").removesuffix("I")
    unit = plain[-1:] if plain[-1:] in _UNITS else ""
    try:
        nbytes = int(float(plain.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, OverflowError):
        nbytes = 0
    if nbytes <= 0:
        raise click.BadParameter(f"found {text!r}, expected a size such as 6G or 512M")
    return nbytes


def pool_options(command: F) -> F:
    """The options that `build_pool` takes."""
    options = (
        click.option("--default", "default", help="Id of the model for requests that name none; the first."),
        click.option(
            "--served-model-name", "names", multiple=True,
            help="Id of a model in requests, once for each MODEL; its alias or the file's name by default.",
        ),
        click.option(
            "--memory-budget", "budget_nbytes", callback=size_in_bytes, metavar="SIZE",
            help="What all models together may take (6G); what the machine has by default, if there are several.",
        ),
        click.option(
            "--idle-unload", "keep_s", type=click.FloatRange(min=0), metavar="SECONDS",
            help="Unload a model that nobody has used for so long; by default when another needs its room.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def build_pool(
    models: Sequence[str], loading: Mapping[str, Any], *, names: Sequence[str] = (), default: str | None = None,
    budget_nbytes: int | None = None, keep_s: float | None = None, stand_in: str | None = None,
) -> ModelPool:  # fmt: skip
    """A pool of models by path or name; `loading` are arguments of LLM. Raises RequestError for ids that are not apart.

    stand_in: the backend of what stands in for a model that fails; it is outside of the budget.
    One model alone has the memory check of its loader, and needs no budget beside.
    """
    ids = served_ids(models, names, default)
    loaders = {name: functools.partial(LLM, model, **loading) for name, model in ids.items()}
    if budget_nbytes is None and len(models) > 1:
        budget_nbytes = choose_backend(loading.get("backend"))[0].memory_budget()
    sizes = {} if budget_nbytes is None else {name: measure(model, loading) for name, model in ids.items()}
    fallbacks = {} if stand_in is None else {name: _on_other_backend(load, stand_in) for name, load in loaders.items()}
    return ModelPool(loaders, fallbacks, sizes=sizes, budget_nbytes=budget_nbytes, keep_s=keep_s)


def _on_other_backend(load: functools.partial[LLM], backend: str) -> Callable[[], LLM]:
    """The same model elsewhere, with that backend's own type of cache."""
    return functools.partial(load, backend=backend, kv_type=None)


def served_ids(models: Sequence[str], names: Sequence[str], default: str | None) -> dict[str, str]:
    """Id -> model, the default first."""
    if names and len(names) != len(models):
        raise RequestError(f"--served-model-name: found {len(names)} names for {len(models)} models, expected as many")
    ids: dict[str, str] = {}
    for name, model in zip(names or map(model_id, models), models, strict=True):
        if name in ids:
            raise RequestError(
                f"{ids[name]} and {model} are both called {name!r}; tell them apart: --served-model-name"
            )
        ids[name] = model
    first = next(iter(ids)) if default is None else default
    if first not in ids:
        raise RequestError(f"--default: found {first!r}, expected one of {', '.join(ids)}")
    return {first: ids[first], **ids}


def model_id(model: str) -> str:
    """How requests call MODEL: the name it was given by, or a file's name without its extension."""
    if has_scheme(model):
        return model.partition("#")[0].rstrip("/").rpartition("/")[2]
    path = Path(model)
    return path.stem if path.is_file() else path.resolve().name if path.is_dir() else model


def measure(model: str, loading: Mapping[str, Any]) -> Measure:
    """What tells how much the model takes, and the one that drafts for it."""
    asked: dict[str, Any] = {name: loading.get(name) for name in ("backend", "max_model_len", "kv_type")}

    def of(budget_nbytes: int | None) -> int:
        plan = plan_model(model, model_format=loading.get("model_format"), allow_download=True, **asked)
        nbytes = footprint(plan, model, budget_nbytes)
        draft = loading.get("draft")
        if draft in (None, PROMPT_LOOKUP):
            return nbytes
        left = None if budget_nbytes is None else budget_nbytes - plan.total_nbytes
        drafts = plan_model(draft, allow_download=True, **{**asked, "max_model_len": None})
        drafting = footprint(attrs.evolve(drafts, context=min(plan.context, drafts.context)), draft, left)
        return nbytes + drafting if budget_nbytes is None else min(nbytes + drafting, budget_nbytes)

    return of
