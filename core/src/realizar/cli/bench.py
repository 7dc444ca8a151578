"""`realizar bench`: tokens a second, in llama-bench's quantities."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import attrs
import click

from realizar.cli.display import progress_bars, stderr
from realizar.engine import LLM
from realizar.errors import RealizarError
from realizar.sampling import SamplingParams


@attrs.frozen
class Row:
    """One measurement: prefill rows have n_gen 0, decode rows n_prompt 0."""

    n_prompt: int
    n_gen: int
    threads: int | None
    tokens_per_s: float
    stddev: float

    @property
    def key(self) -> tuple[int, int, int | None]:
        """What was measured."""
        return self.n_prompt, self.n_gen, self.threads


def _counts(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int | None]:
    if value is None:
        return [None]
    try:
        counts = [int(part) for part in value.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 0:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers such as 1,2")
    return list(counts)


def _percent(ctx: click.Context, param: click.Parameter, value: str) -> float:
    try:
        return float(value.removesuffix("%")) / 100
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a percentage such as 5%") from None


@click.command("bench")
@click.argument("model")
@click.option("-p", "--n-prompt", default="512", show_default=True, callback=_counts, help="Prompt lengths; 0 is none.")
@click.option("-n", "--n-gen", default="128", show_default=True, callback=_counts, help="Tokens to decode; 0 is none.")
@click.option("--threads", callback=_counts, help="Thread counts, such as 1,2; all cores by default.")
@click.option("-r", "--repetitions", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--backend", help="Compute backend; the best one by default.")
@click.option("--kv-type", help="Type of the KV cache.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.option(
    "--against", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An earlier --json output; exit 1 if a row is slower by more than the threshold.",
)  # fmt: skip
@click.option("--threshold", default="5%", show_default=True, callback=_percent)
@click.pass_context
def bench_command(
    ctx: click.Context, model: str, n_prompt: list[int], n_gen: list[int], threads: list[int | None],
    repetitions: int, backend: str | None, kv_type: str | None, as_json: bool, against: Path | None, threshold: float,
) -> None:  # fmt: skip
    """Measure prefill and decode of MODEL through the whole engine: scheduling, sampling and text included."""
    rows: list[Row] = []
    for count in threads:
        with progress_bars() as progress:
            llm = LLM(model, backend=backend, threads=count, kv_type=kv_type, progress=progress)
        with llm:
            rows += measure(llm, n_prompt, n_gen, count, repetitions)
    if as_json:
        click.echo(json.dumps({"results": [attrs.asdict(row) for row in rows]}))
    else:
        for row in rows:
            click.echo(_line(row))
    if against is not None:
        ctx.exit(int(_regressed(rows, _baseline(against), threshold)))


def measure(llm: LLM, n_prompt: list[int], n_gen: list[int], threads: int | None, repetitions: int) -> list[Row]:
    """Each test once to warm up, then `repetitions` times."""
    tests = [(count, 0) for count in n_prompt if count] + [(0, count) for count in n_gen if count]
    rows = []
    for prompt, gen in tests:
        _speed(llm, prompt, gen)
        speeds = [_speed(llm, prompt, gen) for _ in range(repetitions)]
        stddev = statistics.stdev(speeds) if repetitions > 1 else 0.0
        rows.append(Row(prompt, gen, threads, statistics.fmean(speeds), stddev))
    return rows


def _speed(llm: LLM, n_prompt: int, n_gen: int) -> float:
    """Tokens a second of one prefill, or of decoding from a one-token prompt.

    The prompt's ids walk through the vocabulary, as good as any text for timing.
    """
    prompt = [i * 7919 % llm.config.vocab_size for i in range(max(1, n_prompt))]
    params = SamplingParams(temperature=0.0, max_tokens=max(1, n_gen), ignore_eos=True)
    timings = llm.generate(prompt, params).timings
    seconds = timings.prefill_s + (timings.decode_s if n_gen else 0.0)
    return (n_gen or n_prompt) / seconds


def _line(row: Row) -> str:
    test = f"pp{row.n_prompt}" if row.n_prompt else f"tg{row.n_gen}"
    threads = row.threads if row.threads is not None else "all"
    return f"{test:>8}  threads {threads!s:>3}  {row.tokens_per_s:10.2f} ± {row.stddev:.2f} tokens/s"


def _baseline(path: Path) -> dict[tuple[int, int, int | None], float]:
    try:
        rows = [Row(**row) for row in json.loads(path.read_text())["results"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RealizarError(f"{path}: not the output of `realizar bench --json`: {error}") from error
    return {row.key: row.tokens_per_s for row in rows}


def _regressed(rows: list[Row], baseline: dict[tuple[int, int, int | None], float], threshold: float) -> bool:
    """Whether any row is slower than its baseline by more than the threshold; says each comparison."""
    compared = [(row, baseline[row.key]) for row in rows if row.key in baseline]
    if not compared:
        raise RealizarError("the baseline has none of these rows (same n_prompt, n_gen and threads)")
    slower = False
    for row, before in compared:
        change = row.tokens_per_s / before - 1
        verdict = "slower" if change < -threshold else "ok"
        slower = slower or verdict == "slower"
        stderr.print(f"{_line(row)}  {change:+.1%} against {before:.2f}: {verdict}", markup=False, highlight=False)
    return slower
