"""Which plugin does what: by name if one is given, else the one that is surest."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from realizar.architectures import Architecture
from realizar.backend import Backend
from realizar.errors import BackendUnavailable, FormatError, ModelError, PluginError, RealizarError, TokenizerError
from realizar.formats import Format
from realizar.graph import Graph
from realizar.model import ModelConfig, ModelFile, TokenizerSpec
from realizar.plugins import FIRST_PARTY, Host, Record, host
from realizar.servers import Server
from realizar.tensors import LazyTensor
from realizar.tokenizers import Tokenizer, TokenizerFactory

log = logging.getLogger(__name__)

T = TypeVar("T")

SNIFF_NBYTES = 4096

_TOKENIZER_WORDS = {"bpe": "bpe", "spm": "sentencepiece", "unigram": "sentencepiece", "wordpiece": "wordpiece"}
"""Which of our plugins builds a tokenizer model."""


def named(kind: str, name: str, plugins: Host) -> Record:
    """The usable contribution of that kind and name; the error lists those there are and how to get ours."""
    matches = [record for record in plugins.records if (record.kind, record.name) == (kind, name)]
    usable = [record for record in matches if record.status == "ok"]
    if usable:
        return usable[0]
    known = ", ".join(record.name for record in plugins.contributions(kind)) or "none"
    if matches:
        cls = BackendUnavailable if kind == "backend" else PluginError
        raise cls(f"{kind} {name!r} is {matches[0].status}: {matches[0].detail}; usable here: {known}")
    hint = f"; install it with: pip install 'realizar[{name}]'" if name in FIRST_PARTY else ""
    raise PluginError(f"unknown {kind} {name!r}; installed: {known}{hint}")


def choose_backend(name: str | None = None, plugins: Host | None = None) -> tuple[type[Backend], str]:
    """The backend and why it: by name, by REALIZAR_BACKEND, else the highest (score, priority)."""
    plugins = plugins or host()
    wanted, reason = (name, "named") if name else (os.environ.get("REALIZAR_BACKEND"), "REALIZAR_BACKEND")
    if wanted:
        return named("backend", wanted, plugins).contribution, reason
    best = _best(plugins.contributions("backend"), lambda record: record.score, "backend")
    if best is None:
        raise BackendUnavailable("no compute backend can run here; see: realizar --list-plugins")
    return best.contribution, f"highest score {best.score}"


def choose_server(name: str | None = None, plugins: Host | None = None) -> Server:
    """The server of that name, or the one of the highest priority; raises PluginError."""
    plugins = plugins or host()
    if name is not None:
        found: Server = named("server", name, plugins).contribution
        return found
    best = _best(plugins.contributions("server"), lambda record: 1, "server")
    if best is None:
        raise PluginError("no server plugin is installed; install ours with: pip install 'realizar[aiohttp]'")
    found = best.contribution
    return found


def open_model(path: Path, name: str | None = None, plugins: Host | None = None) -> ModelFile:
    """The model file at `path`, read by the format of that name or by the surest one."""
    record = _reader_of(path, name, plugins or host())
    reader: Format = record.contribution
    return _keep_contract(record, lambda: reader.open(path))


def choose_format(path: Path, name: str | None = None, plugins: Host | None = None) -> Format:
    """The format of that name, or the one that is surest of what is at `path`; raises FormatError, PluginError."""
    found: Format = _reader_of(path, name, plugins or host()).contribution
    return found


def _reader_of(path: Path, name: str | None, plugins: Host) -> Record:
    if not path.exists():
        raise FormatError(f"{path}: no such file")
    return named("format", name, plugins) if name else _sniff(path, plugins)


def choose_target(path: Path, name: str | None = None, plugins: Host | None = None) -> Format:
    """The format of that name, or the one to write whose extension `path` has; raises FormatError, PluginError."""
    plugins = plugins or host()
    if name is not None:
        found: Format = named("format", name, plugins).contribution
        return found
    formats: list[Format] = [record.contribution for record in plugins.contributions("format")]
    fitting = [format_ for format_ in formats if format_.writable and format_.sniff(path, b"") > 0]
    if len(fitting) != 1:
        known = ", ".join(format_.name for format_ in formats if format_.writable) or "none"
        raise FormatError(f"{path}: its extension says no format to write; name one with --to, known: {known}")
    return fitting[0]


def build_tokenizer(spec: TokenizerSpec, plugins: Host | None = None) -> Tokenizer:
    """A tokenizer for `spec` from the plugin that supports it best."""
    plugins = plugins or host()
    found = plugins.contributions("tokenizer")
    best = _best(found, lambda record: record.contribution.supports(spec), "tokenizer")
    if best is None:
        known = ", ".join(record.name for record in found) or "none"
        word = _TOKENIZER_WORDS.get(spec.model)
        hint = f"; install one with: pip install 'realizar[{word}]'" if word else ""
        raise TokenizerError(
            f"{spec.source}: no tokenizer plugin builds model {spec.model!r}; installed: {known}{hint}"
        )
    factory: TokenizerFactory = best.contribution
    if spec.pipeline is None:
        return _keep_contract(best, lambda: factory.build(spec))
    from realizar.pipeline.tokenizer import PipelineTokenizer  # `regex` is loaded only when a file needs it

    return PipelineTokenizer(spec, _keep_contract(best, lambda: factory.build_model(spec)))


def build_graph(config: ModelConfig, tensors: Mapping[str, LazyTensor], plugins: Host | None = None) -> Graph:
    """The graph of a model from the architecture that knows its model_type."""
    plugins = plugins or host()
    families = plugins.contributions("architecture")
    fitting = [record for record in families if config.model_type in record.contribution.model_types]
    if fitting:
        family: Architecture = fitting[0].contribution
        return _keep_contract(fitting[0], lambda: family.build(config, tensors))
    known = ", ".join(sorted(t for record in families for t in record.contribution.model_types))
    raise ModelError(
        f"unknown architecture {config.model_type!r}; known: {known}. A plugin can add it: implement "
        f"realizar.architectures.Architecture and register it with the hook realizar_architectures"
    )


def _sniff(path: Path, plugins: Host) -> Record:
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(SNIFF_NBYTES)
    formats = plugins.contributions("format")

    def score(record: Record) -> int:
        candidate: Format = record.contribution
        return candidate.sniff(path, head)

    best = _best(formats, score, "format")
    if best is None:
        known = ", ".join(record.name for record in formats) or "none"
        known_words = {".gguf": "gguf", ".safetensors": "safetensors", ".apr": "apr"}
        word = "safetensors" if path.is_dir() else known_words.get(path.suffix)
        missing = word and word not in {record.name for record in formats}
        hint = f"; install its plugin with: pip install 'realizar[{word}]'" if missing else ""
        raise FormatError(
            f"{path}: no format plugin recognizes it (first bytes {head[:8]!r}); installed: {known}{hint}"
        )
    return best


def _best(records: list[Record], score: Callable[[Record], int], kind: str) -> Record | None:
    """The highest (score, priority) above zero; a tie goes to the earlier name and is logged."""
    scored = []
    for record in records:
        try:
            points = score(record)
            can = points > 0
        except Exception as error:
            log.warning("%s %r from %s is passed over: %r", kind, record.name, record.distribution, error)
            continue
        if can:
            scored.append(((-points, -record.contribution.priority, record.name), record))
    scored.sort(key=lambda pair: pair[0])
    if len(scored) > 1 and scored[0][0][:2] == scored[1][0][:2]:
        log.warning(
            "%s: %r and %r score the same; %r is taken", kind, *(r.name for _, r in scored[:2]), scored[0][1].name
        )
    return scored[0][1] if scored else None


def _keep_contract(record: Record, call: Callable[[], T]) -> T:
    """Run a plugin's code; anything but our own errors becomes a PluginError that names the plugin."""
    try:
        return call()
    except RealizarError:
        raise
    except Exception as error:
        raise PluginError(
            f"{record.kind} {record.name!r} of {record.distribution} {record.version} broke its contract: "
            f"{type(error).__name__}: {error}"
        ) from error
