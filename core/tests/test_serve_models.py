"""Which models are served: ids, the default, and the memory that each will take."""

from __future__ import annotations

import asyncio
import threading

import click
import pytest

from realizar.cli.serve import _reload
from realizar.cli.serve_models import build_pool, measure, served_ids, size_in_bytes
from realizar.engine.footprint import footprint, plan_model
from realizar.engine.sizes import BLOCK_SIZE
from realizar.errors import MemoryExceeded, RealizarError, RequestError
from realizar.model_pool import ModelNotReady, ModelPool, UnknownModel

LOADING = {"backend": "numpy", "max_model_len": 64}


@pytest.fixture
def models(plugins, write_model):
    return [str(write_model(seed=seed)) for seed in (1, 2, 3)]


@pytest.mark.parametrize(("text", "nbytes"), [("512M", 512 << 20), ("1.5g", 3 << 29), ("2GiB", 2 << 30), ("700", 700)])
def test_sizes(text, nbytes):
    assert size_in_bytes(None, None, text) == nbytes


@pytest.mark.parametrize("text", ["", "G", "-1G", "much", "1e999", "0"])
def test_what_is_no_size(text):
    with pytest.raises(click.BadParameter, match="expected a size such as 6G"):
        size_in_bytes(None, None, text)


def test_ids_are_names_and_the_default_comes_first():
    assert list(served_ids(["smollm2", "https://h/x/y.gguf#q"], (), None).items()) == [
        ("smollm2", "smollm2"), ("y.gguf", "https://h/x/y.gguf#q"),
    ]  # fmt: skip
    assert list(served_ids(["p", "q"], ("a", "b"), "b")) == ["b", "a"]


@pytest.mark.parametrize(
    ("models", "names", "default", "words"),
    [
        (["p", "q"], ("a",), None, "found 1 names for 2 models"),
        (["p", "p"], (), None, "p and p are both called 'p'"),
        (["p", "q"], (), "r", "--default: found 'r', expected one of p, q"),
    ],
)
def test_ids_that_cannot_be(models, names, default, words):
    with pytest.raises(RequestError, match=words):
        served_ids(models, names, default)


def test_the_footprint_is_what_the_engine_makes(models, open_llm):
    plan = plan_model(models[0], backend="numpy", max_model_len=64)
    llm = open_llm(max_model_len=64)
    cache_nbytes = llm.stats.blocks_total * BLOCK_SIZE * plan.kv_token_nbytes
    assert footprint(plan, "m", None) == plan.weights_nbytes + plan.scratch_nbytes + cache_nbytes
    assert footprint(plan, "m", plan.total_nbytes + 1) == plan.total_nbytes + 1


def test_the_refusal_has_the_numbers_of_the_plan(models):
    plan = plan_model(models[0], backend="numpy", max_model_len=64)
    budget = plan.total_nbytes - 1
    with pytest.raises(MemoryExceeded, match=r"m needs \d+ MiB \(weights .* F32 cache of 1 x 64 tokens"):
        footprint(plan, "m", budget)
    with pytest.raises(MemoryExceeded):
        measure(models[0], LOADING)(budget)


def test_a_draft_is_measured_too(models):
    alone = measure(models[0], LOADING)(None)
    assert measure(models[0], LOADING | {"draft": "prompt-lookup"})(None) == alone
    assert measure(models[0], LOADING | {"draft": models[1]})(None) == 2 * alone
    plan = plan_model(models[0], backend="numpy", max_model_len=64)
    with pytest.raises(MemoryExceeded):
        measure(models[0], LOADING | {"draft": models[1]})(2 * plan.total_nbytes - 1)


def test_models_are_loaded_when_they_are_named_and_unloaded_for_room(models):
    nbytes = measure(models[0], LOADING)(None)
    pool = build_pool(models, LOADING, names=("a", "b", "c"), default="b", budget_nbytes=2 * nbytes)
    assert pool.ids == ("b", "a", "c")

    async def use() -> None:
        with pytest.raises(ModelNotReady, match="'b' is being loaded"):
            async with pool.lease():
                pass
        await asyncio.to_thread(pool.load)
        assert [model.id for model in pool.loaded] == ["b"]
        async with pool.lease("a") as a:
            assert (await a.llm.agenerate("x")).token_ids
        assert {model.id for model in pool.loaded} == {"a", "b"}
        async with pool.lease() as b, pool.lease("c"):
            assert b.id == "b"
        assert {model.id for model in pool.loaded} == {"b", "c"}
        assert not a.llm.alive and b.llm.alive
        with pytest.raises(UnknownModel, match="found 'd', this server has 'b', 'a', 'c'"):
            async with pool.lease("d"):
                pass

    asyncio.run(use())
    pool.close()


def test_one_model_needs_no_budget(models):
    pool = build_pool(models[:1], LOADING)
    assert pool.cache.budget_nbytes is None
    assert build_pool(models, LOADING).cache.budget_nbytes is not None


def test_a_request_that_is_cancelled_or_waits_too_long_leaves_no_lease(models):
    go = threading.Event()
    first = build_pool(models[:1], LOADING, names=("a",))
    first.load()

    def slow() -> object:
        go.wait(10)
        return first.loaded[0].llm

    pool = ModelPool({"a": lambda: first.loaded[0].llm, "b": slow}, wait_s=0.05)
    pool.load()

    async def lease() -> None:
        async with pool.lease("b"):
            pass

    async def use() -> None:
        with pytest.raises(ModelNotReady, match="'b' is still being loaded"):
            await lease()
        task = asyncio.create_task(lease())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        await asyncio.sleep(0.1)
        async with pool.lease("b") as model:
            assert model.leases == 1
        assert model.leases == 0

    asyncio.run(use())
    first.close()


def test_a_hangup_says_what_was_loaded_anew_and_what_was_not(models, capsys):
    """A broken file costs a line, not the model that is being served."""
    first = build_pool(models[:1], LOADING, names=("a",))
    first.load()
    (llm,) = (model.llm for model in first.loaded)
    loads = [lambda: llm, _broken]
    pool = ModelPool({"a": lambda: loads.pop(0)()})
    pool.load()
    _reload(pool)
    assert capsys.readouterr().err == "a: not loaded anew: half a file\n"
    assert pool.loaded[0].llm is llm and llm.alive
    _reload(first)
    assert capsys.readouterr().out == "a: loaded anew\n"
    first.close()


def _broken():
    raise RealizarError("half a file")


def test_each_model_may_have_a_stand_in(models):
    pool = build_pool(models, LOADING, names=("a", "b", "c"), stand_in="numpy")
    assert all(map(pool.has_fallback, pool.ids))
    assert not build_pool(models, LOADING).has_fallback(pool.ids[0])
    assert pool.load_fallback("b").backend_name == "numpy"
    pool.close()
