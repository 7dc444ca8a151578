"""`realizar convert` and `realizar quantize`: a model file into another one."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import click

from realizar.cli.display import progress_bars
from realizar.conversion.convert import convert, known_dtype
from realizar.conversion.importance import read_importance
from realizar.conversion.quantization import quantize_model
from realizar.engine.loader import open_named
from realizar.errors import FormatError
from realizar.formats import Format
from realizar.selection import choose_target

_to = click.option("--to", help="Format to write (gguf, safetensors, ...); by the extension of DST otherwise.")
_threads = click.option("--threads", type=click.IntRange(min=1), help="CPU threads; all cores by default.")
_force = click.option("--force", is_flag=True, help="Replace DST if it is there.")
_model_format = click.option("--model-format", help="Format plugin that reads SRC; recognized by default.")
_dst = click.argument("dst", type=click.Path(path_type=Path))


@click.command("convert")
@click.argument("src")
@_dst
@_to
@click.option("--dtype", help="Type of the matrices: F32, F16, BF16, ...; as they are by default.")
@_threads
@_force
@_model_format
def convert_command(
    src: str, dst: Path, to: str | None, dtype: str | None, threads: int | None, force: bool, model_format: str | None
) -> None:
    """Write the model SRC as DST in another format: tensors, configuration, tokenizer and chat templates."""
    target = _target(dst, to, force=force)
    dtype = None if dtype is None else known_dtype(dtype)
    start = time.perf_counter()
    with progress_bars() as progress:
        model = open_named(src, model_format=model_format, allow_download=False, progress=progress)
        convert(model, target, dst, dtype, threads, progress)
        model.close()
    click.echo(f"{dst}: {target.name}, {_nbytes(dst) / 1e6:.1f} MB in {time.perf_counter() - start:.1f} s")


@click.command("quantize")
@click.argument("src")
@_dst
@click.argument("type")
@_to
@click.option("--pure", is_flag=True, help="All weights of one type, instead of more bits where it matters.")
@click.option(
    "--imatrix", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Importance matrix of llama.cpp."
)
@_threads
@_force
@_model_format
def quantize_command(
    src: str, dst: Path, type: str, to: str | None, pure: bool, imatrix: Path | None, threads: int | None, force: bool,
    model_format: str | None,
) -> None:  # fmt: skip
    """Write the model SRC as DST with its weights in blocks of TYPE: Q8_0, Q4_K_M, Q6_K, ...

    A weight whose rows are not whole blocks of its type gets the next larger one.
    """
    target = _target(dst, to, force=force)
    start = time.perf_counter()
    with progress_bars() as progress:
        model = open_named(src, model_format=model_format, allow_download=False, progress=progress)
        importance = None if imatrix is None else read_importance(imatrix)
        types = quantize_model(
            model, target, dst, type.upper(), pure=pure, importance=importance, threads=threads, progress=progress
        )
        model.close()
    counts = ", ".join(f"{count} {name}" for name, count in Counter(types.values()).most_common())
    click.echo(f"{dst}: {counts}; {_nbytes(dst) / 1e6:.1f} MB in {time.perf_counter() - start:.1f} s")


def _target(dst: Path, to: str | None, *, force: bool) -> Format:
    if dst.exists() and not force:
        raise FormatError(f"{dst}: is there already; give --force to replace it")
    return choose_target(dst, to)


def _nbytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size
