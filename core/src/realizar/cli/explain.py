"""`realizar explain kernel`: what became of a kernel when it was compiled, and how far it can go on this machine."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence

import attrs
import click

from realizar.backend import Backend
from realizar.errors import RequestError
from realizar.kernel_report import KernelReport, roofline
from realizar.plugins import host
from realizar.selection import choose_backend


@click.group("explain")
def explain_command() -> None:
    """Say what the engine's own code is."""


@explain_command.command("kernel")
@click.argument("name", nargs=-1)
@click.option("--backend", help="Compute backend; the best one by default.")
@click.option("--isa", help="Instruction set, or architecture of a GPU, to compile for; the one in use by default.")
@click.option("--floor", is_flag=True, help="Measure this machine's memory and arithmetic for the roofline.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.option("--asm", is_flag=True, help="Print the assembly too.")
def kernel_command(
    name: tuple[str, ...], backend: str | None, isa: str | None, floor: bool, as_json: bool, asm: bool
) -> None:
    """Instructions, spills and limits of the kernel NAME, such as: linear Q4_1 decode. Without NAME, list all."""
    cls = _explained(backend)
    names = cls.explainable()
    if not names:
        raise RequestError(f"backend {cls.name!r} cannot explain its kernels")
    if not name:
        click.echo(json.dumps(list(names)) if as_json else "\n".join(names))
        return
    report = cls.explain(_known(" ".join(name), names, cls.name), isa)
    if floor:
        report = _with_roofline(report, cls)
    if as_json:
        click.echo(_to_json(report, asm=asm))
    else:
        _print(report, asm=asm)


def _explained(name: str | None) -> type[Backend]:
    """The backend of that name, even one that cannot run here: nothing of it is run."""
    for record in host().records:
        if (record.kind, record.name, record.status) == ("backend", name, "unavailable"):
            cls: type[Backend] = record.contribution
            return cls
    return choose_backend(name)[0]


def _known(name: str, names: Sequence[str], backend: str) -> str:
    """The name as the backend spells it."""
    spelled = {known.lower(): known for known in names}
    if name.lower() in spelled:
        return spelled[name.lower()]
    near = [spelled[match] for match in difflib.get_close_matches(name.lower(), spelled, n=5, cutoff=0.5)]
    hint = f"did you mean: {', '.join(near)}" if near else "list them with: realizar explain kernel"
    raise RequestError(f"backend {backend!r} has no kernel {name!r} among {len(names)}; {hint}")


def _with_roofline(report: KernelReport, cls: type[Backend]) -> KernelReport:
    backend = cls()
    try:
        measured = backend.floor()
    finally:
        backend.close()
    if measured is None:
        raise RequestError(f"backend {cls.name!r} cannot measure this machine's floor; leave out --floor")
    return attrs.evolve(report, sections=(*report.sections, roofline(report, measured)))


def _to_json(report: KernelReport, *, asm: bool) -> str:
    fields = {
        "name": report.name,
        "target": report.target,
        "operation": report.operation,
        "operations_per_byte": report.operations_per_byte,
        "sections": {section.title: dict(section.facts) for section in report.sections},
    }
    return json.dumps({**fields, "assembly": report.assembly} if asm else fields, indent=1)


def _print(report: KernelReport, *, asm: bool) -> None:
    click.echo(f"{report.name} ({report.target})")
    for section in report.sections:
        click.echo(f"\n{section.title}")
        width = max(map(len, section.facts), default=0)
        for label, value in section.facts.items():
            click.echo(f"  {label:{width}}  {value}")
    if asm:
        click.echo(f"\n{report.assembly}")
