"""Models in memory: one load for all who ask, never over the budget, never closed while in use."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from realizar.errors import MemoryExceeded, RealizarError
from realizar.model_cache import ModelCache, ModelNotReady

SIZES = {"a": 40, "b": 50, "c": 60, "d": 100}
BUDGET = 110


class Fake:
    """Stands for an LLM: tells the ledger when it is there and when it is gone."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self.ledger, self.name, self.closed = ledger, name, False
        ledger.add(self)

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True
        self.ledger.remove(self)


class Ledger:
    """What memory would hold, counted where models are made and closed, and how many loads ran at once."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s, self.loads = delay_s, Counter()
        self.held: list[Fake] = []
        self.most = 0
        self._lock = threading.Lock()

    def add(self, model: Fake) -> None:
        with self._lock:
            self.held.append(model)
            self.loads[model.name] += 1
            self.most = max(self.most, sum(SIZES[held.name] for held in self.held))

    def remove(self, model: Fake) -> None:
        with self._lock:
            self.held.remove(model)

    def loader(self, name: str):
        def load() -> Fake:
            time.sleep(self.delay_s)
            return Fake(self, name)

        return load

    def cache(self, **options) -> ModelCache:
        sizes = {name: measure(nbytes) for name, nbytes in SIZES.items()}
        options = {"budget_nbytes": BUDGET, "wait_s": 0.0} | options
        return ModelCache({name: self.loader(name) for name in SIZES}, sizes, **options)


def measure(nbytes: int):
    def of(budget: int | None) -> int:
        if budget is not None and nbytes > budget:
            raise MemoryExceeded(f"needs {nbytes}, available are {budget}")
        return nbytes

    return of


def wait_until(true) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


class Pool(RuleBasedStateMachine):
    """Requests come and go, models are reloaded: what the cache says is what memory holds, and it is within bounds."""

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger()
        self.cache = self.ledger.cache()
        self.leases = []

    @rule(name=st.sampled_from(sorted(SIZES)))
    def take(self, name: str) -> None:
        used = {model.id: model.nbytes for model in self.leases}
        try:
            model = self.cache.take(name).result(10)
        except ModelNotReady as error:
            held = sum(model.nbytes for model in {id(model): model for model in self.leases}.values())
            assert held + SIZES[name] > BUDGET, f"there was room for {name}: {error}"
            assert name not in {model.id for model in self.leases if not model.is_replaced}
        else:
            assert (model.id, model.llm.name) == (name, name)
            self.leases.append(model)
        assert all(not model.llm.closed for model in self.leases), used

    @rule(data=st.data())
    def give_back(self, data) -> None:
        if self.leases:
            model = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
            self.cache.give_back(model)
            if model.is_replaced and model not in self.leases:
                wait_until(lambda: model.llm.closed)

    @rule(name=st.sampled_from(sorted(SIZES)))
    def reload(self, name: str) -> None:
        before = self.ledger.loads[name]
        try:
            self.cache.reload(name)
        except ModelNotReady:
            assert self.leases
        else:
            assert self.ledger.loads[name] == before + 1

    @invariant()
    def bounded(self) -> None:
        wait_until(lambda: self.cache.nbytes == sum(SIZES[model.name] for model in self.ledger.held))
        assert self.ledger.most <= BUDGET
        current = self.cache.models
        assert len({model.id for model in current}) == len(current)
        for model in current:
            assert model.leases == self.leases.count(model)
        assert all(not model.llm.closed for model in [*self.leases, *current])

    def teardown(self) -> None:
        self.cache.close()
        assert self.ledger.held == []


Pool.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestPool = Pool.TestCase


def test_many_who_ask_at_once_share_one_load():
    ledger = Ledger(delay_s=0.05)
    cache = ledger.cache()
    with ThreadPoolExecutor(16) as threads:
        models = list(threads.map(lambda _: cache.take("a").result(10), range(32)))
    assert len(set(map(id, models))) == 1
    assert (ledger.loads["a"], models[0].leases) == (1, 32)


def test_threads_at_once_never_exceed_the_budget():
    ledger = Ledger(delay_s=0.001)
    cache = ledger.cache(wait_s=30.0)

    def work(seed: int) -> None:
        for i in range(15):
            name = "abcd"[(seed * 7 + i * (seed + 3)) % 4]
            model = cache.take(name).result(60)
            assert not model.llm.closed
            time.sleep(0.0005)
            assert not model.llm.closed, "closed while it was in use"
            cache.give_back(model)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert ledger.most <= BUDGET
    assert ledger.loads.total() > 4, "nothing was ever unloaded, so nothing was tried"
    cache.close()
    assert (ledger.held, cache.nbytes) == ([], 0)


def test_the_longest_unused_goes_first():
    ledger = Ledger()
    cache = ledger.cache()
    for name in "aba":
        cache.give_back(cache.take(name).result(10))
    cache.give_back(cache.take("c").result(10))
    assert [model.id for model in cache.models] == ["a", "c"]
    assert cache.counts.unloads == {("b", "room"): 1}


def test_what_never_fits_is_refused_and_unloads_nothing():
    ledger = Ledger()
    cache = ledger.cache(budget_nbytes=90)
    cache.give_back(cache.take("a").result(10))
    with pytest.raises(MemoryExceeded, match="needs 100, available are 90"):
        cache.take("d").result(10)
    assert [model.id for model in cache.models] == ["a"]
    assert cache.counts.failures == {"d": 1}


def test_a_load_waits_for_a_request_that_ends_in_time():
    cache = Ledger().cache(wait_s=10.0)
    held = cache.take("d").result(10)
    coming = cache.take("c")
    time.sleep(0.02)
    assert not coming.done()
    cache.give_back(held)
    assert coming.result(10).id == "c"
    assert held.llm.closed


def test_no_room_is_said_with_who_has_it():
    cache = Ledger().cache()
    cache.take("d").result(10)
    with pytest.raises(ModelNotReady, match=r"model 'c' needs .*by models with requests in flight: d \(1 requests\)"):
        cache.take("c").result(10)


def test_a_failed_load_is_told_to_all_and_tried_again():
    ledger, broken = Ledger(), [True]

    def load() -> Fake:
        if broken:
            time.sleep(0.02)
            raise RealizarError("broken file")
        return Fake(ledger, "a")

    cache = ModelCache({"a": load}, {"a": measure(40)}, budget_nbytes=50)
    futures = [cache.take("a") for _ in range(3)]
    for future in futures:
        with pytest.raises(RealizarError, match="broken file"):
            future.result(10)
    assert cache.nbytes == 0
    broken.clear()
    assert cache.take("a").result(10).llm.name == "a"


def test_reload_lets_old_requests_end_on_the_old_one():
    ledger = Ledger()
    cache = ledger.cache()
    old = cache.take("a").result(10)
    cache.reload("a")
    new = cache.take("a").result(10)
    assert new is not old
    assert not old.llm.closed and old.is_replaced
    assert cache.nbytes == 80
    cache.give_back(old)
    wait_until(lambda: old.llm.closed)
    assert not new.llm.closed
    wait_until(lambda: cache.nbytes == 40)


def test_reload_without_room_for_two_waits_for_the_old_requests():
    cache = Ledger().cache(wait_s=10.0)
    old = cache.take("d").result(10)
    reload = threading.Thread(target=cache.reload, args=("d",))
    reload.start()
    wait_until(lambda: old.is_replaced)
    later = cache.take("d")
    assert not later.done() and not old.llm.closed
    cache.give_back(old)
    assert later.result(10) is not old
    reload.join(10)
    assert old.llm.closed


def test_a_reload_during_a_load_loads_once_more():
    ledger = Ledger(delay_s=0.05)
    cache = ledger.cache()
    first = cache.take("a")
    cache.reload("a")
    assert ledger.loads["a"] == 2
    assert first.result(10).is_replaced


def test_a_reload_that_fails_leaves_the_old_one():
    ledger = Ledger()
    good = [True]

    def load() -> Fake:
        if not good:
            raise RealizarError("half a file")
        return Fake(ledger, "a")

    cache = ModelCache({"a": load})
    old = cache.take("a").result(10)
    cache.give_back(old)
    good.clear()
    with pytest.raises(RealizarError, match="half a file"):
        cache.reload("a")
    assert cache.take("a").result(10) is old


def test_unused_models_go_after_a_while_and_used_ones_stay():
    ledger = Ledger()
    cache = ledger.cache(keep_s=0.05)
    used = cache.take("a").result(10)
    cache.give_back(cache.take("b").result(10))
    wait_until(lambda: [model.name for model in ledger.held] == ["a"])
    assert cache.counts.unloads == {("b", "idle"): 1}
    time.sleep(0.1)
    assert not used.llm.closed
    cache.give_back(used)
    wait_until(lambda: used.llm.closed)


def test_one_model_may_be_kept_or_let_go():
    ledger = Ledger()
    cache = ledger.cache(keep_s=0.03)
    for name in "ab":
        model = cache.take(name).result(10)
        cache.keep(name, None if name == "a" else 0)
        cache.give_back(model)
    wait_until(lambda: [model.name for model in ledger.held] == ["a"])
    time.sleep(0.06)
    assert [model.id for model in cache.models] == ["a"]
    cache.keep("c", 0)  # is not loaded: nothing happens


def test_who_gives_up_holds_nothing():
    cache = Ledger(delay_s=0.05).cache()
    coming, stays = cache.take("a"), cache.take("a")
    cache.abandon(coming)
    model = stays.result(10)
    assert model.leases == 1
    late = cache.take("a")
    cache.abandon(late)
    assert model.leases == 1


def test_closing_ends_loads_that_are_under_way():
    ledger = Ledger(delay_s=0.05)
    cache = ledger.cache()
    coming = cache.take("a")
    cache.close()
    with pytest.raises(RealizarError, match="closed"):
        coming.result(10)
    wait_until(lambda: cache.nbytes == 0)
    assert ledger.held == []
    with pytest.raises(RealizarError, match="closed"):
        cache.take("a")


@pytest.mark.filterwarnings("error")
def test_a_lease_that_outlives_the_cache_closes_nothing_twice():
    ledger = Ledger()
    cache = ledger.cache()
    old = cache.take("a").result(10)
    cache.reload("a")
    cache.close()
    assert ledger.held == []
    cache.give_back(old)
    for thread in threading.enumerate():
        if thread.name == "realizar-unload":
            thread.join(10)
    assert cache.nbytes == 0
