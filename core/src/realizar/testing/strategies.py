"""Hypothesis strategies for batches, quantized blocks, models and texts."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from realizar.dtypes import DType
from realizar.quant.layouts import ByteArray
from realizar.testing.blocks import random_blocks
from realizar.testing.driver import Prompts, Schedule, chunked
from realizar.testing.models import TinyModel, tiny_model

PROMPT_LENGTHS = (1, 2, 5, 17, 20)

_CHARACTERS = (
    st.characters(codec="ascii"),
    st.characters(codec="utf-8"),
    st.sampled_from(" \n\t'0123456789"),
    st.sampled_from("éßñ漢字かなकि한글ع😀👩\u200d🚀\ufe0f\u0301\u00a0\u2028"),
)

seeds: SearchStrategy[int] = st.integers(0, 2**32 - 1)
"""Seeds of NumPy generators: data comes from them, so that an example is two numbers and shrinks quickly."""


def reproducible(max_examples: int) -> settings:
    """Settings under which a test tries the same examples in every run, however slow they are."""
    return settings(
        max_examples=max_examples, deadline=None, derandomize=True, database=None, report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@attrs.frozen
class Batch:
    """Token ids of several sequences, and the steps in which they are computed."""

    prompts: Prompts
    schedule: Schedule


@st.composite
def batches(draw: st.DrawFn, vocab_size: int, max_sequences: int = 3) -> Batch:
    """Sequences of 1 to 20 tokens, each whole or in chunks, beside each other."""
    lengths = draw(st.lists(st.sampled_from(PROMPT_LENGTHS), min_size=1, max_size=max_sequences))
    rng = np.random.default_rng(draw(seeds))
    prompts = tuple(tuple(rng.integers(0, vocab_size, length).tolist()) for length in lengths)
    chunks = [draw(st.sampled_from((1, 3, 16, length))) for length in lengths]
    return Batch(prompts, chunked(prompts, chunks))


@st.composite
def quant_blocks(draw: st.DrawFn, element: DType, max_rows: int = 5, max_blocks: int = 3) -> ByteArray:
    """Rows of random valid blocks, uint8 [rows, row_nbytes]."""
    rows, blocks = draw(st.integers(1, max_rows)), draw(st.integers(1, max_blocks))
    return random_blocks(element, rows, blocks * element.block_size, np.random.default_rng(draw(seeds)))


@st.composite
def tiny_models(draw: st.DrawFn, weight_types: Sequence[str] = ("F32",)) -> TinyModel:
    """Small llama models: tied or not, with biases or not, of one to three layers."""
    return tiny_model(
        draw(st.sampled_from(weight_types)),
        seed=draw(seeds),
        tied=draw(st.booleans()),
        biased=draw(st.booleans()),
        num_hidden_layers=draw(st.integers(1, 3)),
        num_key_value_heads=draw(st.sampled_from((1, 2, 4))),
        rope_theta=draw(st.sampled_from((10000.0, 500000.0))),
    )


def token_texts(max_size: int = 60) -> SearchStrategy[str]:
    """Texts that tokenizers trip over: ASCII, digits and white space, combining marks, joined emoji, any of Unicode."""
    return st.text(st.one_of(_CHARACTERS), max_size=max_size)
