"""Tokenizer keys become a TokenizerSpec, with llama.cpp's defaults for what is left out."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from realizar.errors import FormatError
from realizar.model import BYTE, CONTROL, NORMAL, USER_DEFINED, TokenizerSpec
from realizar_gguf.reader import read_gguf

BYTES = runpy.run_path(str(Path(__file__).with_name("make_hostile.py")))
gguf, key, array, id_key = BYTES["gguf"], BYTES["key"], BYTES["array"], BYTES["id_key"]
U8, I8, I32, F32, BOOL, STRING = (BYTES[name] for name in ("U8", "I8", "I32", "F32", "BOOL", "STRING"))


def spec_of(directory: Path, *keys: bytes) -> TokenizerSpec | None:
    path = directory / "vocabulary.gguf"
    path.write_bytes(gguf(list(keys)))
    return read_gguf(path).tokenizer


def vocabulary(directory: Path, model: str, *keys: bytes, size: int = 200) -> TokenizerSpec:
    tokens = array("tokenizer.ggml.tokens", STRING, [f"t{i}" for i in range(size)])
    spec = spec_of(directory, key("tokenizer.ggml.model", STRING, model), tokens, *keys)
    assert spec is not None
    return spec


@pytest.mark.parametrize(
    ("model", "name", "flags", "ids"),
    [
        ("gpt2", "bpe", (False, False, False), (None, (), None, None)),
        ("llama", "spm", (True, False, True), (1, (2,), 0, None)),
        ("gemma4", "spm", (True, False, False), (None, (), None, None)),
        ("t5", "unigram", (False, True, False), (None, (1,), 2, 0)),
        ("bert", "wordpiece", (True, True, False), (101, (102,), 100, 0)),
        ("rwkv", "rwkv", (False, False, False), (None, (), None, None)),
    ],
)
def test_defaults(model: str, name: str, flags: tuple[bool, ...], ids: tuple[object, ...], tmp_path: Path) -> None:
    spec = vocabulary(tmp_path, model)
    assert spec.model == name
    assert (spec.add_bos_token, spec.add_eos_token, spec.add_space_prefix) == flags
    assert (spec.bos_token_id, spec.eos_token_ids, spec.unk_token_id, spec.pad_token_id) == ids
    assert spec.source == "vocabulary.gguf"
    assert spec.pre is None and spec.merges is None and spec.scores is None and spec.token_types is None


@pytest.mark.parametrize(
    ("pre", "add_bos"), [("gemma4", True), ("granite-embed-multi-311m", True), ("sarvam-moe", False)]
)
def test_pre_tokenizers_of_characters_are_spm_by_merges(pre: str, add_bos: bool, tmp_path: Path) -> None:
    tokens = array("tokenizer.ggml.tokens", STRING, ["<s>", "a", "▁", "▁a", "<0x41>", "<0x4g>"])
    spec = spec_of(
        tmp_path,
        key("tokenizer.ggml.model", STRING, "gpt2"),
        key("tokenizer.ggml.pre", STRING, pre),
        tokens,
        array("tokenizer.ggml.token_type", I32, [CONTROL, *[NORMAL] * 5]),
        array("tokenizer.ggml.scores", F32, [0.0] * 6),
        array("tokenizer.ggml.merges", STRING, ["▁ a"]),
    )
    assert spec is not None
    assert (spec.model, spec.scores, list(spec.merges or ())) == ("spm", None, ["▁ a"])
    assert (spec.add_bos_token, spec.add_space_prefix) == (add_bos, False)
    assert list(spec.token_types or ()) == [CONTROL, *[NORMAL] * 3, BYTE, NORMAL]


def white_space(directory: Path, *keys: bytes) -> TokenizerSpec:
    spec = spec_of(
        directory,
        key("tokenizer.ggml.model", STRING, "whitespace"),
        key("tokenizer.ggml.pre", STRING, "whitespace"),
        array("tokenizer.ggml.tokens", STRING, ["<s>", "</s>", "a", "b", "ab", "<t>"]),
        array("tokenizer.ggml.token_type", I32, [CONTROL, CONTROL, *[NORMAL] * 3, USER_DEFINED]),
        array("tokenizer.ggml.merges", STRING, ["a b"]),
        *keys,
    )
    assert spec is not None
    return spec


def test_whitespace_is_a_pipeline(tmp_path: Path) -> None:
    ends = [id_key("bos", 0), id_key("eos", 1)]
    flags = [key(f"tokenizer.ggml.add_{name}_token", BOOL, True) for name in ("bos", "eos")]
    spec = white_space(tmp_path, *ends, *flags)
    pipeline = spec.pipeline
    assert pipeline is not None and spec.model == "bpe"
    assert (pipeline.before, pipeline.after, pipeline.normalizers) == ((0,), (1,), ())
    assert [type(step).__name__ for step in pipeline.pre_tokenizers] == ["WhitespaceSplit"]
    assert [(token.content, token.special) for token in pipeline.added_tokens] == [
        ("<s>", True), ("</s>", True), ("<t>", False)
    ]  # fmt: skip
    lower = white_space(tmp_path, key("tokenizer.ggml.normalizer.lowercase", BOOL, True)).pipeline
    assert lower is not None and len(lower.normalizers) == 1
    assert (lower.before, lower.after) == ((), ())


def test_whitespace_without_the_bos_that_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="asks for BOS around every text but names no BOS token"):
        white_space(tmp_path, key("tokenizer.ggml.add_bos_token", BOOL, True))


@pytest.mark.parametrize(("pre", "add_bos"), [("llama-bpe", True), ("tekken", True), ("qwen2", False)])
def test_byte_level_bos_follows_the_pre_tokenizer(pre: str, add_bos: bool, tmp_path: Path) -> None:
    spec = vocabulary(tmp_path, "gpt2", key("tokenizer.ggml.pre", STRING, pre))
    assert (spec.pre, spec.add_bos_token) == (pre, add_bos)


def test_case_and_accents(tmp_path: Path) -> None:
    def folded(**flags: bool) -> tuple[bool, bool]:
        keys = [key(f"tokenizer.ggml.normalizer.{name}", BOOL, value) for name, value in flags.items()]
        spec = vocabulary(tmp_path, "bert", *keys)
        return spec.do_lower_case, spec.strip_accents

    assert folded() == (True, True)
    assert folded(lowercase=False) == (False, False)
    assert folded(lowercase=False, strip_accents=True) == (False, True)
    assert folded(strip_accents=False) == (True, False)


def test_a_default_id_outside_the_vocabulary_is_dropped(tmp_path: Path) -> None:
    assert vocabulary(tmp_path, "bert", size=50).bos_token_id is None


def test_everything_the_file_says(tmp_path: Path) -> None:
    spec = vocabulary(
        tmp_path,
        "llama",
        array("tokenizer.ggml.token_type", I32, [1, 3, 6]),
        array("tokenizer.ggml.scores", F32, [0.0, -1.5, -2.0]),
        array("tokenizer.ggml.merges", STRING, ["a b"]),
        id_key("bos", 0), id_key("eos", 1), id_key("eot", 2), id_key("eom", 1),
        id_key("unknown", 2), id_key("padding", 2),
        key("tokenizer.ggml.add_bos_token", BOOL, False),
        key("tokenizer.ggml.add_eos_token", BOOL, True),
        key("tokenizer.ggml.add_space_prefix", BOOL, False),
        key("tokenizer.chat_template", STRING, "{{ x }}"),
        key("tokenizer.chat_template.tool_use", STRING, "{{ y }}"),
        size=3,
    )  # fmt: skip
    assert spec == TokenizerSpec(
        model="spm", tokens=["t0", "t1", "t2"], source="vocabulary.gguf", token_types=[1, 3, 6], merges=["a b"],
        scores=[0.0, -1.5, -2.0], bos_token_id=0, eos_token_ids=(1, 2), unk_token_id=2, pad_token_id=2,
        add_bos_token=False, add_eos_token=True, add_space_prefix=False, chat_template="{{ x }}",
        named_chat_templates={"tool_use": "{{ y }}"},
    )  # fmt: skip
    assert spec.token_types is not None
    assert all(type(kind) is int for kind in spec.token_types)


def test_gemma4_has_merges_for_scores(tmp_path: Path) -> None:
    scores = array("tokenizer.ggml.scores", F32, [-1000.0] * 3)
    spec = vocabulary(tmp_path, "gemma4", scores, array("tokenizer.ggml.merges", STRING, ["t 0"]), size=3)
    assert (spec.scores, spec.merges) == (None, ["t 0"])


@pytest.mark.parametrize(("type_", "stored"), [(U8, [0, 127, 255]), (I8, [0, 127, -1])])
def test_normalization_rules(type_: int, stored: list[int], tmp_path: Path) -> None:
    spec = vocabulary(
        tmp_path,
        "t5",
        array("tokenizer.ggml.precompiled_charsmap", type_, stored),
        key("tokenizer.ggml.remove_extra_whitespaces", BOOL, True),
    )
    assert (spec.precompiled_charsmap, spec.remove_extra_whitespaces) == (b"\x00\x7f\xff", True)
    plain = vocabulary(tmp_path, "t5")
    assert (plain.precompiled_charsmap, plain.remove_extra_whitespaces) == (None, False)


def test_normalization_rules_are_bytes(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="precompiled_charsmap = an array of INT32.*an array of UINT8"):
        vocabulary(tmp_path, "t5", array("tokenizer.ggml.precompiled_charsmap", I32, [1]))


@pytest.mark.parametrize("model", ["none", "no_vocab"])
def test_no_vocabulary(model: str, tmp_path: Path) -> None:
    assert spec_of(tmp_path, key("tokenizer.ggml.model", STRING, model)) is None
    assert spec_of(tmp_path) is None
