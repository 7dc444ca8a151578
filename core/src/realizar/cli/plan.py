"""`realizar plan`: what a model would take in memory, before it is loaded."""

from __future__ import annotations

import json

import attrs
import click

from realizar.cli.display import print_table, progress_bars
from realizar.cli.options import output_format
from realizar.engine.footprint import plan_model
from realizar.memory_plan import MemoryPlan


@click.command("plan")
@click.argument("model")
@click.option("--backend", help="Compute backend; the best one by default.")
@click.option("--ctx", "context", type=click.IntRange(min=1), help="Tokens of each sequence.")
@click.option("--batch", "sequences", type=click.IntRange(min=1), default=1, show_default=True,
              help="Sequences that have so many tokens at once.")  # fmt: skip
@click.option("--kv-type", help="Type of the KV cache; the backend's default.")
@output_format
def plan_command(
    model: str, backend: str | None, context: int | None, sequences: int, kv_type: str | None, output: str
) -> None:
    """Say what MODEL takes in memory, and the largest context that fits; exit code 1 if it does not fit."""
    with progress_bars() as progress:
        plan = plan_model(
            model, backend=backend, max_model_len=context, sequences=sequences, kv_type=kv_type, progress=progress
        )
    if output == "json":
        click.echo(json.dumps(_fields(plan)))
    else:
        print_table(("", "MiB"), _rows(plan))
    plan.prove(model)


def _fields(plan: MemoryPlan) -> dict[str, object]:
    sums = {name: getattr(plan, name) for name in ("kv_nbytes", "total_nbytes", "largest_context")}
    return attrs.asdict(plan) | sums


def _rows(plan: MemoryPlan) -> list[tuple[str, str]]:
    def mib(nbytes: int) -> str:
        return f"{nbytes / (1 << 20):,.1f}"

    cache = f"{plan.kv_type} cache, {plan.sequences} x {plan.context} tokens of {plan.kv_token_nbytes:,} bytes"
    rows = [
        ("weights", mib(plan.weights_nbytes)), (cache, mib(plan.kv_nbytes)), ("scratch", mib(plan.scratch_nbytes)),
        ("together", mib(plan.total_nbytes)),
    ]  # fmt: skip
    if plan.budget_nbytes is None:
        return [*rows, ("available", "not known")]
    largest = f"available; the largest context that fits is {plan.largest_context} tokens"
    return [*rows, (largest, mib(plan.budget_nbytes))]
