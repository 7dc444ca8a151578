"""`realizar bench`: what is measured, what it is compared with, and how it is told."""

from __future__ import annotations

import csv
import io
import json
import sys
from xml.etree import ElementTree

import attrs
import numpy as np
import pytest
from click.testing import CliRunner

from realizar.backend import Floor
from realizar.bench import Case, Report, Result, Session, make_cases
from realizar.bench.baseline import changes, read_baseline
from realizar.bench.measure import Sample, measure
from realizar.bench.plot import Plot
from realizar.bench.tables import columns, remarks, to_markdown
from realizar.cli.main import cli
from realizar.errors import RealizarError, RequestError, StepFailed
from realizar.reference import NumpyBackend

ALWAYS = ["n_prompt", "n_gen", "n_depth", "n_batch", "threads", "tokens_per_s", "stddev", "lowest", "highest"]


@pytest.fixture
def model(write_model):
    return write_model()


@pytest.fixture
def bench(plugins, model):
    """Runs `realizar bench` on a tiny model; click's result."""

    def run(*args: object):
        line = ["bench", model, "--backend", "numpy", *args]
        return CliRunner().invoke(cli, [str(arg) for arg in line])

    return run


def decode(*speeds: float, peer: tuple[float, ...] = (), floor: tuple[float, ...] = (), **changes: int) -> Result:
    case = Case(**({"n_prompt": 0, "n_gen": 4, "threads": 2} | changes))
    token_s = () if case.n_prompt else (0.001, 0.002, 0.003)
    return Result(case, [Sample(speed, token_s) for speed in speeds], peer, floor)


class TestCases:
    """Which tests there are."""

    def test_lists_multiply_and_only_decode_has_batches(self):
        cases = make_cases([8, 16], [4], n_depth=[0, 32], n_batch=[1, 2], threads=[1, 2])
        assert [case.name for case in cases if case.threads == 2] == [
            "pp8", "pp16", "tg4", "tg4 x2", "pp8 @ d32", "pp16 @ d32", "tg4 @ d32", "tg4 x2 @ d32"
        ]  # fmt: skip
        assert [case.threads for case in cases] == [1] * 8 + [2] * 8

    def test_zero_leaves_a_test_out(self):
        assert [case.name for case in make_cases([0], [2])] == ["tg2"]
        assert not make_cases([0], [0])

    def test_lengths(self):
        assert Case(8, 0, n_depth=32).num_tokens == 40
        assert Case(0, 4).num_tokens == 1 + 1 + 4
        assert Case(0, 4, n_depth=32).num_tokens == 32 + 1 + 4
        assert Case(0, 4, n_depth=1024, n_batch=3).num_tokens >= 1024 + 1 + 4 + 3 * 1024 // 512


class TestMeasuring:
    """One case on a tiny model."""

    @pytest.fixture
    def steps(self, llm, monkeypatch):
        """The (tokens before, tokens now) of each chunk of each step."""
        seen: list[list[tuple[int, int]]] = []
        run = llm._engine._runner.run

        def noting(chunks):
            seen.append([(chunk.sequence.num_computed, chunk.count) for chunk in chunks])
            return run(chunks)

        monkeypatch.setattr(llm._engine._runner, "run", noting)
        return seen

    def test_prefill(self, llm, steps):
        sample = measure(llm, Case(20, 0), np.random.default_rng(0))
        assert steps == [[(0, 20)]]
        assert sample.tokens_per_s > 0
        assert sample.token_s == ()

    def test_prefill_at_depth_runs_the_depth_first(self, llm, steps):
        measure(llm, Case(20, 0, n_depth=30), np.random.default_rng(0))
        assert steps == [[(0, 30)], [(30, 20)]]

    @pytest.mark.parametrize("depth", [0, 30])
    def test_decode(self, llm, steps, depth):
        sample = measure(llm, Case(0, 5, n_depth=depth), np.random.default_rng(0))
        start = max(depth, 1)
        assert steps == [[(0, start)], *([(start + i, 1)] for i in range(5))]
        assert len(sample.token_s) == 5
        assert sample.tokens_per_s == pytest.approx(5 / sum(sample.token_s))

    @pytest.mark.parametrize("depth", [0, 20])
    def test_a_batch_is_measured_while_all_decode(self, llm, steps, depth):
        sample = measure(llm, Case(0, 5, n_depth=depth, n_batch=3), np.random.default_rng(0))
        together = [step for step in steps if len(step) == 3 and all(count == 1 for _, count in step)]
        assert len(together) >= 5
        assert len(sample.token_s) == 15

    def test_a_batch_that_never_decodes_together(self, open_llm):
        llm = open_llm()
        free = llm._engine._scheduler.blocks
        free.grow([], (free.num_free - 1) * free.block_size)  # room for one sequence of up to 16 tokens
        with pytest.raises(RealizarError, match="tg2 x2: 2 sequences .* do not fit the cache at once"):
            measure(llm, Case(0, 2, n_batch=2), np.random.default_rng(0))

    def test_a_failed_step_is_told(self, open_llm):
        llm = open_llm(backend="faulty")

        class FailIds:
            def integers(self, low, high, size):
                return np.full(size, 299)

        for case in (Case(4, 0), Case(0, 4)):
            with pytest.raises(StepFailed, match="device lost"):
                measure(llm, case, FailIds())


class TestSession:
    """Rounds."""

    def test_ours_and_theirs_take_turns(self, plugins, model, monkeypatch):
        turns = []
        monkeypatch.setattr(
            "realizar.bench.session.measure", lambda llm, case, rng: turns.append(case.name) or Sample(2.0)
        )

        class Peer:
            name, build = "peer", "abc"

            def measure(self, path, case, kv_type):
                assert path.name == model.name
                assert kv_type == "F32"
                turns.append(f"peer {case.name}")
                return 4.0

        report = Session(str(model), backend="numpy", rounds=2, peer=Peer()).run(make_cases([8], [2]))
        assert turns == ["pp8", "tg2", *["pp8", "peer pp8", "tg2", "peer tg2"] * 2]
        assert report.peer == "peer abc"
        assert [result.row()["ratio"] for result in report.results] == [0.5, 0.5]

    def test_the_floor_is_measured_every_round(self, plugins, model, monkeypatch):
        measured = iter(range(1, 9))
        monkeypatch.setattr(NumpyBackend, "floor", lambda self: Floor((1e9 * next(measured),), (1e12,)), raising=False)
        report = Session(str(model), backend="numpy", rounds=3, with_floor=True).run(
            make_cases([8], [2], threads=[1, 2])
        )
        assert [floor.bytes_per_s for floor in report.floors.values()] == [(1e9, 2e9, 3e9), (4e9, 5e9, 6e9)]
        slow, fast = (result.floor for result in report.results if result.case.n_gen)
        assert np.array([*slow, *fast]) / slow[0] == pytest.approx([1, 2, 3, 4, 5, 6])

    def test_a_depth_beyond_the_context(self, plugins, model):
        with pytest.raises(RequestError, match=r"pp8 @ d250 needs 258 tokens of context; .* takes 256: .*\(-d\)"):
            Session(str(model), backend="numpy").run([Case(8, 0, n_depth=250)])

    def test_a_file_that_is_no_model(self, plugins, write_model):
        with pytest.raises(RealizarError, match="no model configuration"):
            Session(str(write_model(without="config")), backend="numpy").run([Case(8, 0)])


class TestTelling:
    """Numbers, tables, files."""

    def test_medians_and_spread(self):
        row = decode(10.0, 30.0, 20.0, peer=(10.0, 5.0, 4.0), floor=(20.0, 100.0, 50.0)).row()
        assert row["tokens_per_s"] == 20
        assert (row["lowest"], row["highest"], row["stddev"]) == (10, 30, 10)
        assert (row["p50_ms"], row["p99_ms"]) == pytest.approx((2.0, 3.0))
        assert (row["peer_tokens_per_s"], row["ratio"], row["ratio_lowest"], row["ratio_highest"]) == (5, 4, 1, 6)
        assert (row["floor_tokens_per_s"], row["floor_fraction"]) == (50, 0.4)

    def test_columns_are_those_that_some_case_has(self):
        prefill = decode(100.0, n_prompt=8, n_gen=0, threads=None)
        assert columns(Report("m", "b", [prefill])) == (
            ["test", "threads", "tokens/s", "±"], [["pp8", "all", "100.0", "0.0"]]
        )  # fmt: skip
        titles, rows = columns(Report("m", "b", [prefill, decode(50.0, peer=(25.0,), floor=(100.0,))], peer="them"))
        assert titles[4:] == ["p50 ms", "p99 ms", "them", "ratio", "lowest", "highest", "of floor"]
        assert rows[1] == ["tg4", "2", "50.0", "0.0", "2.00", "2.98", "25.0", "2.00", "2.00", "2.00", "0.50"]
        assert rows[0][4:] == [""] * 7

    def test_markdown(self):
        floor = Floor((30e9, 20e9, 10e9), (9e11,))
        lines = to_markdown(Report("m", "b", [decode(50.0)], floors={2: floor})).splitlines()
        assert lines[:3] == [
            "| test | threads | tokens/s | ± | p50 ms | p99 ms |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            "| tg4 | 2 | 50.0 | 0.0 | 2.00 | 2.98 |",
        ]
        assert lines[-1] == (
            "threads 2: reads 30.0 GB/s at best, 20.0 in the median of 3 passes; int8 dot products 900 GOP/s"
        )

    def test_plot_without_matplotlib(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(RealizarError, match="pip install matplotlib"):
            Plot(tmp_path / "plot.svg")

    @pytest.mark.parametrize("sweep", [{}, {"n_depth": 64}, {"n_batch": 4}, {"threads": 1}])
    def test_plot(self, tmp_path, sweep):
        pytest.importorskip("matplotlib")
        results = [decode(50.0, peer=(25.0,))] + ([decode(40.0, peer=(20.0,), **sweep)] if sweep else [])
        report = Report("tiny.gguf", "b", [*results, decode(9.0, peer=(3.0,), n_prompt=8, n_gen=0)], peer="them")
        path = tmp_path / "plot.svg"
        Plot(path).write(report)
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
        Plot(path.with_suffix(".png")).write(report)
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


class TestCommand:
    """The command line."""

    def test_json(self, bench):
        result = bench("-p", "8,16", "-n", "4", "-r", 2, "--threads", "1,2", "--json")
        content = json.loads(result.stdout)
        assert (content["backend"], list(content)[-1]) == ("numpy", "results")
        rows = content["results"]
        assert [list(row) for row in rows] == [ALWAYS, ALWAYS, [*ALWAYS, "p50_ms", "p99_ms"]] * 2
        assert [(row["n_prompt"], row["n_gen"], row["threads"]) for row in rows] == [
            (8, 0, 1), (16, 0, 1), (0, 4, 1), (8, 0, 2), (16, 0, 2), (0, 4, 2)
        ]  # fmt: skip
        assert all(row["tokens_per_s"] > 0 and row["stddev"] >= 0 for row in rows)

    def test_csv(self, bench):
        text = bench("-p", 8, "-n", 2, "-d", "0,16", "-r", 1, "--format", "csv").stdout
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [(row["n_prompt"], row["n_depth"], row["backend"]) for row in rows] == [
            ("8", "0", "numpy"), ("0", "0", "numpy"), ("8", "16", "numpy"), ("0", "16", "numpy")
        ]  # fmt: skip
        assert rows[0]["p50_ms"] == ""
        assert float(rows[1]["p50_ms"]) > 0

    def test_table(self, bench):
        result = bench("-p", 0, "-n", 2, "-b", "1,2", "-r", 1, "--floor")
        title, *rows = result.stdout.splitlines()
        assert title.split()[:3] == ["test", "threads", "tokens/s"]
        assert [row.split()[0] for row in rows] == ["tg2", "tg2"]
        assert "the backend numpy measures no floor" in result.stderr

    @pytest.mark.parametrize(
        ("option", "said"),
        [
            (("-p", "many"), "is not a list of whole numbers"), (("-n", "-1"), "from 0 on"), (("-b", "0"), "from 1 on"),
            (("--threads", ""), "from 1 on"), (("--threshold", "some"), "is not a percentage"),
            (("-p", 0, "-n", 0), "nothing to measure"), (("--plot", "x.gif"), "neither in .png nor in .svg"),
            (("--compare", "other"), "expected llama.cpp or llama.cpp=PATH"),
        ],
    )  # fmt: skip
    def test_usage(self, bench, option, said):
        result = bench(*option)
        assert result.exit_code == 2
        assert said in " ".join(result.output.replace("│", " ").split())


class TestBaseline:
    """`--against`."""

    @pytest.mark.parametrize(("factor", "code"), [(1e-6, 0), (1e6, 1)])
    def test_against(self, bench, tmp_path, factor, code):
        row = {"n_prompt": 8, "n_gen": 0, "threads": None, "tokens_per_s": 1000.0 * factor, "stddev": 0.0}
        baseline = tmp_path / "baseline.json"
        baseline.write_text(json.dumps({"results": [row]}))
        result = bench("-p", 8, "-n", 0, "-r", 1, "--against", baseline, "--threshold", "5%")
        assert result.exit_code == code
        assert ("slower" if code else "ok") in result.stderr

    def test_what_it_wrote_itself(self, bench, tmp_path):
        baseline = tmp_path / "baseline.json"
        baseline.write_text(bench("-p", 8, "-n", 2, "-b", "1,2", "-d", 4, "-r", 1, "--json").stdout)
        assert [case.name for case in read_baseline(baseline)] == ["pp8 @ d4", "tg2 @ d4", "tg2 x2 @ d4"]

    @pytest.mark.parametrize(("threshold", "slower"), [(0.05, True), (0.11, False)])
    def test_threshold(self, threshold, slower):
        result = decode(90.0)
        other = attrs.evolve(result.case, n_depth=1)
        assert [change.slower for change in changes([result], {result.case: 100.0, other: 1.0}, threshold)] == [slower]

    def test_a_baseline_of_something_else(self, bench, tmp_path):
        baseline = tmp_path / "baseline.json"
        line = ("-p", 8, "-n", 0, "-r", 1, "--against", baseline)
        baseline.write_text("[]")
        assert "not the output of `realizar bench --format json`" in str(bench(*line).exception)
        baseline.write_text('{"results": []}')
        assert "the baseline has none of these cases" in str(bench(*line).exception)


def test_remarks_name_the_threads():
    floors = {None: Floor((1e9,), (1e9,)), 1: Floor((1e9,), (1e9,))}
    assert [remark.split(":")[0] for remark in remarks(Report("m", "b", [], floors))] == ["threads all", "threads 1"]
