"""Files of other writers: every spelling, name and order ends in the same model."""

from __future__ import annotations

import json
import logging
import runpy
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realizar.errors import FormatError
from realizar.model import BYTE, CONTROL, NORMAL, ModelFile
from realizar_apr.reader import read_apr

CORPUS = runpy.run_path(str(Path(__file__).with_name("make_hostile.py")))
CONFIG, WORDS, record, file = CORPUS["CONFIG"], CORPUS["WORDS"], CORPUS["record"], CORPUS["file"]

Opener = Callable[..., ModelFile]
Q = np.arange(64, dtype="<f4").reshape(8, 8)
"""Of two heads of four rows; rows of a head are 0 1 2 3 in halves, 0 2 1 3 side by side."""


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    """Writes metadata and tensors {name: F32 array} as a file, and opens it."""

    def make(metadata: object, tensors: dict[str, np.ndarray] | None = None, **options: Any) -> ModelFile:
        records, data = [], b""
        for name, values in sorted((tensors or {}).items()):
            array = values.astype("<f4")
            records.append(record(name, 0, array.shape, len(data), array.nbytes))
            data += CORPUS["pad"](array.tobytes())
        path = tmp_path / "model.apr"
        path.write_bytes(file(metadata, records, data, **options))
        return read_apr(path)

    return make


def test_reference_file(tmp_path: Path) -> None:
    path = tmp_path / "reference.apr"
    path.write_bytes(CORPUS["REFERENCE"])
    model = read_apr(path)
    assert model.tensors["bias"].read().tolist() == [0.5, -1, 2]
    assert model.tensors["weight"].read().tolist() == [[1, 2, 3], [4, 5, 6]]
    assert model.metadata == {"model_type": "test"}
    assert model.config is None and "missing" in model.no_config
    assert model.tokenizer is None and model.no_tokenizer
    with pytest.raises(ValueError, match="read-only"):
        model.tensors["bias"].read()[0] = 1
    model.close()
    with pytest.raises(FormatError, match="closed"):
        model.tensors["bias"].read()


def test_missing_checksum_is_reported(opened: Opener, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        opened(CONFIG, crc=0, trailer=False)
    assert "the header has no checksum" in caplog.text


def test_unaligned_data_is_copied(tmp_path: Path) -> None:
    raw = struct.pack("<4f", 1, 2, 3, 4)
    path = tmp_path / "odd.apr"
    path.write_bytes(file(None, [record("t", offset=3)], b"\0\0\0" + raw, trailer=False))
    stored = read_apr(path).tensors["t"].read()
    assert stored.flags.aligned and stored.tolist() == [1, 2, 3, 4]


class TestConfig:
    SPELLINGS = {
        "num_layers": "num_hidden_layers", "num_heads": "n_head", "num_kv_heads": "num_key_value_heads",
        "hidden_size": "d_model", "intermediate_size": "ffn_dim", "max_position_embeddings": "context_length",
        "vocab_size": "n_vocab", "rms_norm_eps": "norm_eps",
    }  # fmt: skip

    def test_every_spelling(self, opened: Opener) -> None:
        other = {self.SPELLINGS.get(key, key): value for key, value in CONFIG.items()}
        config = opened(other).config
        assert config is not None
        assert config == opened(CONFIG).config
        sizes = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads)
        assert sizes == (8, 1, 2, 1)
        assert (config.model_type, config.head_dim, config.rms_norm_eps) == ("llama", 4, 1e-6)

    def test_two_spellings_that_agree(self, opened: Opener) -> None:
        assert opened({**CONFIG, "hidden_dim": 8}).config is not None

    def test_null_is_absent(self, opened: Opener) -> None:
        empty = dict.fromkeys(("head_dim", "num_experts", "num_experts_per_tok", "moe_intermediate_size", "name"))
        config = opened({**CONFIG, **empty, "architecture": "qwen3"}).config
        assert config is not None
        assert config.head_dim == 128  # what Hugging Face's class implies

    @pytest.mark.parametrize(
        "architecture, model_type, expected",
        [("auto", "Qwen2", "qwen2"), (None, "LLAMA", "llama"), ("gptneox", "x", "gpt_neox"), ("phi2", "x", "phi")],
    )
    def test_architecture(self, opened: Opener, architecture: str | None, model_type: str, expected: str) -> None:
        config = opened({**CONFIG, "architecture": architecture, "model_type": model_type}).config
        assert config is not None
        assert config.model_type == expected

    def test_llama_with_experts(self, opened: Opener) -> None:
        config = opened({**CONFIG, "num_experts": 4, "num_experts_per_tok": 2}).config
        assert config is not None
        assert (config.model_type, config.num_experts, config.num_experts_per_tok) == ("mixtral", 4, 2)

    def test_vocabulary_size_of_the_embedding(self, opened: Opener) -> None:
        config = opened({**CONFIG, "vocab_size": 0}, {"model.embed_tokens.weight": np.zeros((5, 8))}).config
        assert config is not None
        assert config.vocab_size == 5

    @pytest.mark.parametrize(
        "change, words",
        [
            ({"hidden_size": None}, "hidden_size"),
            ({"architecture": None, "model_type": "Auto"}, "no architecture"),
            ({"num_heads": "two"}, "num_attention_heads"),
            ({"rope_scaling": {"rope_type": "linear", "strange": 1}}, "strange"),
        ],
    )
    def test_why_there_is_none(self, opened: Opener, change: dict[str, Any], words: str) -> None:
        model = opened({**CONFIG, **change}, {"blk.0.attn_q.weight": Q})
        assert model.config is None
        assert words in model.no_config
        assert list(model.tensors) == ["blk.0.attn_q.weight"]

    def test_checkpoint_of_entrenar(self, opened: Opener) -> None:
        """Its configuration is a text in the metadata, its matrices are [in, out]."""
        names = {
            "num_layers": "num_hidden_layers",
            "num_heads": "num_attention_heads",
            "architecture": "hf_architecture",
        }
        inner = {names.get(key, key): value for key, value in CONFIG.items() if key not in ("model_type", "rope_type")}
        down = np.arange(128).reshape(16, 8)
        model = opened(
            {"model_type": "x", "format": "entrenar-checkpoint", "model_config": json.dumps(inner)},
            {"model.layers.0.mlp.down_proj.weight": down, "model.embed_tokens.weight": np.zeros((3, 8))},
        )
        assert model.config is not None and model.config.num_hidden_layers == 1
        found = model.tensors["model.layers.0.mlp.down_proj.weight"]
        assert found.shape == (8, 16)
        assert np.array_equal(found.read(), down.T)
        assert model.tensors["model.embed_tokens.weight"].shape == (3, 8)


class TestTensors:
    GGUF = {"blk.0.attn_q.weight": Q, "blk.0.ffn_norm.weight": np.ones(8), "token_embd.weight": np.ones((3, 8)),
            "output_norm.weight": np.ones(8)}  # fmt: skip

    def test_names_of_ggml(self, opened: Opener) -> None:
        assert set(opened(CONFIG, self.GGUF).tensors) == {
            "model.layers.0.self_attn.q_proj.weight", "model.layers.0.post_attention_layernorm.weight",
            "model.embed_tokens.weight", "model.norm.weight",
        }  # fmt: skip

    def test_norms_on_both_sides(self, opened: Opener) -> None:
        """With a norm behind the feed-forward, ggml's ffn_norm is the one in front of it."""
        model = opened(CONFIG, {**self.GGUF, "blk.0.post_ffw_norm.weight": np.ones(8)})
        assert "model.layers.0.pre_feedforward_layernorm.weight" in model.tensors
        assert "model.layers.0.post_feedforward_layernorm.weight" in model.tensors

    def test_names_of_aprender(self, opened: Opener) -> None:
        tensors = {"model.position_embedding.weight": Q, "tok_embeddings.weight": np.ones((3, 8))}
        assert set(opened(CONFIG, tensors).tensors) == {"model.embed_positions.weight", "model.embed_tokens.weight"}

    @pytest.mark.parametrize(
        "change, side_by_side",
        [
            ({"rope_type": 0}, True),
            ({"rope_type": 2}, False),
            ({"rope_type": 0, "original_format": "safetensors"}, False),
            ({"rope_type": None}, True),
            ({"rope_type": None, "architecture": "qwen2"}, False),
        ],
    )
    def test_rotary_pairs(self, opened: Opener, change: dict[str, Any], side_by_side: bool) -> None:
        found = opened({**CONFIG, **change}, {"blk.0.attn_q.weight": Q}).tensors[
            "model.layers.0.self_attn.q_proj.weight"
        ]
        assert found.read()[:, 0].tolist() == [0, 16, 8, 24, 32, 48, 40, 56] if side_by_side else Q[:, 0].tolist()

    def test_rotary_pairs_under_the_names_of_hugging_face(self, opened: Opener) -> None:
        name = "model.layers.0.self_attn.k_proj.weight"
        found = opened({**CONFIG, "rope_type": 0, "original_format": "gguf"}, {name: Q[:4]}).tensors[name]
        assert found.read()[:, 0].tolist() == [0, 16, 8, 24]

    def test_fused_projections(self, opened: Opener) -> None:
        """Rows of q, then k, then v."""
        qkv = np.arange(16 * 8).reshape(16, 8)
        for name in ("model.layers.0.self_attn.qkv_proj.weight", "blk.0.attn_qkv.weight"):
            tensors = opened(CONFIG, {name: qkv}).tensors
            parts = [tensors[f"model.layers.0.self_attn.{part}_proj.weight"].read() for part in "qkv"]
            assert [len(part) for part in parts] == [8, 4, 4]
            assert np.array_equal(np.concatenate(parts), qkv)

    def test_norms_of_gemma(self, opened: Opener) -> None:
        """Hugging Face's are less one; those that come from GGUF are not."""
        tensors = {"model.norm.weight": np.full(8, 0.5)}
        hugging_face = opened({**CONFIG, "architecture": "gemma", "head_dim": 4}, tensors)
        assert hugging_face.tensors["model.norm.weight"].read().tolist() == [1.5] * 8
        gguf = opened({**CONFIG, "architecture": "gemma", "head_dim": 4, "original_format": "gguf"}, tensors)
        assert gguf.tensors["model.norm.weight"].read().tolist() == [0.5] * 8

    def test_output_layer_that_is_a_copy(self, opened: Opener) -> None:
        tensors = {"model.embed_tokens.weight": np.ones((3, 8)), "lm_head.weight": np.ones((3, 8))}
        assert "lm_head.weight" in opened(CONFIG, tensors).tensors
        assert "lm_head.weight" not in opened({**CONFIG, "tied_embeddings": True}, tensors).tensors
        other = {**tensors, "lm_head.weight": np.ones((4, 8))}
        assert "lm_head.weight" in opened({**CONFIG, "tied_embeddings": True}, other).tensors

    @pytest.mark.parametrize(
        "tensors, words",
        [
            ({"blk.0.attn_q.weight": np.ones((6, 8))}, "an even number for each of 2 heads"),
            ({"blk.0.attn_qkv.weight": np.ones((6, 8))}, "16 fused rows"),
            ({"output.weight": Q, "lm_head.weight": Q}, "and so is"),
        ],
    )
    def test_tensors_that_do_not_fit(self, opened: Opener, tensors: dict[str, np.ndarray], words: str) -> None:
        model = opened({**CONFIG, "rope_type": 0}, tensors)
        assert model.config is None
        assert words in model.no_config


class TestTokenizer:
    def test_of_a_gguf_file(self, opened: Opener) -> None:
        spec = opened(
            {**WORDS, "tokenizer.pre_type": "llama-bpe", "tokenizer.bos_token_id": 2, "tokenizer.eos_token_id": 1,
             "tokenizer.token_type": [1, 1, 3], "tokenizer.chat_template": "{{ x }}"}
        ).tokenizer  # fmt: skip
        assert spec is not None
        assert (spec.model, spec.pre, spec.tokens, spec.merges) == ("bpe", "llama-bpe", ["a", "b", "<|x|>"], [])
        assert (spec.bos_token_id, spec.eos_token_ids, spec.add_bos_token) == (2, (1,), True)
        assert (spec.token_types, spec.chat_template, spec.source) == ([1, 1, 3], "{{ x }}", "model.apr")

    def test_flag_in_the_file_counts(self, opened: Opener) -> None:
        values = {**WORDS, "tokenizer.pre_type": "llama-bpe", "tokenizer.bos_token_id": 2}
        spec = opened({**values, "tokenizer.add_bos_token": False}).tokenizer
        assert spec is not None and not spec.add_bos_token

    def test_special_tokens_by_spelling(self, opened: Opener) -> None:
        """No set of them is stored; BOS and EOS are special however they are spelled."""
        tokens = ["<|im_end|>", "<s>", "</tool_call>", "<A>", "<|>", "a<|b|>", "<this_tag_is_over_20>", "END", "<>"]
        metadata = {**WORDS, "tokenizer.vocabulary": tokens, "tokenizer.eos_token_id": 7}
        spec = opened(metadata).tokenizer
        assert spec is not None
        expected = [CONTROL, CONTROL, CONTROL, NORMAL, NORMAL, NORMAL, NORMAL, CONTROL, NORMAL]
        assert spec.token_types == expected

    @pytest.mark.parametrize(
        "values, model",
        [
            ({"tokenizer.model": "llama"}, "spm"),
            ({"tokenizer.model_type": "Unigram"}, "unigram"),
            ({"tokenizer.model_type": "BPE"}, "spm"),
            ({"tokenizer.merges": []}, "spm"),
            ({"tokenizer.model": "bert"}, "wordpiece"),
        ],
    )
    def test_kind_of_vocabulary(self, opened: Opener, values: dict[str, Any], model: str) -> None:
        """Pieces for single bytes tell SentencePiece's BPE from the byte-level one."""
        spec = opened({"tokenizer.vocabulary": ["a", "<0x0A>"], "tokenizer.scores": [0, -1.5], **values}).tokenizer
        assert spec is not None
        assert (spec.model, spec.scores) == (model, [0.0, -1.5])
        assert spec.token_types == [NORMAL, BYTE if model in ("spm", "unigram") else NORMAL]

    @pytest.mark.parametrize(
        "values, words",
        [({"tokenizer.model": "rwkv"}, "'rwkv'"), ({"tokenizer.scores": [0, 1]}, "neither tokenizer.model nor")],
    )
    def test_why_there_is_none(self, opened: Opener, values: dict[str, Any], words: str) -> None:
        model = opened({"tokenizer.vocabulary": ["a", "b"], **values})
        assert model.tokenizer is None
        assert words in model.no_tokenizer
