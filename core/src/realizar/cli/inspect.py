"""`realizar inspect`: what is in a model file, and whether it can run here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
import click

from realizar.cli.display import progress_bars
from realizar.cli.options import output_format
from realizar.engine.loader import open_named
from realizar.errors import RealizarError
from realizar.model import ModelFile
from realizar.selection import build_graph, build_tokenizer, choose_backend


@click.command("inspect")
@click.argument("model")
@click.option("--model-format", help="Format plugin that reads MODEL; recognized by default.")
@click.option("--tensors", is_flag=True, help="List every tensor.")
@click.option("--metadata", is_flag=True, help="List the file's own keys.")
@output_format
def inspect_command(model: str, model_format: str | None, tensors: bool, metadata: bool, output: str) -> None:
    """Show what MODEL holds, which plugin reads it, and whether it can run here."""
    with progress_bars() as progress:
        file = open_named(model, model_format=model_format, progress=progress)
    report = describe(file)
    if tensors:
        report["tensors"] = [
            {"name": t.name, "shape": list(t.shape), "type": t.dtype.name, "nbytes": t.nbytes, "source": t.source}
            for t in file.tensors.values()
        ]
    if metadata:
        report["metadata"] = {key: _short(value) for key, value in file.metadata.items()}
    if output == "json":
        click.echo(json.dumps(report, indent=1))
    else:
        _print(report)


def describe(file: ModelFile) -> dict[str, Any]:
    """Everything `inspect` says, as plain data."""
    types: dict[str, dict[str, int]] = {}
    for tensor in file.tensors.values():
        entry = types.setdefault(tensor.dtype.name, {"tensors": 0, "nbytes": 0})
        entry["tensors"] += 1
        entry["nbytes"] += tensor.nbytes
    return {
        "path": str(file.path),
        "format": file.format,
        "config": attrs.asdict(file.config) if file.config is not None else None,
        "tokenizer": _tokenizer(file),
        "types": types,
        "prepacked": {
            layout: {"tensors": len(copies), "nbytes": sum(copy.nbytes for copy in copies.values())}
            for layout, copies in file.prepacked.items()
        },
        "runs": _runs(file),
    }


def _tokenizer(file: ModelFile) -> dict[str, Any] | None:
    spec = file.tokenizer
    if spec is None:
        return None
    return {
        "model": spec.model, "pre": spec.pre, "vocabulary": len(spec.tokens), "bos_token_id": spec.bos_token_id,
        "eos_token_ids": list(spec.eos_token_ids), "chat_template": spec.chat_template is not None,
        "named_chat_templates": sorted(spec.named_chat_templates),
    }  # fmt: skip


def _runs(file: ModelFile) -> dict[str, str]:
    """Each thing that running needs: "ok: what", or why not."""

    def graph() -> str:
        if file.config is None:
            raise RealizarError(file.no_config or "the file has no model configuration")
        return f"{len(build_graph(file.config, file.tensors).blocks)} blocks"

    def tokenizer() -> str:
        if file.tokenizer is None:
            raise RealizarError(file.no_tokenizer or "the file has no tokenizer")
        return type(build_tokenizer(file.tokenizer)).__name__

    steps: dict[str, Callable[[], str]] = {
        "architecture": graph, "tokenizer": tokenizer, "backend": lambda: choose_backend()[0].name
    }  # fmt: skip
    answers = {}
    for name, step in steps.items():
        try:
            answers[name] = f"ok: {step()}"
        except RealizarError as error:
            answers[name] = f"no: {error}"
    return answers


def _short(value: object) -> object:
    """A metadata value fit for a list: long texts and arrays by their size and beginning."""
    if isinstance(value, str):
        return value if len(value) <= 200 else f"{value[:200]}... ({len(value)} characters)"
    if isinstance(value, (bool, int, float)):
        return value
    if hasattr(value, "__len__") and len(value) > 8:
        return f"{'object' if isinstance(value, dict) else 'array'} of {len(value)}"
    return str(value)


def _print(report: dict[str, Any]) -> None:
    for key in ("path", "format"):
        click.echo(f"{key:10} {report[key]}")
    for section in ("config", "tokenizer", "types", "prepacked", "runs", "metadata"):
        if report.get(section):
            click.echo(f"\n{section}")
            for key, value in report[section].items():
                if value not in (None, ()):
                    click.echo(f"  {key:26} {_line(value)}")
    for tensor in report.get("tensors", ()):
        shape = " x ".join(map(str, tensor["shape"]))
        click.echo(f"  {tensor['name']:60} {tensor['type']:8} {shape:>16} {tensor['nbytes']:>12} bytes")


def _line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
