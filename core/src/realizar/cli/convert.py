"""`realizar convert` and `realizar quantize`: a model file into another one."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from realizar.backend import Backend, BackendOptions
from realizar.cli.display import progress_bars
from realizar.conversion.convert import convert, known_dtype
from realizar.conversion.importance import read_importance
from realizar.conversion.quantization import quantize_model
from realizar.engine.loader import open_named
from realizar.errors import FormatError
from realizar.formats import Format
from realizar.model import ModelFile
from realizar.progress import Progress
from realizar.selection import choose_backend, choose_target, open_model

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
@click.option(
    "--prepack",
    is_flag=False,
    flag_value="",
    metavar="[BACKEND]",
    help="Also write the weights as a backend lays them out, so that it loads them faster; the best one by default.",
)
@_threads
@_force
@_model_format
def convert_command(
    src: str, dst: Path, to: str | None, dtype: str | None, prepack: str | None, threads: int | None, force: bool,
    model_format: str | None,
) -> None:  # fmt: skip
    """Write the model SRC as DST in another format: tensors, configuration, tokenizer and chat templates."""
    target = _target(dst, to, force=force)
    dtype = None if dtype is None else known_dtype(dtype)
    start = time.perf_counter()
    with progress_bars() as progress:
        model = open_named(src, model_format=model_format, allow_download=False, progress=progress)
        with _backend(prepack, threads, progress) as backend:
            convert(model, target, dst, dtype, threads, progress, backend)
        model.close()
    if backend is not None:
        click.echo(f"{dst}: {_cost(open_model(dst))}")
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


@contextlib.contextmanager
def _backend(name: str | None, threads: int | None, progress: Progress) -> Iterator[Backend | None]:
    """An instance of the backend of that name, of the best one for "", none for None."""
    if name is None:
        yield None
        return
    with contextlib.closing(choose_backend(name)[0](BackendOptions(threads=threads), progress)) as backend:
        yield backend


def _cost(file: ModelFile) -> str:
    """What the copies take."""
    with contextlib.closing(file):
        ((layout, copies),) = file.prepacked.items()
        plain, more = (sum(t.nbytes for t in tensors.values()) for tensors in (file.tensors, copies))
        return f"prepacked for {layout}: {len(copies)} copies, {more / 1e6:.1f} MB beside {plain / 1e6:.1f} MB"


def _target(dst: Path, to: str | None, *, force: bool) -> Format:
    if dst.exists() and not force:
        raise FormatError(f"{dst}: is there already; give --force to replace it")
    return choose_target(dst, to)


def _nbytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size
