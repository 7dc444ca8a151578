"""The kit's own materials: models, blocks, batches, tolerances."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.dtypes import DTYPES
from realizar.errors import FormatError
from realizar.model import CONTROL
from realizar.quant import dequantize
from realizar.testing import Tolerance, strategies
from realizar.testing.driver import chunked, one_by_one, whole
from realizar.testing.models import TinyModel, random_weights, tiny_model, write_tiny
from realizar.testing.op_variants import OP_VARIANTS
from realizar.testing.tolerance import normalized_mean_square_error
from realizar.testing.vocabulary import BYTE_PIECES, MERGES, tiny_tokenizer


def contents(model: TinyModel) -> dict[str, bytes]:
    return {name: tensor.read().tobytes() for name, tensor in model.tensors.items()}


def test_models_need_neither_pytest_nor_hypothesis() -> None:
    program = (
        "import sys; sys.modules['pytest'] = sys.modules['hypothesis'] = None\n"
        "from realizar.testing.models import tiny_model; print(len(tiny_model().tensors))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "20\n"


def test_the_same_seed_gives_the_same_model() -> None:
    assert contents(tiny_model(seed=3)) == contents(tiny_model(seed=3)) != contents(tiny_model(seed=4))
    assert attrs.evolve(tiny_model().open(), tensors={}) == attrs.evolve(tiny_model().open(), tensors={})


@pytest.mark.parametrize("kind", [name for name in DTYPES if name not in ("I8", "I16", "I32", "I64")])
def test_models_of_every_weight_type(kind: str) -> None:
    model = tiny_model(kind)
    for tensor in model.tensors.values():
        assert tensor.dtype.name == ("F32" if len(tensor.shape) == 1 else kind)
        assert tensor.nbytes == tensor.read().nbytes
        assert not tensor.read().flags.writeable
        assert np.isfinite(tensor.to_float32()).all()


@pytest.mark.parametrize("kind", DTYPES)
def test_random_weights_are_stored_as_their_type_says(kind: str) -> None:
    element = DTYPES[kind]
    stored = random_weights((2, 3, 2 * element.block_size), element, np.random.default_rng(0))
    assert stored.dtype == np.dtype(element.storage)
    assert stored.shape[:2] == (2, 3)
    values = dequantize(stored, element)
    assert values.shape == (2, 3, 2 * element.block_size)
    assert values.std() > 0


def test_options_shape_the_model() -> None:
    model = tiny_model(tied=False, biased=True, num_hidden_layers=1, vocab_size=7)
    assert model.tensors["lm_head.weight"].shape == (7, 64)
    assert model.tensors["model.layers.0.self_attn.k_proj.bias"].shape == (32,)
    assert "model.layers.1.input_layernorm.weight" not in model.tensors


def test_write_tiny_gives_what_it_wrote(tmp_path: Path) -> None:
    written = []
    model = write_tiny(tmp_path / "m", lambda path, model: written.append((path, model)), "Q8_0", seed=5)
    assert written == [(tmp_path / "m", model)]
    assert contents(model) == contents(tiny_model("Q8_0", seed=5))


def test_the_vocabulary_spells_every_byte_and_every_merge() -> None:
    spec = tiny_tokenizer()
    assert len(spec.tokens) == len(set(spec.tokens)) == len(spec.token_types or ()) == 300
    assert len(set(BYTE_PIECES)) == 256
    assert BYTE_PIECES[ord("a")] == "a"
    assert BYTE_PIECES[ord(" ")] == "Ġ"
    assert BYTE_PIECES[ord("\n")] == "Ċ"
    known = set(BYTE_PIECES)
    for merge in MERGES:
        assert known.issuperset(merge.split())
        known.add(merge.replace(" ", ""))
    assert [spec.tokens[i] for i in (0, 2)] == ["<|endoftext|>", "<|im_end|>"]
    assert (spec.token_types or ())[0] == CONTROL


@given(st.data())
def test_quant_blocks_are_whole_rows_of_finite_values(data: st.DataObject) -> None:
    element = DTYPES[data.draw(st.sampled_from([name for name, kind in DTYPES.items() if kind.is_quantized]))]
    rows = data.draw(strategies.quant_blocks(element))
    assert rows.ndim == 2 and rows.dtype == np.uint8
    assert np.isfinite(dequantize(rows, element)).all()


@given(strategies.batches(vocab_size=9))
def test_batches_compute_every_token_once(batch: strategies.Batch) -> None:
    assert all(0 <= token < 9 for prompt in batch.prompts for token in prompt)
    for s, prompt in enumerate(batch.prompts):
        assert sum(count for step in batch.schedule for t, count in step if t == s) == len(prompt)


def test_schedules() -> None:
    prompts = ((1, 2, 3), (4,))
    assert whole(prompts) == (((0, 3), (1, 1)),)
    assert one_by_one(prompts) == (((0, 3),), ((1, 1),))
    assert chunked(prompts, (2, 5)) == (((0, 2), (1, 1)), ((0, 1),))


def test_variants_have_names_of_their_own_and_valid_graphs() -> None:
    labels = [variant.label for variant in OP_VARIANTS]
    assert len(set(labels)) == len(labels)
    for variant in OP_VARIANTS:
        graph = variant.graph()
        assert graph.blocks[-1].nodes[0].op == variant.op
        assert graph.tensor_ops.keys() == variant.tensors(0).keys()


def test_error_is_relative_and_never_hides_what_is_not_finite() -> None:
    one = np.array([3.0, 4.0])
    assert normalized_mean_square_error(one, one) == 0
    assert normalized_mean_square_error(np.array([3.0, 4.5]), one) == 0.25 / 25
    assert normalized_mean_square_error(np.array([3.0, np.nan]), one) == np.inf
    assert normalized_mean_square_error(np.array([3.0, np.inf]), one) == np.inf
    assert normalized_mean_square_error(0 * one, 0 * one) == 0
    assert normalized_mean_square_error(one, 0 * one) == np.inf
    Tolerance(0.02).check(np.array([3.0, 4.5]), one, "close")
    with pytest.raises(AssertionError, match=r"far: NMSE 0.01, at most 0.001 is allowed"):
        Tolerance(0.001).check(np.array([3.0, 4.5]), one, "far")
    with pytest.raises(AssertionError, match=r"odd: shape \(1,\), expected \(2,\)"):
        Tolerance(1).check(one[:1], one, "odd")


def test_unknown_names_of_the_kit() -> None:
    import realizar.testing

    with pytest.raises(AttributeError, match="has no attribute 'ServerKit'"):
        realizar.testing.ServerKit  # noqa: B018
    with pytest.raises(FormatError, match="unknown element type"):
        tiny_model("Q9_9")
