"""What `Format.write` makes: a whole file or none, in aprender's form, and the same model when it is read."""

from __future__ import annotations

import json
import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realizar.conversion.source_metadata import source_metadata
from realizar.dtypes import DTYPES
from realizar.errors import FormatError
from realizar.formats import Format
from realizar.model import ModelFile, RopeScaling
from realizar.testing.models import memory_tensor, tiny_model
from realizar_apr.format import APR


class Raw:
    """A file taken apart without the plugin."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        fields = struct.unpack_from("<4sBBHIQIQQI", self.data)
        self.magic, self.major, self.minor, self.flags, count, at, nbytes, position, self.data_offset, self.crc = fields
        self.metadata: dict[str, Any] = json.loads(self.data[at : at + nbytes])
        self.offsets = (at, position, self.data_offset)
        self.records: dict[str, tuple[int, tuple[int, ...], int, int]] = {}
        for _ in range(count):
            (length,) = struct.unpack_from("<H", self.data, position)
            name = self.data[position + 2 : position + 2 + length].decode()
            code, rank = self.data[position + 2 + length : position + 4 + length]
            position += 4 + length
            *shape, offset, size = struct.unpack_from(f"<{rank + 2}Q", self.data, position)
            position += 8 * (rank + 2)
            self.records[name] = (code, tuple(shape), offset, size)

    def bytes_of(self, name: str) -> bytes:
        _, _, offset, size = self.records[name]
        return self.data[self.data_offset + offset : self.data_offset + offset + size]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.apr"


def without_paths(spec: Any) -> dict[str, Any]:
    """All fields but where it is from, sequences as lists."""
    values = {field.name: getattr(spec, field.name) for field in attrs.fields(type(spec))} | {"source": ""}
    return {name: list(value) if isinstance(value, (list, tuple)) else value for name, value in values.items()}


class TestForm:
    """As aprender's own reader wants it."""

    @pytest.fixture
    def raw(self, path: Path) -> Raw:
        APR().write(path, tiny_model("Q4_K").open())
        return Raw(path)

    def test_header(self, raw: Raw) -> None:
        assert (raw.magic, raw.major, raw.minor, raw.flags) == (b"APR\0", 2, 0, 0x400 | 0x20 | 0x200)
        assert raw.crc == zlib.crc32(raw.data[:40] + raw.data[44:64])
        assert all(offset % 64 == 0 for offset in raw.offsets)

    def test_trailer(self, raw: Raw) -> None:
        assert raw.data[-4:] == struct.pack("<I", zlib.crc32(raw.data[:-4]))
        end = max(offset + size for _, _, offset, size in raw.records.values())
        assert len(raw.data) == raw.data_offset + -(-end // 64) * 64 + 4

    def test_index(self, raw: Raw) -> None:
        model = tiny_model("Q4_K")
        assert list(raw.records) == sorted(raw.records, key=str.encode)
        assert all(offset % 64 == 0 for _, _, offset, _ in raw.records.values())
        for name, tensor in model.tensors.items():
            assert raw.records[name][:2] == ({"Q4_K": 12, "F32": 0}[tensor.dtype.name], tensor.shape)
            assert raw.bytes_of(name) == tensor.read().tobytes()

    def test_output_layer(self, raw: Raw) -> None:
        """It is there for readers that want one, over the bytes of the embedding."""
        assert raw.records["lm_head.weight"] == raw.records["model.embed_tokens.weight"]
        assert raw.metadata["tied_embeddings"] is True

    def test_metadata(self, raw: Raw) -> None:
        model, values = tiny_model("Q4_K"), raw.metadata
        config, spec = model.config, model.tokenizer
        assert (values["architecture"], values["num_layers"], values["num_heads"]) == ("llama", 2, 4)
        assert (values["num_kv_heads"], values["hidden_size"], values["rope_type"]) == (2, config.hidden_size, 2)
        assert values["tokenizer.vocabulary"] == list(spec.tokens)
        assert values["tokenizer.merges"] == list(spec.merges or ())
        assert values["tokenizer.model"] == "gpt2"
        assert values["chat_template"] == spec.chat_template
        assert {"name", "sharding", "quantization", "special_tokens", "param_count", "total_size"} <= set(values)
        others = ("num_hidden_layers", "n_layers", "hidden_dim", "num_attention_heads", "norm_eps", "layer_norm_eps")
        assert not set(others) & set(values)

    def test_output_layer_of_its_own(self, path: Path) -> None:
        APR().write(path, tiny_model("F32", tied=False).open())
        raw = Raw(path)
        assert raw.records["lm_head.weight"][2] != raw.records["model.embed_tokens.weight"][2]
        assert "tied_embeddings" not in raw.metadata


def test_types_that_aprender_cannot_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        APR().write(path, tiny_model("Q6_K").open())
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        APR().write(path, tiny_model("Q5_K").open())
    assert "model.apr: Q5_K have ggml's type codes" in caplog.text
    assert Raw(path).records["model.embed_tokens.weight"][0] == 13


CHANGES: list[dict[str, Any]] = [
    {"rope_scaling": RopeScaling("llama3", 8.0, 8192, attention_factor=1.5, short_factor=(1.0, 2.5))},
    {"layer_types": ("full_attention", "sliding_attention"), "sliding_window": 7, "rope_local_base_freq": 1e4},
    {"model_type": "gemma2", "attn_logit_softcapping": 50.0, "query_pre_attn_scalar": 1 / 3, "logit_scale": 0.1},
    {"model_type": "gpt2", "layer_norm_eps": 1e-12, "tie_word_embeddings": True, "hidden_act": "gelu_tanh"},
    {"model_type": "cohere", "no_rope_layers": (0, 1), "sparse_layers": (True, False), "num_experts": 4},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_every_field_of_the_configuration(path: Path, changes: dict[str, Any]) -> None:
    model = tiny_model("F32")
    config = attrs.evolve(model.config, **changes)
    APR().write(path, attrs.evolve(model, config=config).open())
    file = APR().open(path)
    assert file.config == config
    for name, tensor in model.tensors.items():
        assert file.tensors[name].read().tobytes() == tensor.read().tobytes()


TEXTS = st.text(max_size=6)
SPECS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["bpe", "spm", "unigram", "wordpiece"]),
        "pre": st.none() | st.just("qwen2"),
        "eos_token_ids": st.lists(st.integers(0, 9), unique=True, max_size=3).map(tuple),
        "unk_token_id": st.none() | st.integers(0, 9),
        "pad_token_id": st.none() | st.integers(0, 9),
        "scores": st.none() | st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=10, max_size=10),
        "merges": st.none() | st.lists(TEXTS, max_size=3),
        "precompiled_charsmap": st.none() | st.binary(max_size=9),
        "chat_template": st.none() | TEXTS,
        "named_chat_templates": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "prepend_scheme": st.sampled_from(["always", "first"]),
        "max_input_chars_per_word": st.integers(1, 200),
        **{name: st.booleans() for name in ("add_bos_token", "add_eos_token", "add_space_prefix", "do_lower_case",
           "strip_accents", "split_user_defined", "remove_extra_whitespaces", "treat_whitespace_as_suffix")},
    }
)  # fmt: skip


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=SPECS, tokens=st.lists(TEXTS, min_size=10, max_size=10))
def test_every_field_of_the_tokenizer(path: Path, values: dict[str, Any], tokens: list[str]) -> None:
    model = tiny_model("F32")
    spec = attrs.evolve(model.tokenizer, tokens=tokens, token_types=[1] * 10, bos_token_id=3, **values)
    APR().write(path, attrs.evolve(model.open(), tensors={}, tokenizer=spec))
    found = APR().open(path).tokenizer
    assert found is not None
    assert without_paths(found) == without_paths(spec)


def test_metadata_of_the_file_before(path: Path, tmp_path: Path) -> None:
    """It is carried along, also through a second APR file."""
    before = {
        "general.name": "Tiny", "general.tags": ["a", "b"], "tokenizer.ggml.mask_token_id": 4,
        "config.json": {"a": [1, {"b": None}]}, "long": list(range(5000)),
    }  # fmt: skip
    APR().write(path, attrs.evolve(tiny_model("F32"), metadata=before).open())
    first = APR().open(path)
    assert source_metadata(first, "memory") == {**before, "long": None}
    assert first.metadata["name"] == "Tiny"
    again = tmp_path / "again.apr"
    APR().write(again, first)
    assert again.read_bytes() == path.read_bytes()


def test_without_configuration_or_tokenizer(path: Path) -> None:
    model = attrs.evolve(tiny_model("F32").open(), config=None, tokenizer=None)
    APR().write(path, model)
    file = APR().open(path)
    assert file.config is None and "without a model configuration" in file.no_config
    assert file.tokenizer is None
    assert set(file.tensors) == set(model.tensors)


def test_progress_and_memory(path: Path) -> None:
    """Tensors are read one at a time, in the order of the file, and released."""
    told: list[tuple[str, int, int]] = []
    events: list[str] = []
    model = tiny_model("F32")
    watched = {
        name: attrs.evolve(
            tensor, read=lambda t=tensor, n=name: (events.append(f"read {n}"), t.read())[1],
            release=lambda n=name: events.append(f"release {n}"),
        )
        for name, tensor in model.tensors.items()
    }  # fmt: skip
    APR().write(path, attrs.evolve(model, tensors=watched).open(), lambda *args: told.append(args))
    expected = [f"{what} {name}" for name in sorted(watched) for what in ("read", "release")]
    assert events == expected
    count = len(watched)
    assert told == [("writing model.apr", done, count) for done in range(count + 1)]


class TestRefused:
    def refused(self, path: Path, model: ModelFile, words: str) -> None:
        path.write_bytes(b"before")
        with pytest.raises(FormatError, match=words):
            APR().write(path, model)
        assert path.read_bytes() == b"before"
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("name", ["U16", "BOOL", "F8_E4M3"])
    def test_types(self, path: Path, name: str) -> None:
        tensor = memory_tensor("t", np.zeros(4, DTYPES[name].storage), DTYPES[name])
        self.refused(path, attrs.evolve(tiny_model().open(), tensors={"t": tensor}), f"found {name}, expected one of")

    @pytest.mark.parametrize("name", ["", "n" * 257, "\ud800"])
    def test_names(self, path: Path, name: str) -> None:
        tensor = memory_tensor(name, np.zeros(4, np.float32), DTYPES["F32"])
        self.refused(path, attrs.evolve(tiny_model().open(), tensors={name: tensor}), "found")

    def test_nine_dimensions(self, path: Path) -> None:
        tensor = memory_tensor("t", np.zeros((1,) * 9, np.float32), DTYPES["F32"])
        self.refused(path, attrs.evolve(tiny_model().open(), tensors={"t": tensor}), "at most 8 dimensions")

    def test_a_tensor_that_reads_as_another(self, path: Path) -> None:
        model = tiny_model("F32")
        name = "model.norm.weight"
        tensors = {**model.tensors, name: attrs.evolve(model.tensors[name], read=lambda: np.zeros(3, np.float32))}
        self.refused(path, attrs.evolve(model, tensors=tensors).open(), "found 12 bytes of float32")

    def test_metadata(self, path: Path) -> None:
        model = attrs.evolve(tiny_model(), metadata={"a": "\ud800"}).open()
        self.refused(path, model, "cannot be written as JSON")

    def test_numbers(self, path: Path) -> None:
        model = tiny_model().open()
        config = attrs.evolve(tiny_model().config, rope_theta=float("nan"))
        self.refused(path, attrs.evolve(model, config=config), "cannot be written as JSON")

    def test_too_much_metadata(self, path: Path) -> None:
        self.refused(path, attrs.evolve(tiny_model(), metadata={"name": "x" * (1 << 25)}).open(), "bytes of metadata")

    def test_formats_that_only_read(self, path: Path) -> None:
        class Reader(Format):
            name = "reader"
            sniff = open = None  # type: ignore[assignment]

        Reader.__abstractmethods__ = frozenset()
        with pytest.raises(FormatError, match="reader files cannot be written"):
            Reader().write(path, tiny_model().open())  # type: ignore[abstract]
