"""What a file says, in Hugging Face's terms; the files are put together byte by byte."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from realizar.dtypes import dtype
from realizar.errors import FormatError
from realizar.formats import Format
from realizar.mapped_file import MappedFile
from realizar_gguf import plugin
from realizar_gguf.names import canonical_name
from realizar_gguf.reader import read_gguf

BYTES = runpy.run_path(str(Path(__file__).with_name("make_hostile.py")))
gguf, tensor, key, model = BYTES["gguf"], BYTES["tensor"], BYTES["key"], BYTES["model"]
EMBEDDING, U32, STRING = BYTES["EMBEDDING"], BYTES["U32"], BYTES["STRING"]


def write(directory: Path, content: bytes) -> Path:
    path = directory / "model.gguf"
    path.write_bytes(content)
    return path


def test_plugin_contributes_a_format_that_sniffs_and_opens(tmp_path: Path) -> None:
    contribution, imatrix = plugin.realizar_formats()
    assert imatrix.name == "imatrix"
    assert isinstance(contribution, Format)
    assert plugin.REALIZAR_API == (1, 0)
    path = write(tmp_path, gguf())
    assert contribution.sniff(Path("x"), b"GGUF\3\0\0\0") == 100
    assert contribution.sniff(Path("X.GGUF"), b"") == 50
    assert contribution.sniff(Path("x.safetensors"), b"GGU") == 0
    assert contribution.open(path).format == contribution.name == "gguf"


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("output.weight", "lm_head.weight"),
        ("rope_freqs.weight", "model.rope_freqs.weight"),
        ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"),
        ("blk.11.attn_k.bias", "model.layers.11.self_attn.k_proj.bias"),
        ("blk.2.attn_v.weight", "model.layers.2.self_attn.v_proj.weight"),
        ("blk.2.attn_output.weight", "model.layers.2.self_attn.o_proj.weight"),
        ("blk.2.attn_norm.weight", "model.layers.2.input_layernorm.weight"),
        ("blk.2.ffn_norm.weight", "model.layers.2.post_attention_layernorm.weight"),
        ("blk.2.ffn_gate.weight", "model.layers.2.mlp.gate_proj.weight"),
        ("blk.2.ffn_up.weight", "model.layers.2.mlp.up_proj.weight"),
        ("blk.2.ffn_down.weight", "model.layers.2.mlp.down_proj.weight"),
        ("blk.02.ffn_down.weight", "blk.02.ffn_down.weight"),
        ("blk.2.ffn_down_exps.weight", "model.layers.2.mlp.experts.down_proj.weight"),
        ("blk.2.ffn_down_chexps.weight", "blk.2.ffn_down_chexps.weight"),
        ("output.scale", "output.scale"),
        ("v.weight", "v.weight"),
        ("free text", "free text"),
    ],
)
def test_names(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical


def test_tensors_are_read_only_views_of_the_file(tmp_path: Path) -> None:
    numbers = np.arange(24, dtype="<f4")
    blocks = np.arange(68, dtype=np.uint8)
    data = numbers.tobytes() + blocks.tobytes()
    path = write(tmp_path, gguf([], [tensor("a", [4, 3, 2]), tensor("b", [32, 2], 8, 96)], data))
    file = read_gguf(path)
    a, b = file.tensors["a"], file.tensors["b"]
    assert (a.shape, a.dtype, a.nbytes, a.source) == ((2, 3, 4), dtype("F32"), 96, "model.gguf: a")
    assert (b.shape, b.dtype, b.row_nbytes) == ((2, 32), dtype("Q8_0"), 34)
    np.testing.assert_array_equal(a.read(), numbers.reshape(2, 3, 4))
    np.testing.assert_array_equal(b.read(), blocks.reshape(2, 34))
    assert np.shares_memory(a.read(), a.read())
    assert not a.read().flags.writeable
    assert not b.read().flags.owndata


def test_tensors_release_their_own_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[tuple[int, int]] = []
    monkeypatch.setattr(MappedFile, "release", lambda self, offset, nbytes: released.append((offset, nbytes)))
    data = np.arange(24, dtype="<f4").tobytes() + bytes(range(68))
    path = write(tmp_path, gguf([], [tensor("a", [4, 3, 2]), tensor("b", [32, 2], 8, 96)], data))
    tensors = read_gguf(path).tensors
    tensors["b"].release()
    tensors["a"].release()
    end = path.stat().st_size
    assert released == [(end - 68, 68), (end - 68 - 96, 96)]


def test_bfloat16_scalar_and_one_dimensional_blocks(tmp_path: Path) -> None:
    data = np.array([0x3F80], "<u2").tobytes().ljust(32, b"\0") + bytes(range(34))
    path = write(tmp_path, gguf([], [tensor("scalar", [], 30), tensor("row", [32], 8, 32)], data))
    file = read_gguf(path)
    assert file.tensors["scalar"].read().shape == ()
    assert file.tensors["scalar"].read() == 0x3F80
    assert file.tensors["row"].read().tobytes() == bytes(range(34))


def rope_model(name: str, sizes: list[int], kind: int, data: bytes, architecture: str = "llama") -> bytes:
    keys = BYTES["model_keys"]()
    keys = [item.replace(b"llama", architecture.encode()) for item in keys]
    keys.append(key(f"{architecture}.attention.head_count_kv", U32, 1))
    return bytes(gguf(keys, [tensor(name, sizes, kind)], data))


@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_query_rows_come_back_in_halves(kind: str, tmp_path: Path) -> None:
    """Two heads of four rows, stored 0 2 1 3 (pairs side by side), are given back as 0 1 2 3."""
    stored = np.array([0, 2, 1, 3, 10, 12, 11, 13], "<f4")
    rows = np.repeat(stored[:, None], 8, axis=1) if kind == "weight" else stored
    sizes = list(reversed(rows.shape))
    file = read_gguf(write(tmp_path, rope_model(f"blk.0.attn_q.{kind}", sizes, 0, rows.tobytes())))
    found = file.tensors[f"model.layers.0.self_attn.q_proj.{kind}"].read()
    assert found.reshape(8, -1)[:, 0].tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert found.shape == rows.shape
    assert not found.flags.writeable


def test_key_rows_move_whole_blocks_and_use_the_number_of_key_heads(tmp_path: Path) -> None:
    """One key head of eight rows of one Q8_0 block each: 0 4 1 5 2 6 3 7 is stored."""
    stored = np.repeat(np.array([0, 4, 1, 5, 2, 6, 3, 7], np.uint8)[:, None], 34, axis=1)
    file = read_gguf(write(tmp_path, rope_model("blk.0.attn_k.weight", [32, 8], 8, stored.tobytes())))
    found = file.tensors["model.layers.0.self_attn.k_proj.weight"].read()
    assert (found == np.arange(8, dtype=np.uint8)[:, None]).all()
    assert found.shape == (8, 34)


def test_other_architectures_keep_their_row_order(tmp_path: Path) -> None:
    stored = np.arange(8, dtype="<f4")
    file = read_gguf(write(tmp_path, rope_model("blk.0.attn_q.bias", [8], 0, stored.tobytes(), "qwen2")))
    assert file.tensors["model.layers.0.self_attn.q_proj.bias"].read().tolist() == stored.tolist()


def test_metadata_and_lazy_arrays(tmp_path: Path) -> None:
    path = write(tmp_path, BYTES["VALID"]["KV_SUCCESS"])
    file = read_gguf(path)
    metadata = file.metadata
    assert metadata["gguf.version"] == 3
    assert metadata["gguf.byteorder"] == "little"
    assert file.no_config == "the file has no key general.architecture"
    assert metadata["scalar_4"] == 1
    assert metadata["scalar_7"] is True
    assert metadata["array_7"] == [False, True, True]
    assert metadata["text"] == "grün"
    texts = metadata["texts"]
    assert texts == ["", "x" * 300, "é"]
    assert texts[-1] == "é" and texts[1:] == ["x" * 300, "é"]  # type: ignore[index]
    assert texts != "xé" and texts != ["", "x"]
    assert repr(metadata["array_0"]) == "<3 elements: 0, 1, 1>"
    with pytest.raises(IndexError, match="index 3 of 3"):
        texts[3]  # type: ignore[index]
    with pytest.raises(TypeError):
        hash(texts)


def test_vocabulary_outlives_close_and_tensors_do_not(tmp_path: Path) -> None:
    file = read_gguf(write(tmp_path, BYTES["VALID"]["tiny_model"]))
    embedding = file.tensors["model.embed_tokens.weight"]
    kept = embedding.read()
    file.close()
    file.close()
    assert file.tokenizer is not None
    assert list(file.tokenizer.tokens) == ["a", "b", "c"]
    assert kept.sum() == 0
    with pytest.raises(FormatError, match="closed"):
        embedding.read()


def test_many_strings_are_proven_in_pieces(tmp_path: Path) -> None:
    """More than the megabyte that is decoded at once, with a bad byte in the last string."""
    texts = ["é" * 200_000, "a" * 100, *(f"token {i}" for i in range(100_000)), "z" * 1_500_000]
    path = write(tmp_path, gguf([BYTES["array"]("texts", STRING, texts)]))
    assert read_gguf(path).metadata["texts"] == texts
    content = bytearray(path.read_bytes())
    content[-1] = 0xC3
    path.write_bytes(content)
    with pytest.raises(FormatError, match="string 100002 of texts"):
        read_gguf(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.gguf", tmp_path / "nul\0.gguf"):
        with pytest.raises(FormatError, match="no regular file|cannot be opened"):
            read_gguf(path)
