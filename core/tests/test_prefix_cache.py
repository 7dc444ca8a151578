"""Which blocks a prompt finds, and what is said of those it does not find."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.backend import Bucket
from realizar.engine.block_manager import BlockManager
from realizar.engine.prefix_cache import PrefixCache, PrefixReport, block_key
from realizar.engine.scheduler import Scheduler
from realizar.engine.sequence import Sequence

WIDE = Bucket(max_tokens=100, max_seqs=8, max_rows=8)


def request(ids, output: int = 4, **options) -> Sequence:
    total = len(ids) + (0 if options.get("every_position") else output)
    return Sequence(list(ids), total, lambda rows: None, lambda error: None, **options)


class Bench:
    """A scheduler whose steps are computed by nobody."""

    def __init__(self, num_blocks: int = 40, limit: Bucket = WIDE, **options) -> None:
        self.plan = Scheduler(limit, BlockManager(num_blocks, 4), **options)
        self.computed = 0

    def step(self) -> dict[int, tuple[int, int]]:
        """One step; (start, count) of each chunk by the first token of its sequence."""
        chunks = self.plan.schedule()
        seen = {c.sequence.token_ids[0]: (c.sequence.num_computed, c.count) for c in chunks}
        for chunk in chunks:
            chunk.sequence.num_computed += chunk.count
            self.computed += chunk.count
        self.plan.computed(chunks)
        for chunk in chunks:
            if chunk.completes and len(chunk.sequence.token_ids) + 1 < chunk.sequence.max_total_tokens:
                chunk.sequence.token_ids.append(9)
            elif chunk.completes:
                self.plan.finish(chunk.sequence)
        return seen

    def run(self, ids, output: int = 1, **options) -> Sequence:
        """One request from its first step to its last."""
        sequence = request(ids, output, **options)
        self.plan.add(sequence)
        while self.plan.has_work:
            self.step()
        return sequence

    def report(self, ids, **options) -> PrefixReport:
        report = self.run(ids, **options).prefix
        assert report is not None
        return report


TEXT = list(range(100, 123))


@pytest.mark.parametrize(
    ("length", "cached"), [(1, 0), (4, 0), (5, 4), (8, 4), (9, 8), (20, 16), (21, 20), (23, 20), (30, 20)]
)
def test_full_blocks_before_the_last_token_are_reused(length, cached):
    bench = Bench()
    bench.run(TEXT)
    report = bench.report([*TEXT, *range(7)][:length])
    assert (report.prompt_tokens, report.cached_tokens) == (length, cached)


def test_only_the_rest_is_computed():
    bench = Bench()
    bench.run(TEXT)
    bench.plan.add(request(TEXT))
    assert bench.step() == {100: (20, 3)}


def test_output_is_reused_as_prompt():
    bench = Bench()
    done = bench.run(TEXT, output=7)
    assert bench.report([*done.token_ids, 5]).cached_tokens == 28


@pytest.mark.parametrize("changed", [0, 3, 4, 10, 19])
def test_a_changed_token_ends_what_is_found(changed):
    bench = Bench()
    bench.run(TEXT)
    ids = [*TEXT]
    ids[changed] = 7
    assert bench.report(ids) == PrefixReport(23, changed // 4 * 4, "differs", changed)


def test_the_nearest_of_several_texts_is_compared():
    bench = Bench()
    for end in ([1, 2, 3, 4], [1, 2, 5, 6], [9, 9, 9, 9]):
        bench.run([*TEXT[:4], *end])
    assert bench.report([*TEXT[:4], 1, 2, 5, 7, 8]) == PrefixReport(9, 4, "differs", 7)


def test_reasons():
    bench = Bench()
    assert bench.report(TEXT) == PrefixReport(23, 0, "new", 0)
    assert bench.report(TEXT) == PrefixReport(23, 20, "hit")
    assert bench.report([*TEXT[:20], *range(8)]) == PrefixReport(28, 20, "new", 20)
    assert bench.report(TEXT[:4]) == PrefixReport(4, 0, "short")
    assert bench.report(TEXT, every_position=True) == PrefixReport(23, 0, "every_position")
    assert Bench(prefix_cache=False).report(TEXT) == PrefixReport(23, 0, "off")


def test_what_was_evicted_is_told_from_what_was_never_there():
    bench = Bench(num_blocks=8)
    bench.run(TEXT)
    bench.run(range(200, 220))
    assert bench.report(TEXT) == PrefixReport(23, 12, "evicted", 12)


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (PrefixReport(23, 20, "hit"), "20 of 23 tokens cached: everything that can be reused was"),
        (PrefixReport(23, 8, "differs", 10), "8 of 23 tokens cached: .* most similar cached text at token 10$"),
        (PrefixReport(23, 8, "evicted", 8), "8 of 23 tokens cached: .* gone from token 8$"),
    ],
)
def test_reports_in_words(report, text):
    assert re.search(f"^{text}", str(report))


def test_scored_texts_are_found_by_others_and_find_nothing():
    bench = Bench()
    scored = bench.run(TEXT, every_position=True)
    assert scored.prefix.cached_tokens == 0
    assert bench.report(TEXT).cached_tokens == 20


def test_texts_that_see_themselves_as_a_whole_are_not_shared():
    bench = Bench(limit=Bucket(100, 8, 100))
    bench.run(TEXT, every_position=True, in_one_step=True)
    assert bench.report(TEXT) == PrefixReport(23, 0, "new", 0)


def test_equal_prompts_at_once_are_computed_once():
    bench = Bench(limit=Bucket(12, 8, 8))
    first, second, third = request(TEXT), request(TEXT), request([*TEXT[:9], 1, 2, 3, 4])
    for sequence in (first, second, third):
        bench.plan.add(sequence)
    while bench.plan.has_work:
        bench.step()
    assert [s.prefix.cached_tokens for s in (first, second, third)] == [0, 20, 8]
    assert bench.computed == 23 + 3 + 5 + 3 * 3  # prompts, and what was generated


def test_one_that_waits_for_anothers_blocks_holds_nobody_up():
    bench = Bench(limit=Bucket(8, 8, 8))
    for ids in (TEXT, TEXT, [7, 8]):
        bench.plan.add(request(ids))
    bench.plan.schedule()
    assert [len(s.token_ids) for s in bench.plan.running] == [23]
    bench.plan.running[0].num_computed = 20
    bench.plan.schedule()
    assert [len(s.token_ids) for s in bench.plan.running] == [23, 2]
    assert [len(s.token_ids) for s in bench.plan.waiting] == [23]


def test_off_is_off_between_requests_and_not_within_one():
    bench = Bench(prefix_cache=False)
    bench.run(TEXT)
    one, other = request(TEXT), request(TEXT, request_id=77)
    one.request_id = 77
    for sequence in (one, other):
        bench.plan.add(sequence)
    while bench.plan.has_work:
        bench.step()
    assert (one.prefix.cached_tokens, other.prefix.cached_tokens) == (0, 20)


def test_hits_are_counted():
    bench = Bench()
    for _ in range(3):
        bench.run(TEXT)
    assert (bench.plan.counters.prefix_queries, bench.plan.counters.prefix_hits) == (69, 40)


def test_keys_depend_on_every_token_and_on_what_comes_before():
    keys = [
        block_key(parent, ids) for parent, ids in itertools.product([b"", b"x"], itertools.permutations([1, 2, 2**40]))
    ]
    assert len(set(keys)) == 12
    assert block_key(b"", [1, 2]) == block_key(b"", (1, 2))


def test_the_memory_of_what_was_evicted_is_bounded():
    cache = PrefixCache(memory=2)
    for i in range(4):
        cache.add(i, bytes([i]), b"", [i])
        cache.remove(i, evicted=True)
    assert [cache.explain(bytes([i]), b"", [i])[0] for i in range(4)] == ["new", "new", "evicted", "evicted"]


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=14), min_size=1, max_size=8))
def test_what_is_found_is_what_is_there(prompts):
    """Against the definition: the longest run of full blocks, short of the last token, of any text before."""
    bench, texts = Bench(), []
    for ids in prompts:
        common = max(
            (sum(1 for _ in itertools.takewhile(bool, map(int.__eq__, ids, text))) for text in texts), default=0
        )
        assert bench.report(ids).cached_tokens == min(common, len(ids) - 1) // 4 * 4
        texts.append(ids)
