"""Tensors made of other tensors."""

from __future__ import annotations

import numpy as np
import pytest

from realizar.derived import (
    as_row,
    half_split,
    head_by_head,
    last_rows,
    pair_joined,
    plus_one,
    split_fused,
    stacked,
    transposed,
)
from realizar.dtypes import DTYPES
from realizar.errors import ModelError
from realizar.quant import dequantize, quantize
from realizar.tensors import Array, LazyTensor
from realizar.testing.models import memory_tensor, tiny_model

CONFIG = tiny_model(hidden_size=8, num_attention_heads=4, num_key_value_heads=2, head_dim=2, intermediate_size=3).config
QKV, GATE_UP = "model.layers.0.self_attn.qkv_proj.weight", "model.layers.0.mlp.gate_up_proj.weight"


def tensor(name: str, *shape: int, kind: str = "F32") -> LazyTensor:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return memory_tensor(name, quantize(values, DTYPES[kind]), DTYPES[kind])


def parts(groups: int, *tensors: LazyTensor) -> dict[str, Array]:
    found = split_fused(CONFIG, {t.name: t for t in tensors}, groups)
    assert all(found[name].name == name for name in found)
    return {name.removeprefix("model.layers.0."): t.read() for name, t in found.items()}


def test_fused_rows_one_above_the_other() -> None:
    whole = tensor(QKV, 16, 8)
    found, rows = parts(1, whole, tensor("other.weight", 2)), whole.read()
    assert list(found) == [
        "self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight", "other.weight",
    ]  # fmt: skip
    for name, expected in zip("qkv", (rows[:8], rows[8:12], rows[12:]), strict=True):
        np.testing.assert_array_equal(found[f"self_attn.{name}_proj.weight"], expected)


def test_last_rows() -> None:
    table = tensor("table", 5, 2)
    np.testing.assert_array_equal(last_rows(table, 3).read(), table.read()[2:])
    assert last_rows(table, 5).shape == (5, 2)
    for given, count in ((table, 6), (table, 0), (tensor("vector", 5), 3)):
        with pytest.raises(ModelError, match=f"memory: {given.name}: shape .* says {count} rows or more"):
            last_rows(given, count)


def test_fused_rows_in_groups() -> None:
    """Each of two key heads comes behind its two query heads and before its value head; a head has 2 rows."""
    rows = np.arange(16)
    found = parts(2, memory_tensor(QKV.replace("weight", "bias"), rows.astype(np.float32), DTYPES["F32"]))
    assert found["self_attn.q_proj.bias"].tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert found["self_attn.k_proj.bias"].tolist() == [4, 5, 12, 13]
    assert found["self_attn.v_proj.bias"].tolist() == [6, 7, 14, 15]


def test_fused_gate_and_up_are_never_grouped() -> None:
    whole = tensor(GATE_UP, 6, 8)
    found = parts(2, whole)
    np.testing.assert_array_equal(found["mlp.gate_proj.weight"], whole.read()[:3])
    np.testing.assert_array_equal(found["mlp.up_proj.weight"], whole.read()[3:])


def test_parts_of_blocks_are_whole_rows_and_nothing_is_copied() -> None:
    whole = tensor(QKV, 16, 32, kind="Q4_0")
    part = split_fused(CONFIG, {QKV: whole})[QKV.replace("qkv", "k")]
    assert (part.shape, part.dtype.name, part.nbytes) == ((4, 32), "Q4_0", 4 * 18)
    assert np.shares_memory(part.read(), whole.read()) and not part.read().flags.writeable
    np.testing.assert_array_equal(part.to_float32(), dequantize(whole.read(), DTYPES["Q4_0"])[8:12])


@pytest.mark.parametrize(("rows", "groups"), [(15, 1), (16, 3)])
def test_rows_that_do_not_fit_are_an_error(rows: int, groups: int) -> None:
    with pytest.raises(ModelError, match=r"qkv_proj.weight: shape \(\d+, 8\), but the configuration says 16 fused"):
        split_fused(CONFIG, {QKV: tensor(QKV, rows, 8)}, groups)


def test_fused_rows_of_nothing() -> None:
    assert [part.shape for part in parts(2, tensor(QKV, 16, 0)).values()] == [(8, 0), (4, 0), (4, 0)]


def test_a_vector_of_blocks_is_not_cut() -> None:
    with pytest.raises(ModelError, match="qkv_proj.weight: a vector of Q8_0 blocks cannot be cut"):
        split_fused(CONFIG, {QKV: tensor(QKV, 32, kind="Q8_0")})


def test_half_split() -> None:
    """Two heads of four rows, pairs (0, 1) and (2, 3): first elements before second ones."""
    found = half_split(memory_tensor("q", np.arange(8, dtype=np.float32), DTYPES["F32"]), 2)
    assert found.read().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert half_split(tensor("q", 8, 0), 2).read().shape == (8, 0)


def test_factors_of_each_head() -> None:
    norm = memory_tensor("norm", np.arange(8, dtype=np.float32).reshape(2, 4), DTYPES["F32"])
    halves = head_by_head(norm, 2, half_split)
    assert halves.read().tolist() == [[0, 2, 1, 3], [4, 6, 5, 7]]
    np.testing.assert_array_equal(head_by_head(halves, 2, pair_joined).read(), norm.read())


@pytest.mark.parametrize("wrong", [tensor("q", 3, 4), tensor("q", 8), tensor("q", 2, 32, kind="Q8_0")])
def test_factors_of_other_heads_are_an_error(wrong: LazyTensor) -> None:
    with pytest.raises(ModelError, match="memory: q: .* has no row for each of 2 heads"):
        head_by_head(wrong, 2, half_split)


@pytest.mark.parametrize("wrong", [tensor("q", 6, 8), tensor("q", 64, kind="Q8_0"), tensor("q")])
def test_rows_that_are_no_pairs_are_an_error(wrong: LazyTensor) -> None:
    with pytest.raises(ModelError, match="memory: q: .* an even number for each of 2 heads"):
        half_split(wrong, 2)


def test_transposed() -> None:
    found = transposed(tensor("w", 2, 3))
    assert found.shape == (3, 2)
    np.testing.assert_array_equal(found.read(), [[0, 3], [1, 4], [2, 5]])


@pytest.mark.parametrize("wrong", [tensor("w", 2, 32, kind="Q8_0"), tensor("w", 3)])
def test_what_cannot_be_transposed(wrong: LazyTensor) -> None:
    with pytest.raises(ModelError, match="memory: w: a .* tensor of shape .* cannot be transposed"):
        transposed(wrong)


def test_plus_one_is_float32_whatever_was_stored() -> None:
    found = plus_one(memory_tensor("n", np.array([0x3B80, 0xBF80], np.uint16), DTYPES["BF16"]))  # 2^-8 and -1
    assert (found.dtype.name, found.nbytes) == ("F32", 8)
    assert found.read().tolist() == [1 + 2.0**-8, 0.0]
    assert plus_one(tensor("n")).read().shape == ()


def test_as_row() -> None:
    assert as_row(tensor("g", 3)).shape == as_row(tensor("g", 3)).read().shape == (1, 3)


def test_stacked() -> None:
    first, second = tensor("a", 2, 3), tensor("b", 2, 3)
    found = stacked("both", [first, second])
    assert (found.name, found.shape) == ("both", (2, 2, 3))
    np.testing.assert_array_equal(found.read(), [first.read(), second.read()])


def test_stacking_unlike_tensors_is_an_error() -> None:
    with pytest.raises(ModelError, match="memory: b: F32 .* but memory: a is F32 .* must be alike"):
        stacked("both", [tensor("a", 2, 3), tensor("b", 3, 3)])


def test_release_reaches_what_was_read() -> None:
    released: list[str] = []

    def holder(name: str) -> LazyTensor:
        return LazyTensor(name, (2, 2), DTYPES["F32"], name, lambda: np.zeros((2, 2)), lambda: released.append(name))

    transposed(holder("one")).release()
    stacked("all", [holder("two"), holder("three")]).release()
    assert released == ["one", "two", "three"]
