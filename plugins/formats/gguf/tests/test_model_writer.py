"""Models written as GGUF: what a file was, it is again; what only a configuration says, it says too."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.conversion.importance import read_importance
from realizar.conversion.likeness import prove_alike
from realizar.conversion.source_metadata import KEY, RETYPED, packed
from realizar.derived import FUSED_QKV
from realizar.dtypes import DTYPES
from realizar.errors import FormatError
from realizar.model import FULL, SLIDING, ModelFile, RopeScaling, TokenizerSpec
from realizar.testing.models import TinyModel, memory_tensor, tiny_encoder, tiny_model
from realizar.testing.strategies import reproducible, tiny_models
from realizar_gguf.encoding import Typed
from realizar_gguf.families import FAMILIES
from realizar_gguf.format import GGUF
from realizar_gguf.imatrix import Imatrix
from realizar_gguf.metadata import ValueType
from realizar_gguf.reader import read_gguf
from realizar_gguf.shard import open_shard
from realizar_gguf.vocabulary_keys import losses
from realizar_gguf.writer import write_gguf


def contents(model: ModelFile | TinyModel) -> dict[str, tuple[tuple[int, ...], str, bytes]]:
    return {name: (t.shape, t.dtype.name, t.read().tobytes()) for name, t in model.tensors.items()}


def rewritten(path: Path, model: ModelFile) -> ModelFile:
    GGUF().write(path, model)
    return read_gguf(path)


@given(model=tiny_models(weight_types=("F32", "Q8_0")))
@reproducible(15)
def test_a_model_comes_back(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "a.gguf"
    found = rewritten(path, model.open())
    assert contents(found) == contents(model)
    assert found.config is not None
    prove_alike(model.config, found.config, "the file")
    assert list(found.tokenizer.tokens) == list(model.tokenizer.tokens)
    assert found.tokenizer.eos_token_ids == model.tokenizer.eos_token_ids


def test_gguf_to_gguf_is_the_same_file(tmp_path):
    """Names, orders, types of values: all bytes."""
    first, second, third = (tmp_path / f"{i}.gguf" for i in range(3))
    GGUF().write(first, tiny_model("Q4_K", tied=False).open())
    shard = open_shard(first)
    tensors = [(info.name, info.shape, info.dtype, shard.read(info)) for info in shard.tensors]
    odd = {
        "general.description": "näive", "general.odd": Typed(ValueType.UINT64, 3),
        "general.even": Typed(ValueType.INT8, [1, 2]),
        "general.empty": Typed(ValueType.STRING, []), "general.double": Typed(ValueType.FLOAT64, 0.1),
    }  # fmt: skip
    kept = {key: value for key, value in shard.metadata.items() if key not in odd}
    write_gguf(second, {**kept, **odd}, tensors)
    GGUF().write(third, read_gguf(second))
    assert second.read_bytes() == third.read_bytes()


def test_keys_come_back_through_a_format_without_them(tmp_path):
    first = tmp_path / "a.gguf"
    GGUF().write(first, attrs.evolve(tiny_model("F16").open(), metadata={}))
    file = read_gguf(first)
    carried = attrs.evolve(file, format="other", metadata={KEY: packed(file)})
    GGUF().write(tmp_path / "b.gguf", carried)
    assert (tmp_path / "b.gguf").read_bytes() == first.read_bytes()


def test_keys_that_no_longer_fit_are_told_and_left(tmp_path, caplog):
    file = rewritten(tmp_path / "a.gguf", tiny_model().open())
    assert file.config is not None
    changed = attrs.evolve(
        file, format="other", metadata={KEY: packed(file)}, config=attrs.evolve(file.config, rope_theta=5e5)
    )
    found = rewritten(tmp_path / "b.gguf", changed)
    assert found.config.rope_theta == 5e5
    assert "keys of the first GGUF file are not used again" in caplog.text


CHANGES: dict[str, dict[str, Any]] = {
    "llama": {"rope_scaling": RopeScaling("linear", 4.0)},
    "qwen2": {"rope_scaling": RopeScaling("yarn", 4.0, original_max_position_embeddings=64, attention_factor=1.5)},
    "gemma2": {"hidden_act": "gelu_tanh", "sliding_window": 8, "layer_types": (SLIDING, FULL),
               "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "gemma3_text": {"hidden_act": "gelu_tanh", "sliding_window": 8, "layer_types": (FULL, SLIDING),
                    "rope_local_base_freq": 10000.0, "rope_theta": 1e6},
    "granite": {"logit_scale": 0.125, "residual_multiplier": 0.22, "embedding_multiplier": 12.0,
                "attention_multiplier": 0.2},
    "cohere": {"use_parallel_residual": True, "logit_scale": 0.0625},
    "stablelm": {"use_parallel_residual": True, "rotary_dim": 4},
    "phi3": {"rotary_dim": 8},
}  # fmt: skip


@pytest.mark.parametrize("model_type", CHANGES)
def test_families_come_back(model_type, tmp_path):
    model = tiny_model(model_type=model_type, **CHANGES[model_type])
    found = rewritten(tmp_path / "a.gguf", model.open())
    prove_alike(model.config, found.config, "the file")
    assert found.config.model_type == model_type
    assert contents(found) == contents(model)


def test_fused_projections_lie_in_one_tensor(tmp_path):
    path = tmp_path / "a.gguf"
    model = tiny_model(model_type="phi3")
    GGUF().write(path, model.open())
    names = [info.name for info in open_shard(path).tensors]
    assert "blk.0.attn_qkv.weight" in names
    assert "blk.0.attn_q.weight" not in names
    assert ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj") in GGUF().stored_together(model.config)


def test_fused_parts_of_two_types_are_refused(tmp_path):
    model = tiny_model(model_type="phi3")
    name = "model.layers.0.self_attn.v_proj.weight"
    other = memory_tensor(name, model.tensors[name].read().astype(np.float16), DTYPES["F16"])
    with pytest.raises(FormatError, match=r"the parts of a fused projection must be alike"):
        GGUF().write(tmp_path / "a.gguf", attrs.evolve(model.open(), tensors={**model.tensors, name: other}))
    assert list(tmp_path.iterdir()) == []


def test_every_family_knows_what_it_fuses():
    assert {family.model_type for family in FAMILIES.values() if FUSED_QKV in family.fused} == {
        "phi3", "gpt2", "gpt_neox", "falcon", "bloom", "mpt", "nomic_bert"
    }  # fmt: skip


def test_llama3_scaling_becomes_a_tensor_of_factors(tmp_path):
    scaling = RopeScaling("llama3", 8.0, original_max_position_embeddings=64)
    model = tiny_model(rope_scaling=scaling, max_position_embeddings=256)
    found = rewritten(tmp_path / "a.gguf", model.open())
    factors = found.tensors["model.rope_freqs.weight"].to_float32()
    assert factors[0] == 1
    assert factors[-1] == pytest.approx(8)
    assert found.config.rope_scaling is None


def test_longrope_becomes_two_tensors_and_a_factor(tmp_path):
    lists = {"long_factor": (2.0,) * 8, "short_factor": (1.0,) * 8}
    scaling = RopeScaling("longrope", original_max_position_embeddings=64, **lists)
    found = rewritten(tmp_path / "a.gguf", tiny_model(model_type="phi3", rope_scaling=scaling).open())
    assert found.tensors["model.rope_factors_long.weight"].to_float32().tolist() == [2.0] * 8
    assert found.config.rope_scaling.attention_factor == pytest.approx((1 + np.log(4) / np.log(64)) ** 0.5)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"model_type": "martian"}, "martian models cannot be written as GGUF; known: bert, bloom"),
        ({"no_rope_layers": (1, 0)}, "rotates"),
        ({"alibi_multiplier": 0.5}, "alibi_multiplier 0.5 as 1.0"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' as 'silu'"),
    ],
)
def test_what_gguf_cannot_say_is_refused(changes, named, tmp_path):
    with pytest.raises(FormatError, match=named):
        GGUF().write(tmp_path / "a.gguf", tiny_model(**changes).open())
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_without_a_name_is_refused(tmp_path):
    model = tiny_model()
    extra = memory_tensor("model.layers.0.self_attn.sinks.weight", np.zeros((2, 2), np.float32), DTYPES["F32"])
    with pytest.raises(FormatError, match=r"self_attn.sinks.weight' has no name in GGUF files of llama models"):
        GGUF().write(tmp_path / "a.gguf", attrs.evolve(model.open(), tensors={**model.tensors, extra.name: extra}))


def test_vectors_are_widened(tmp_path):
    model = tiny_model("F16")
    name = "model.norm.weight"
    half = memory_tensor(name, model.tensors[name].read().astype(np.float16), DTYPES["F16"])
    found = rewritten(tmp_path / "a.gguf", attrs.evolve(model.open(), tensors={**model.tensors, name: half}))
    assert (found.tensors[name].read() == half.to_float32()).all()
    assert found.tensors[name].dtype.name == "F32"


@pytest.mark.parametrize(
    "retyped, kind, number", [(None, "Q4_K", 14), ("Q4_K_M", "Q4_K", 15), ("BF16", "BF16", 32), (None, "F32", 0)]
)
def test_file_type(retyped, kind, number, tmp_path):
    metadata = {} if retyped is None else {RETYPED: retyped}
    found = rewritten(tmp_path / "a.gguf", attrs.evolve(tiny_model(kind).open(), metadata=metadata))
    assert found.metadata["general.file_type"] == number
    assert found.metadata.get("general.quantization_version") == (2 if kind == "Q4_K" else None)


def test_without_a_tokenizer(tmp_path):
    found = rewritten(tmp_path / "a.gguf", attrs.evolve(tiny_model().open(), tokenizer=None))
    assert (found.tokenizer, found.metadata["tokenizer.ggml.model"]) == (None, "none")


@pytest.mark.parametrize("model", ["spm", "unigram"])
@given(scores=st.lists(st.floats(-50, 0, width=32), min_size=8, max_size=8), space=st.booleans())
@reproducible(10)
def test_vocabularies_with_scores(model, scores, space, tmp_path_factory):
    tiny = tiny_model(vocab_size=8)
    spec = attrs.evolve(
        tiny.tokenizer, model=model, tokens=[f"▁{i}" for i in range(8)], scores=scores, merges=None, pre=None,
        token_types=[2, 3, 3, 1, 1, 1, 6, 1], bos_token_id=1, eos_token_ids=(2, 1), unk_token_id=0, pad_token_id=0,
        add_space_prefix=space, precompiled_charsmap=b"\x00\xff", named_chat_templates={"tool": "x"},
        chat_template="y",
    )  # fmt: skip
    tensors = {name: t for name, t in tiny.tensors.items() if t.shape[0] != len(tiny.tokenizer.tokens)}
    embedding = memory_tensor("model.embed_tokens.weight", np.zeros((8, 64), np.float32), DTYPES["F32"])
    file = attrs.evolve(tiny.open(), tokenizer=spec, tensors={embedding.name: embedding, **tensors})
    found = rewritten(tmp_path_factory.mktemp("v") / "a.gguf", file).tokenizer
    for field in attrs.fields(type(spec)):
        if field.name != "source":
            one, other = getattr(found, field.name), getattr(spec, field.name)
            same = list(one) == list(other) if isinstance(other, list) else one == other
            assert same, field.name


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "##", "[unused0]", "<x>"]


def bert_vocabulary(**changes: Any) -> TokenizerSpec:
    roles = {"unk_token_id": 1, "bos_token_id": 2, "eos_token_ids": (3,), "pad_token_id": 0}
    around = {"add_bos_token": True, "add_eos_token": True}
    fields = {"token_types": [3, 1, 1, 3, 1, 1, 1, 1, 4], **roles, **around, **changes}
    return TokenizerSpec("wordpiece", BERT, "vocab.txt", **fields)


def test_wordpiece_marks_beginnings(tmp_path):
    file = attrs.evolve(tiny_encoder(vocab_size=len(BERT)).open(), tokenizer=bert_vocabulary())
    found = rewritten(tmp_path / "a.gguf", file).tokenizer
    assert list(found.tokens) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "b", "", "▁[unused0]", "<x>"]
    assert list(found.token_types) == [3, 2, 3, 3, 1, 1, 1, 1, 4]
    assert (found.unk_token_id, found.bos_token_id, found.eos_token_ids, found.pad_token_id) == (1, 2, (3,), 0)
    assert found.add_bos_token and found.add_eos_token and found.do_lower_case and found.strip_accents
    assert losses(file.tokenizer, found) == ""
    again = rewritten(tmp_path / "b.gguf", attrs.evolve(file, tokenizer=found)).tokenizer
    assert list(again.tokens) == list(found.tokens)


@pytest.mark.parametrize(
    "changes",
    [{"do_lower_case": False, "strip_accents": False}, {"strip_accents": False}, {"add_eos_token": False}],
)
def test_settings_of_wordpiece_come_back(changes, tmp_path):
    spec = bert_vocabulary(**changes)
    file = attrs.evolve(tiny_encoder(vocab_size=len(BERT)).open(), tokenizer=spec)
    found = rewritten(tmp_path / "a.gguf", file).tokenizer
    assert losses(spec, found) == ""
    for name in ("do_lower_case", "strip_accents", "add_bos_token", "add_eos_token"):
        assert getattr(found, name) == getattr(spec, name), name


def test_what_gguf_has_no_key_for_in_wordpiece_is_told(tmp_path, caplog):
    spec = bert_vocabulary(tokenize_chinese_chars=False, max_input_chars_per_word=9)
    rewritten(tmp_path / "a.gguf", attrs.evolve(tiny_encoder(vocab_size=len(BERT)).open(), tokenizer=spec))
    assert "tokenize_chinese_chars False as True; max_input_chars_per_word 9 as 100" in caplog.text


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_an_encoder_comes_back(pooling, tmp_path, caplog):
    model = tiny_encoder(pooling_type=pooling)
    pooler = memory_tensor("pooler.dense.weight", np.zeros((64, 64), np.float32), DTYPES["F32"])
    file = attrs.evolve(model.open(), tensors={**model.tensors, pooler.name: pooler})
    found = rewritten(tmp_path / "a.gguf", file)
    assert contents(found) == contents(model)
    prove_alike(model.config, found.config, "the file")
    assert "not written, for no embedding is made of them: memory: pooler.dense.weight" in caplog.text
    assert found.metadata["tokenizer.ggml.token_type_count"] == model.config.type_vocab_size


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta", "camembert"])
def test_other_names_of_bert(model_type, tmp_path):
    found = rewritten(tmp_path / "a.gguf", tiny_encoder(model_type=model_type).open())
    assert found.config.model_type == "bert"
    assert contents(found) == contents(tiny_encoder())


def test_a_vocabulary_of_an_unknown_kind_is_refused(tmp_path):
    model = tiny_model()
    spec = attrs.evolve(model.tokenizer, model="runes")
    with pytest.raises(FormatError, match="runes vocabularies cannot be written as GGUF, only bpe, spm, unigram, "):
        GGUF().write(tmp_path / "a.gguf", attrs.evolve(model.open(), tokenizer=spec))


def entry(name: str, calls: int, values: list[float]) -> bytes:
    head = struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(values))
    return head + struct.pack(f"<{len(values)}f", *values)


class TestImatrix:
    """The older format by its layout, the newer one as a GGUF file."""

    def write(self, folder: Path, data: bytes) -> Path:
        (folder / "i.dat").write_bytes(data)
        return folder / "i.dat"

    def test_dat(self, tmp_path):
        data = struct.pack("<i", 2) + entry("blk.0.attn_q.weight", 2, [2.0, 4.0]) + entry("output.weight", 1, [3.0])
        path = self.write(tmp_path, data + struct.pack("<ii", 7, 1) + b"x")
        found = read_importance(path).values
        assert found["model.layers.0.self_attn.q_proj.weight"].tolist() == [[1.0, 2.0]]
        assert found["lm_head.weight"].tolist() == [[3.0]]

    @given(data=st.binary(max_size=200), cut=st.integers(0, 60))
    @reproducible(100)
    def test_damage_costs_one_error(self, data, cut, tmp_path_factory):
        whole = struct.pack("<i", 1) + entry("blk.0.attn_q.weight", 2, [2.0, 4.0])
        for bad in (struct.pack("<i", 3) + data, whole[:cut]):
            path = self.write(tmp_path_factory.mktemp("d"), bad)
            try:
                Imatrix().open(path)
            except FormatError as error:
                assert "i.dat" in str(error)

    def test_a_second_entry_of_a_name(self, tmp_path):
        path = self.write(tmp_path, struct.pack("<i", 2) + 2 * entry("output.weight", 1, [3.0]))
        with pytest.raises(FormatError, match="a second time"):
            Imatrix().open(path)

    def test_gguf(self, tmp_path):
        sums = np.array([[2, 6], [0, 0]], np.float32)
        counts = np.array([[2], [0]], np.float32)
        name = "blk.3.ffn_up_exps.weight"
        path = tmp_path / "i.gguf"
        tensors = [(f"{name}.in_sum2", (2, 2), DTYPES["F32"], sums), (f"{name}.counts", (2, 1), DTYPES["F32"], counts)]
        write_gguf(path, {"general.type": "imatrix"}, tensors)
        found = read_importance(path).values["model.layers.3.mlp.experts.up_proj.weight"]
        assert found.tolist() == [[1, 3], [1, 1]]

    def test_a_model_is_none(self, tmp_path):
        GGUF().write(tmp_path / "a.gguf", tiny_model().open())
        with pytest.raises(FormatError, match="expected an importance matrix"):
            read_importance(tmp_path / "a.gguf")
