"""Conversion without any format plugin: types, mixes, importance, what is alike, what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.conversion import convert as conversion
from realizar.conversion.convert import convert, known_dtype
from realizar.conversion.importance import Importance
from realizar.conversion.likeness import prove_alike
from realizar.conversion.mixes import ALIASES, MIXES, plan
from realizar.conversion.quantization import quantize_model
from realizar.conversion.retyping import retyped
from realizar.conversion.source_metadata import KEY, RETYPED, packed, source_metadata
from realizar.dtypes import DTYPES
from realizar.errors import FormatError
from realizar.formats import Format
from realizar.model import FULL, SLIDING, ModelFile, RopeScaling
from realizar.quant import dequantize, quantize
from realizar.testing.models import memory_tensor, tiny_model
from realizar.testing.strategies import reproducible, seeds


class Kept(Format):
    """Keeps what it is given to write."""

    name = "kept"
    writable = frozenset({"F32", "F16", "BF16", "Q4_K", "Q6_K", "Q8_0", "Q5_0"})
    together: tuple[tuple[str, ...], ...] = ()

    def sniff(self, path: Path, head: bytes) -> int:
        return 0

    def open(self, path: Path) -> ModelFile:
        raise FormatError("nothing to open")

    def stored_together(self, config: object) -> Iterable[Iterable[str]]:  # type: ignore[override]
        return self.together

    def write(self, path: Path, model: ModelFile, progress: object = None) -> None:
        self.model = model
        self.stored = {name: tensor.read() for name, tensor in model.tensors.items()}


class Unwritable(Kept):
    writable = frozenset()


def floats(shape: tuple[int, ...], seed: int = 0, name: str = "model.layers.0.mlp.up_proj.weight"):
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return memory_tensor(name, values, DTYPES["F32"])


class TestRetyping:
    @given(seed=seeds, rows=st.integers(1, 9), name=st.sampled_from(("F16", "BF16", "Q8_0", "Q4_K")))
    @reproducible(20)
    def test_chunks_and_threads_change_nothing(self, seed, rows, name):
        tensor = floats((rows, 256), seed)
        work = retyped(tensor, name, threads=3)
        assert (work.dtype.name, work.shape) == (name, tensor.shape)
        assert work.read().tobytes() == quantize(tensor.read(), DTYPES[name]).tobytes()
        assert not work.read().flags.writeable

    def test_small_chunks(self, monkeypatch):
        tensor = floats((3, 5, 64))
        expected = quantize(tensor.read(), DTYPES["Q8_0"])
        monkeypatch.setattr("realizar.conversion.retyping.CHUNK_ELEMENTS", 64)
        assert (retyped(tensor, "Q8_0", threads=2).read() == expected).all()

    def test_its_own_type_is_itself(self):
        tensor = floats((2, 32))
        assert retyped(tensor, "F32") is tensor

    def test_scalars_and_vectors(self):
        assert retyped(memory_tensor("x", np.array(1.5, np.float32), DTYPES["F32"]), "F16").read() == np.float16(1.5)
        assert retyped(floats((3,)), "BF16").read().shape == (3,)

    def test_importance_of_each_expert(self):
        tensor = floats((2, 8, 256))
        importance = np.random.default_rng(1).random((2, 256)).astype(np.float32)
        found = retyped(tensor, "Q4_K", importance).read()
        for i in range(2):
            assert (found[i] == quantize(tensor.read()[i], DTYPES["Q4_K"], importance[i])).all()

    def test_beyond_the_range_of_f16(self):
        tensor = memory_tensor("x", np.array([[1.0, 1e6]], np.float32), DTYPES["F32"])
        with pytest.raises(FormatError, match=r"memory: x: found 1000000.0, which F16 cannot hold; use BF16"):
            retyped(tensor, "F16").read()

    def test_rows_that_are_no_blocks(self):
        with pytest.raises(FormatError, match="not whole blocks"):
            retyped(floats((2, 33)), "Q8_0")

    def test_nan_says_where(self):
        tensor = memory_tensor("x", np.full((1, 32), np.nan, np.float32), DTYPES["F32"])
        with pytest.raises(FormatError, match="memory: x: cannot quantize NaN"):
            retyped(tensor, "Q8_0").read()


class TestConvert:
    def test_as_it_is(self):
        target, model = Kept(), tiny_model("F16").open()
        convert(model, target, Path("x"))
        assert target.model == model

    def test_matrices_get_the_type_and_vectors_keep_theirs(self):
        target, model = Kept(), tiny_model("Q8_0").open()
        convert(model, target, Path("x"), "F16")
        types = {len(tensor.shape): tensor.dtype.name for tensor in target.model.tensors.values()}
        assert types == {1: "F32", 2: "F16"}
        assert target.model.metadata[RETYPED] == "F16"
        name = "model.layers.0.mlp.up_proj.weight"
        assert (target.stored[name] == model.tensors[name].to_float32().astype(np.float16)).all()

    def test_a_type_that_the_target_has_not(self):
        with pytest.raises(FormatError, match="found Q4_1, which kept cannot hold; .*--dtype F32 or F16 or BF16"):
            convert(tiny_model("Q4_1").open(), Kept(), Path("x"))

    def test_a_format_that_cannot_write(self):
        with pytest.raises(FormatError, match="kept files cannot be written, only read"):
            convert(tiny_model().open(), Unwritable(), Path("x"))
        with pytest.raises(FormatError, match="x: kept files cannot be written"):
            Format.write(Unwritable(), Path("x"), tiny_model().open())

    def test_whole_numbers_stay(self):
        tensor = memory_tensor("ids", np.arange(6).reshape(2, 3), DTYPES["I64"])
        assert conversion._as(tensor, "F16", None) is tensor

    def test_known_types(self):
        assert known_dtype("BF16") == "BF16"
        with pytest.raises(FormatError, match="realizar quantize SRC DST Q8_0"):
            known_dtype("Q8_0")
        with pytest.raises(FormatError, match="expected one of BF16, F16, F32"):
            known_dtype("F17")


CONFIG = tiny_model(num_hidden_layers=30, hidden_size=256, head_dim=64, intermediate_size=512).config


def types_of(mix: str, config=CONFIG, *, tied: bool = True, **options) -> dict[str, str]:
    """What a plan gives, for tensors that are never read."""
    shapes = {"model.embed_tokens.weight": (8, 256), "model.norm.weight": (256,)}
    shapes |= {} if tied else {"lm_head.weight": (8, 256)}
    for i in range(config.num_hidden_layers):
        for part in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"):
            shapes[f"model.layers.{i}.{part}_proj.weight"] = (256, 256)
        shapes[f"model.layers.{i}.self_attn.q_norm.weight"] = (256, 1)
        shapes[f"model.layers.{i}.mlp.gate.weight"] = (4, 256)
    tensors = {
        name: memory_tensor(name, np.broadcast_to(np.float32(0), s), DTYPES["F32"]) for name, s in shapes.items()
    }
    return plan(config, tensors, mix, **options)


def layers_of(types: dict[str, str], part: str, kind: str) -> list[int]:
    return [i for i in range(30) if types[f"model.layers.{i}.{part}.weight"] == kind]


class TestMixes:
    """Facts of llama.cpp: what `llama-quantize` makes of a model of 30 layers."""

    MORE = [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29]

    def test_q4_k_m(self):
        types = types_of("Q4_K_M")
        assert types["model.embed_tokens.weight"] == "Q6_K"
        assert layers_of(types, "self_attn.v_proj", "Q6_K") == self.MORE
        assert layers_of(types, "mlp.down_proj", "Q6_K") == self.MORE
        assert layers_of(types, "self_attn.q_proj", "Q4_K") == list(range(30))

    def test_q4_k_s(self):
        types = types_of("Q4_K_S")
        assert layers_of(types, "self_attn.v_proj", "Q5_K") == [0, 1, 2, 3]
        assert layers_of(types, "mlp.down_proj", "Q5_K") == [0, 1, 2]

    def test_q3_k_m(self):
        types = types_of("Q3_K_M")
        assert layers_of(types, "self_attn.v_proj", "Q5_K") == [0, 1]
        assert layers_of(types, "mlp.down_proj", "Q5_K") == [0]
        assert layers_of(types, "mlp.down_proj", "Q4_K") == list(range(1, 30))
        assert layers_of(types, "self_attn.o_proj", "Q4_K") == list(range(30))
        assert layers_of(types, "mlp.up_proj", "Q3_K") == list(range(30))

    def test_q2_k_with_few_values(self):
        few = attrs.evolve(CONFIG, num_attention_heads=8, num_key_value_heads=2)
        assert set(layers_of(types_of("Q2_K", few), "self_attn.v_proj", "Q4_K")) == set(range(30))
        assert set(layers_of(types_of("Q2_K"), "self_attn.v_proj", "Q3_K")) == set(range(30))

    def test_eight_experts(self):
        eight = attrs.evolve(CONFIG, num_experts=8)
        types = types_of("Q4_K_M", eight)
        assert {types[f"model.layers.3.self_attn.{p}_proj.weight"] for p in "kv"} == {"Q8_0"}
        assert types["model.layers.3.self_attn.o_proj.weight"] == "Q5_K"

    @pytest.mark.parametrize("mix", ["Q4_0", "Q5_0"])
    def test_importance_spares_the_first_down_projections(self, mix):
        assert layers_of(types_of(mix, has_importance=True), "mlp.down_proj", mix[:-1] + "1") == [0, 1, 2]
        assert layers_of(types_of(mix), "mlp.down_proj", mix) == list(range(30))

    def test_an_output_layer_of_its_own(self):
        types = types_of("Q4_0", tied=False)
        assert (types["lm_head.weight"], types["model.embed_tokens.weight"]) == ("Q6_K", "Q4_0")
        assert types_of("Q8_0", tied=False)["lm_head.weight"] == "Q8_0"

    @pytest.mark.parametrize("mix", [*MIXES, *ALIASES])
    def test_small_weights_are_never_quantized(self, mix):
        assert not [name for name in types_of(mix) if "norm" in name or ".mlp.gate." in name]

    @pytest.mark.parametrize("mix", MIXES)
    def test_pure(self, mix):
        assert set(types_of(mix, pure=True).values()) == {MIXES[mix]}

    def test_what_lies_in_one_tensor_has_one_type(self):
        parts = (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),)
        types = types_of("Q4_K_M", together=parts)
        assert {types[f"model.layers.{i}.{part}.weight"] for i in range(30) for part in parts[0]} == {"Q5_K"}

    def test_rows_that_are_no_super_blocks(self):
        widths = {"model.layers.0.mlp.up_proj.weight": 96, "model.layers.0.mlp.gate_proj.weight": 40}
        tensors = {name: floats((2, width), name=name) for name, width in widths.items()}
        assert list(plan(CONFIG, tensors, "Q4_K_S").values()) == ["Q5_0", "F16"]

    def test_unknown(self):
        with pytest.raises(FormatError, match="unknown type 'Q9_K'; known: Q4_0"):
            types_of("Q9_K")


class TestQuantizeModel:
    def test_types_and_bytes(self):
        model, target = tiny_model("F32", hidden_size=256).open(), Kept()
        types = quantize_model(model, target, Path("x"), "Q4_K_M", threads=2)
        found = target.model.tensors
        assert {name: found[name].dtype.name for name in types} == types
        assert target.model.metadata[RETYPED] == "Q4_K_M"
        name = "model.layers.0.mlp.up_proj.weight"
        assert (target.stored[name] == quantize(model.tensors[name].to_float32(), DTYPES["Q4_K"])).all()

    def test_a_second_loss_is_told(self, caplog):
        quantize_model(tiny_model("Q4_K", hidden_size=256).open(), Kept(), Path("x"), "Q8_0")
        assert "quantized already and lose a second time" in caplog.text

    def test_importance(self, caplog):
        model, target = tiny_model("F32", hidden_size=256).open(), Kept()
        name = "model.layers.0.self_attn.q_proj.weight"
        values = np.random.default_rng(3).random((1, 256)).astype(np.float32)
        quantize_model(model, target, Path("x"), "Q4_K_M", importance=Importance({name: values}))
        assert (target.stored[name] == quantize(model.tensors[name].to_float32(), DTYPES["Q4_K"], values[0])).all()
        assert "no importance for 14 tensors" in caplog.text

    def test_importance_of_another_model(self):
        importance = Importance({"model.embed_tokens.weight": np.ones((1, 100), np.float32)})
        with pytest.raises(FormatError, match="the matrix is of another model"):
            quantize_model(tiny_model(hidden_size=256).open(), Kept(), Path("x"), "Q8_0", importance=importance)

    def test_without_a_configuration(self):
        model = attrs.evolve(tiny_model().open(), config=None, no_config="it is a dump")
        with pytest.raises(FormatError, match="cannot be quantized: it is a dump"):
            quantize_model(model, Kept(), Path("x"), "Q8_0")


class TestLikeness:
    def test_spellings_of_the_same(self):
        config = tiny_model().config
        same = attrs.evolve(
            config, rotary_dim=config.head_dim, query_pre_attn_scalar=config.head_dim, tie_word_embeddings=True,
            rms_norm_eps=float(np.float32(config.rms_norm_eps * (1 + 1e-8))), layer_types=(FULL, FULL),
            norm_topk_prob=False, no_rope_layers=(1, 1), rope_scaling=RopeScaling("dynamic", 2.0), unknown=("x",),
        )  # fmt: skip
        prove_alike(config, same, "x")

    @pytest.mark.parametrize(
        "changes, named",
        [
            ({"rope_theta": 10001.0}, "rope_theta 10000.0 as 10001.0"),
            ({"sliding_window": 5, "layer_types": (SLIDING, FULL)}, r"windows \(0, 0\) as \(5, 0\)"),
            ({"rope_scaling": RopeScaling("yarn", 4.0)}, "rope_scaling None as"),
            ({"attention_multiplier": 2.0}, "attention_scale"),
            ({"no_rope_layers": (1, 0)}, "rotates"),
        ],
    )
    def test_what_computes_otherwise_is_named(self, changes, named):
        config = tiny_model().config
        with pytest.raises(FormatError, match=named):
            prove_alike(config, attrs.evolve(config, **changes), "config.json")


class TestSourceMetadata:
    def test_carried(self):
        values = {"a": 1, "b": "x", "c": [1, 2], "d": {"e": True}, "f": range(9999), "g": 0.5, RETYPED: "F16"}
        model = attrs.evolve(tiny_model().open(), format="first", metadata=values)
        assert source_metadata(model, "first") == values
        text = packed(model)
        carried = attrs.evolve(model, format="second", metadata={KEY: text})
        expected = {"a": 1, "b": "x", "c": [1, 2], "d": {"e": True}, "f": None, "g": 0.5}
        assert source_metadata(carried, "first") == expected
        assert source_metadata(carried, "third") == {}
        assert packed(carried) == text

    def test_nothing_to_carry(self):
        assert packed(tiny_model().open()) is None
        assert source_metadata(tiny_model().open(), "gguf") == {}

    @pytest.mark.parametrize("text", ["{", "[" * 100_000, "3", '{"format": "gguf"}'])
    def test_hostile(self, text):
        model = attrs.evolve(tiny_model().open(), metadata={KEY: text})
        with pytest.raises(FormatError, match="realizar.source: found no"):
            source_metadata(model, "gguf")


def test_dequantized_matches_the_source_of_a_requantization():
    tensor = retyped(memory_tensor("w", quantize(floats((4, 256)).read(), DTYPES["Q4_K"]), DTYPES["Q4_K"]), "F32")
    assert (tensor.read() == dequantize(quantize(floats((4, 256)).read(), DTYPES["Q4_K"]), DTYPES["Q4_K"])).all()
