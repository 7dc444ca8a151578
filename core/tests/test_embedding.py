"""LLM.embed on tiny models: what it gives, what it refuses; that an encoder generates nothing."""

from __future__ import annotations

import numpy as np
import pytest

from realizar.architectures.bert import Bert
from realizar.engine import llm as engine_llm
from realizar.errors import ModelError, RequestError
from realizar.reference import Numpy64Backend
from realizar.testing.driver import Driver, Program, one_by_one
from realizar.testing.models import tiny_encoder, tiny_model

TEXTS = ["The sky is", "a", "Once upon a time there was a thing", "é…", "x" * 100, "[CLS]<s>", "Zz"]


def hidden_states(texts: list[str], **changes) -> list[np.ndarray]:
    """Of each text alone, in float64."""
    model = tiny_encoder(**changes)
    prompts = tuple((0, *(3 + byte for byte in text.encode())) for text in texts)
    program = Program(Bert().build(model.config, model.tensors), model.tensors, prompts, (True,) * len(prompts))
    return Driver(Numpy64Backend(), program).run(one_by_one(prompts))


@pytest.fixture
def encoder(open_llm):
    return open_llm({"encoder": True})


def test_means_of_hidden_states_normalized(encoder):
    means = [rows.mean(axis=0) for rows in hidden_states(TEXTS)]
    found = encoder.embed(TEXTS)
    assert (found.shape, found.dtype) == ((len(TEXTS), 64), np.float32)
    np.testing.assert_allclose(found, [mean / np.linalg.norm(mean) for mean in means], atol=1e-6)
    assert np.linalg.norm(found[0] - found[1]) > 0.1


@pytest.mark.parametrize(("pooling", "row"), [("cls", 0), ("last", -1)])
def test_other_poolings(open_llm, pooling, row):
    rows = [states[row] for states in hidden_states(TEXTS)]
    said = open_llm({"encoder": True, "pooling_type": pooling, "normalize_embeddings": False}).embed(TEXTS)
    np.testing.assert_allclose(said, rows, atol=1e-5)
    asked = open_llm({"encoder": True, "pooling_type": None, "normalize_embeddings": False})
    np.testing.assert_allclose(asked.embed(TEXTS, pooling=pooling), rows, atol=1e-5)


def test_more_tokens_than_a_step_holds(open_llm, monkeypatch):
    """Texts that together are several steps, each of them whole in one."""
    wanted = open_llm({"encoder": True}).embed(TEXTS * 9)
    monkeypatch.setattr(engine_llm, "LIMIT", engine_llm.Bucket(16, 3, 1))
    found = open_llm({"encoder": True}).embed(TEXTS * 9)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_no_texts(encoder):
    assert encoder.embed([]).shape == (0, 64)


def test_a_long_text_is_refused_or_cut(encoder):
    with pytest.raises(RequestError, match=r"texts\[1\] has 141 tokens, this model takes 128"):
        encoder.embed(["a", "b" * 140])
    np.testing.assert_array_equal(encoder.embed(["b" * 140], truncate=True), encoder.embed(["b" * 127]))


def test_what_is_no_list_of_texts(encoder):
    with pytest.raises(RequestError, match="texts is one text; expected a list"):
        encoder.embed("a text")
    with pytest.raises(RequestError, match="pooling is 'max'; expected mean, cls, last"):
        encoder.embed(["a"], pooling="max")


def test_a_model_that_does_not_say_how(open_llm):
    with pytest.raises(ModelError, match=r"pass pooling= \(--pooling\) mean, cls or last"):
        open_llm({"encoder": True, "pooling_type": None}).embed(["a"])
    with pytest.raises(ModelError, match=r"this llama model generates text, .*modules\.json, or a GGUF file"):
        open_llm().embed(["a"])


def test_an_encoder_generates_nothing(encoder):
    for use in (lambda: encoder.generate("a"), lambda: encoder.logits([5]), lambda: encoder.chat([])):
        with pytest.raises(ModelError, match="this bert model gives embeddings, it cannot generate; use LLM.embed"):
            use()
    encoder.warm_up()


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_decoder_that_says_how(open_llm, pooling):
    """Hidden states times the output layer are the logits of the same model without a pooling."""
    text = "Once upon a time there was a thing " * 3
    table = tiny_model().tensors["model.embed_tokens.weight"].read()
    logits = open_llm().logits([0, *(3 + byte for byte in text.encode())])
    llm = open_llm({"pooling_type": pooling})
    (found,) = llm.embed([text])
    np.testing.assert_allclose(table @ found, logits[-1] if pooling == "last" else logits.mean(axis=0), atol=1e-4)
    llm.warm_up()


def test_an_encoder_s_keys_are_kept_exactly(open_llm):
    wide, narrow = open_llm({"encoder": True}), open_llm({"encoder": True}, kv_type="F16")
    assert np.abs(wide.embed(TEXTS) - narrow.embed(TEXTS)).max() > 1e-6
