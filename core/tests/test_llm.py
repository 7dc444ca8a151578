"""LLM on a tiny model: prompts, batches, chunks, streams, asyncio, errors and the end."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import attrs
import numpy as np
import pytest

from realizar.backend import Bucket
from realizar.engine import LLM, load_tokenizer
from realizar.errors import (
    ContextOverflow,
    EngineFailed,
    ModelError,
    PluginError,
    RealizarError,
    RequestError,
    StepFailed,
    StoreError,
)
from realizar.sampling import SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
PROMPTS = ["The sky is", "a", "Once upon a time there was a thing", "é…", "1 2 3 4 5 6 7 8", "x" * 40, "??", "Zz"]
NAN_ID, FAIL_ID = 298, 299  # of tiny_plugin's faulty backend


def settle(llm: LLM) -> None:
    """Wait until the engine has nothing to do, and check that all blocks came back."""
    scheduler, deadline = llm._engine._scheduler, time.monotonic() + 20
    while scheduler.has_work or llm._engine._submitted:
        assert time.monotonic() < deadline, "the engine still works"
        time.sleep(0.005)
    assert scheduler.blocks.num_free == scheduler.blocks.num_blocks


def byte_ids(text: str) -> list[int]:
    return [0, *(3 + byte for byte in text.encode())]


def test_generate(llm):
    done = llm.generate("The sky", GREEDY)
    assert list(done.prompt_token_ids) == byte_ids("The sky")
    assert len(done.token_ids) == 12
    assert done.text == llm.tokenizer.decode(done.token_ids)
    assert (done.finish_reason, done.timings.prompt_tokens) == ("length", 8)
    assert done.timings.load_s == llm.load_s > 0


def test_greedy_is_the_argmax_of_the_logits(llm):
    done = llm.generate("The sky", GREEDY)
    ids = [*done.prompt_token_ids, *done.token_ids]
    best = llm.logits(ids)[len(done.prompt_token_ids) - 1 : -1].argmax(axis=1)
    assert best.tolist() == list(done.token_ids)


def test_text_ids_and_arrays_are_the_same_prompt(llm):
    ids = byte_ids("The sky")
    wanted = llm.generate("The sky", GREEDY).token_ids
    assert llm.generate(ids, GREEDY).token_ids == wanted
    assert llm.generate(np.array(ids), GREEDY).token_ids == wanted
    assert [c.token_ids for c in llm.generate([ids, ids], GREEDY)] == [wanted, wanted]


def test_control_tokens_count_in_the_callers_own_text(llm):
    assert llm.generate("a<|im_end|>", GREEDY).prompt_token_ids == (0, 3 + ord("a"), 2)


def test_default_parameters(llm):
    done = llm.generate("a", SamplingParams(ignore_eos=True))
    assert len(done.token_ids) == SamplingParams().max_tokens
    assert llm.generate("a").finish_reason in ("stop", "length")


def test_alone_and_in_a_batch(llm):
    together = llm.generate(PROMPTS, GREEDY)
    alone = [llm.generate(prompt, GREEDY) for prompt in PROMPTS]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]
    assert [c.text for c in together] == [c.text for c in alone]


def test_a_seed_gives_the_same_text_alone_and_in_a_batch(llm):
    params = SamplingParams(seed=11, temperature=1.3, top_k=50, top_p=0.9, max_tokens=20)
    together = llm.generate(PROMPTS, params)
    assert [c.token_ids for c in together] == [llm.generate(prompt, params).token_ids for prompt in PROMPTS]
    other = SamplingParams(seed=12, temperature=1.3, top_k=50, top_p=0.9, max_tokens=20)
    assert [c.token_ids for c in together] != [c.token_ids for c in llm.generate(PROMPTS, other)]


def test_whole_and_chunked_prefill_agree(open_llm, monkeypatch):
    text = "It is a truth universally acknowledged, that a single man"
    whole = open_llm()
    monkeypatch.setattr("realizar.engine.sizes.LIMIT", Bucket(max_tokens=7, max_seqs=3, max_rows=5))
    chunked = open_llm()
    assert whole.generate(text, GREEDY).token_ids == chunked.generate(text, GREEDY).token_ids
    assert [c.token_ids for c in whole.generate(PROMPTS, GREEDY)] == [
        c.token_ids for c in chunked.generate(PROMPTS, GREEDY)
    ]
    ids = byte_ids(text)
    np.testing.assert_allclose(whole.logits(ids), chunked.logits(ids), atol=1e-3, rtol=0)


def test_a_prompt_longer_than_a_step(open_llm):
    """Chunks that want no logits at all."""
    llm = open_llm({"max_position_embeddings": 2048})
    ids = [3 + i % 256 for i in range(1100)]
    done = llm.generate(ids, SamplingParams(temperature=0, max_tokens=2, ignore_eos=True))
    best = llm.logits([*ids, done.token_ids[0]])[-2:].argmax(axis=1)
    assert best.tolist() == list(done.token_ids)


def test_float64_agrees(open_llm):
    ids = byte_ids(PROMPTS[2])
    np.testing.assert_allclose(open_llm().logits(ids), open_llm(backend="numpy64").logits(ids), atol=1e-3, rtol=0)


def test_a_float16_cache_is_close(open_llm):
    ids = byte_ids(PROMPTS[2])
    wanted, got = open_llm().logits(ids), open_llm(kv_type="F16").logits(ids)
    assert 0 < np.abs(wanted - got).max() < 0.05


def test_logits_of_every_position(llm):
    ids = byte_ids("x" * 150)
    logits = llm.logits(ids)
    assert (logits.shape, logits.dtype) == ((151, 300), np.float32)
    np.testing.assert_allclose(logits[:20], llm.logits(ids[:20]), atol=1e-3, rtol=0)
    assert np.array_equal(llm.logits(np.array(ids[:3])), llm.logits(ids[:3]))


def test_stream(llm):
    pieces = list(llm.stream("The sky", GREEDY))
    assert [piece.completion is not None for piece in pieces] == [False] * 11 + [True]
    done = pieces[-1].completion
    assert "".join(piece.text for piece in pieces) == done.text
    assert [i for piece in pieces for i in piece.token_ids] == list(done.token_ids)
    assert done.token_ids == llm.generate("The sky", GREEDY).token_ids


def test_stop_strings(llm):
    text = llm.generate("The sky", GREEDY).text
    stop = text[3:5]
    done = llm.generate("The sky", SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, stop=stop))
    assert (done.text, done.finish_reason) == (text[: text.index(stop)], "stop")


def test_logprobs(llm):
    done = llm.generate("The sky", SamplingParams(temperature=0, max_tokens=3, ignore_eos=True, logprobs=4))
    logits = llm.logits([*done.prompt_token_ids, *done.token_ids])[len(done.prompt_token_ids) - 1 : -1]
    logprobs = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    for row, entry, token_id in zip(logprobs, done.logprobs, done.token_ids, strict=True):
        assert entry.token_id == token_id
        assert entry.logprob == pytest.approx(row[token_id], abs=1e-4)
        assert [i for i, _ in entry.top] == np.argsort(-row, kind="stable")[:4].tolist()


@pytest.mark.parametrize("prompt", ["", []], ids=["text", "ids"])
def test_an_empty_prompt(open_llm, prompt):
    llm = open_llm()
    llm.tokenizer.spec = attrs.evolve(llm.tokenizer.spec, add_bos_token=False)
    with pytest.raises(RequestError, match="empty"):
        llm.generate(prompt)


def test_bos_alone_is_a_prompt(llm):
    assert llm.generate("", GREEDY).prompt_token_ids == (0,)


@pytest.mark.parametrize("bad", [-1, 300, 2**40, 1.5, None], ids=str)
def test_ids_outside_the_vocabulary(llm, bad):
    with pytest.raises(RequestError, match="is not a token id; this model has 0 to 299"):
        list(llm.stream([5, bad], GREEDY))
    with pytest.raises(RequestError, match="is not a token id"):
        llm.logits([5, bad])


@pytest.mark.parametrize(("length", "fits"), [(31, True), (32, False), (40, False)])
def test_context_overflow_names_both_counts(open_llm, length, fits):
    llm = open_llm(max_model_len=32)
    if fits:
        done = llm.generate([5] * length, SamplingParams(temperature=0, max_tokens=None, ignore_eos=True))
        assert (len(done.token_ids), done.finish_reason) == (1, "length")
        return
    with pytest.raises(ContextOverflow, match=f"{length} tokens, the context holds 32") as caught:
        llm.generate([5] * length)
    assert (caught.value.num_tokens, caught.value.max_model_len) == (length, 32)


def test_generation_fills_the_context_and_ends(open_llm):
    llm = open_llm(max_model_len=32)
    done = llm.generate([5] * 20, SamplingParams(temperature=0, max_tokens=None, ignore_eos=True))
    assert (len(done.token_ids), done.finish_reason) == (12, "length")
    done = llm.generate([5] * 20, SamplingParams(temperature=0, max_tokens=500, ignore_eos=True))
    assert len(done.token_ids) == 12


@pytest.mark.parametrize("count", [0, 33])
def test_logits_within_the_context(open_llm, count):
    llm = open_llm(max_model_len=32)
    with pytest.raises(RequestError, match=f"has {count} tokens; expected 1 to 32"):
        llm.logits([5] * count)
    assert llm.logits([5] * 32).shape == (32, 300)


@pytest.mark.parametrize("length", [1, 257])
def test_a_context_the_model_does_not_have(open_llm, length):
    with pytest.raises(RequestError, match=f"a context of {length} tokens; this model takes 2 to 256"):
        open_llm(max_model_len=length)


def test_the_context_is_the_models_by_default(llm, open_llm):
    assert llm.max_model_len == 256
    assert open_llm({"max_position_embeddings": 100_000}).max_model_len == 32768


def test_the_smallest_context(open_llm):
    llm = open_llm(max_model_len=2)
    llm.warm_up()
    assert len(llm.generate([5], GREEDY).token_ids) == 1


def test_files_that_cannot_run(open_llm, tmp_path):
    with pytest.raises(ModelError, match="no model configuration"):
        open_llm({"without": "config"})
    with pytest.raises(ModelError, match="no tokenizer"):
        open_llm({"without": "tokenizer"})
    with pytest.raises(StoreError, match="no such file"):
        LLM(tmp_path / "absent.tiny")


def test_options_that_cannot_be_met(open_llm):
    with pytest.raises(PluginError, match="cannot keep a Q4_0 cache; it can: F32, F16"):
        open_llm(kv_type="Q4_0")
    with pytest.raises(PluginError, match="unknown backend 'abacus'; installed: .*numpy"):
        open_llm(backend="abacus")


def test_load_tokenizer(plugins, write_model):
    tokenizer = load_tokenizer(write_model(without="config"))
    assert tokenizer.encode("hi") == byte_ids("hi")
    with pytest.raises(ModelError, match="no tokenizer"):
        load_tokenizer(write_model(without="tokenizer"))


def test_progress_names_the_stages(open_llm):
    seen: list[tuple[str, int, int]] = []
    open_llm(progress=lambda *stage: seen.append(stage))
    names, done, totals = zip(*seen, strict=True)
    assert set(names) == {"loading weights"}
    assert list(done) == list(range(totals[0] + 1))


def test_nan_logits_end_only_their_request(open_llm):
    llm = open_llm(backend="faulty")
    good, bad = llm.stream([5, 6], GREEDY), llm.stream([5, NAN_ID], GREEDY)
    assert good.completion().token_ids == llm.generate([5, 6], GREEDY).token_ids
    with pytest.raises(ModelError, match="nan"):
        list(bad)
    settle(llm)


def test_a_failed_step_is_an_error_and_the_engine_goes_on(open_llm):
    llm = open_llm(backend="faulty")
    with pytest.raises(StepFailed, match="device lost"):
        llm.generate([5, FAIL_ID], GREEDY)
    with pytest.raises(StepFailed, match="device lost"):
        llm.logits([5, FAIL_ID])
    assert len(llm.generate([5, 6], GREEDY).token_ids) == 12
    settle(llm)


def test_closing_the_stream_cancels(open_llm):
    llm = open_llm(backend="slow")
    stream = llm.stream("a", SamplingParams(temperature=0, max_tokens=200, ignore_eos=True))
    next(stream)
    stream.close()
    assert list(stream) == []
    start = time.monotonic()
    settle(llm)
    assert time.monotonic() - start < 2  # all 200 would take 4 s


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_stream_nobody_read_is_cancelled_too(open_llm, how):
    llm = open_llm(backend="slow")
    stream = llm.stream("a", SamplingParams(temperature=0, max_tokens=200, ignore_eos=True))
    if how == "close":
        stream.close()
    del stream
    start = time.monotonic()
    settle(llm)
    assert time.monotonic() - start < 2


def test_a_batch_with_a_bad_prompt_leaves_nothing_running(open_llm):
    llm = open_llm(backend="slow")
    with pytest.raises(RequestError) as kept:
        llm.generate([[5, 6], [5, 1000]], SamplingParams(temperature=0, max_tokens=200, ignore_eos=True))
    start = time.monotonic()
    settle(llm)
    assert time.monotonic() - start < 2, kept


def test_many_threads_at_once(llm):
    def ask(i: int) -> tuple[int, ...]:
        return llm.generate(PROMPTS[i % len(PROMPTS)], GREEDY).token_ids

    wanted = [ask(i) for i in range(len(PROMPTS))]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(48))) == wanted * 6
    settle(llm)


def test_more_requests_than_the_cache_holds(open_llm, monkeypatch):
    """They wait for blocks; nobody starves."""
    monkeypatch.setattr("realizar.engine.sizes.CACHE_NBYTES", 1)
    llm = open_llm(max_model_len=64)
    scheduler = llm._engine._scheduler
    assert scheduler.blocks.num_blocks == 4
    params = SamplingParams(temperature=0, max_tokens=30, ignore_eos=True)
    assert [len(c.token_ids) for c in llm.generate(["ab"] * 10, params)] == [30] * 10
    settle(llm)


def test_close_ends_open_requests(open_llm):
    llm = open_llm(backend="slow")
    stream = llm.stream("a", SamplingParams(temperature=0, max_tokens=200, ignore_eos=True))
    next(stream)
    llm.close()
    with pytest.raises(RealizarError, match="closed while the request was running"):
        list(stream)
    with pytest.raises(RealizarError, match="the engine is closed"):
        llm.generate("a")
    llm.close()


def test_an_engine_that_failed_is_restarted(open_llm, monkeypatch):
    llm = open_llm()
    wanted = llm.generate("a", GREEDY).token_ids
    with monkeypatch.context() as patch:
        patch.setattr(llm._engine._scheduler, "schedule", lambda: 1 // 0)
        with pytest.raises(EngineFailed, match="ZeroDivisionError"):
            llm.generate("a", GREEDY)
    assert not llm.alive
    llm.restart()
    assert llm.alive
    assert llm.generate("a", GREEDY).token_ids == wanted


def test_with_closes(open_llm):
    with open_llm() as llm:
        llm.generate("a", GREEDY)
    with pytest.raises(RealizarError, match="closed"):
        llm.generate("a")


def threads() -> int:
    return sum(thread.name == "realizar-engine" for thread in threading.enumerate())


def test_a_dropped_llm_is_closed(plugins, write_model):
    before = threads()
    llm = LLM(write_model(), backend="numpy")
    llm.generate("a", GREEDY)
    assert threads() == before + 1
    gone = weakref.ref(llm)
    del llm
    gc.collect()
    assert gone() is None
    deadline = time.monotonic() + 10
    while threads() > before:
        assert time.monotonic() < deadline, "the engine's thread is still there"
        time.sleep(0.01)


def test_a_stream_keeps_its_llm(plugins, write_model):
    stream = LLM(write_model(), backend="numpy").stream("a", GREEDY)
    gc.collect()
    assert len(stream.completion().token_ids) == 12


class TestAsyncio:
    """The same without blocking the event loop."""

    def test_generate(self, llm):
        async def ask() -> list[tuple[int, ...]]:
            answers = await asyncio.gather(*(llm.agenerate(prompt, GREEDY) for prompt in PROMPTS))
            return [answer.token_ids for answer in answers]

        assert asyncio.run(ask()) == [c.token_ids for c in llm.generate(PROMPTS, GREEDY)]

    def test_stream(self, llm):
        async def read() -> list[str]:
            return [piece.text async for piece in llm.astream("The sky", GREEDY)]

        assert asyncio.run(read()) == [piece.text for piece in llm.stream("The sky", GREEDY)]

    def test_errors(self, open_llm):
        llm = open_llm(backend="faulty")
        with pytest.raises(RequestError, match="not a token id"):
            asyncio.run(llm.agenerate([1000], GREEDY))
        with pytest.raises(StepFailed, match="device lost"):
            asyncio.run(llm.agenerate([FAIL_ID], GREEDY))

    @pytest.mark.parametrize("delay_s", [0, 0.001, 0.15])
    def test_cancelling_the_task_cancels_the_request(self, open_llm, delay_s):
        llm = open_llm(backend="slow")
        params = SamplingParams(temperature=0, max_tokens=200, ignore_eos=True)

        async def cancel() -> None:
            task = asyncio.create_task(llm.agenerate("a", params))
            await asyncio.sleep(delay_s)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        start = time.monotonic()
        settle(llm)
        assert time.monotonic() - start < 2

    def test_leaving_the_loop_cancels_the_request(self, open_llm):
        llm = open_llm(backend="slow")

        async def leave() -> None:
            async for _ in llm.astream("a", SamplingParams(temperature=0, max_tokens=200, ignore_eos=True)):
                break

        asyncio.run(leave())
        settle(llm)
        assert len(llm.generate("a", GREEDY).token_ids) == 12

    def test_the_loop_is_not_blocked(self, open_llm):
        llm = open_llm(backend="slow")

        async def ticks() -> int:
            task, count = asyncio.create_task(llm.agenerate("a", GREEDY)), 0
            while not task.done():
                count += 1
                await asyncio.sleep(0.005)
            return count

        assert asyncio.run(ticks()) > 10


class TestChat:
    """Messages through the file's own template."""

    MESSAGES = [{"role": "user", "content": "Say <|im_end|>"}]

    def test_only_the_templates_control_tokens_count(self, llm):
        ids = llm.chat(self.MESSAGES, GREEDY).prompt_token_ids
        text = "user\nSay <|im_end|>"
        assert list(ids) == [
            1, *byte_ids(text)[1:], 2, *byte_ids("\n")[1:], 1, *byte_ids("assistant\n")[1:],
        ]  # fmt: skip

    def test_async_and_stream_are_the_same(self, llm):
        wanted = llm.chat(self.MESSAGES, GREEDY)
        assert asyncio.run(llm.achat(self.MESSAGES, GREEDY)).token_ids == wanted.token_ids
        assert llm.stream(self.MESSAGES, GREEDY).completion().token_ids == wanted.token_ids


def test_deterministic_refuses_a_backend_that_is_not(open_llm):
    with pytest.raises(PluginError, match="backend 'numpy' gives bits that depend on what is computed beside"):
        open_llm(deterministic=True)
    llm = open_llm(backend="exact", deterministic=True)
    assert len(llm.generate("The sky", GREEDY).token_ids) == 12
