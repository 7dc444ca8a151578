"""The tokenizer of a Hugging Face directory: what is understood, what is refused and in which words."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realizar.errors import FormatError, TokenizerError
from realizar.huggingface.pre_tokenizers import GPT2, LLAMA3, QWEN2
from realizar.model import BYTE, CONTROL, NORMAL, UNUSED, USER_DEFINED

LOADED = runpy.run_path(str(Path(__file__).with_name("huggingface_folder.py")))
ADDED, BYTE_LEVEL, template = LOADED["ADDED"], LOADED["BYTE_LEVEL"], LOADED["template"]
Folder = Any


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return LOADED["Folder"](tmp_path)


def split(regex: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


class TestByteLevel:
    """tokenizer.json with byte-level BPE."""

    def test_tokens_types_and_merges(self, folder: Folder) -> None:
        spec = folder.read()
        assert (spec.model, spec.pre, spec.merges) == ("bpe", "gpt-2", ["a b"])
        assert list(spec.tokens) == ["a", "b", "ab", "<s>", "</s>", "<think>"]
        assert spec.token_types == [NORMAL] * 3 + [CONTROL] * 2 + [USER_DEFINED]
        assert spec.source == str(folder.path / "tokenizer.json")
        assert (spec.bos_token_id, spec.eos_token_ids, spec.add_bos_token, spec.add_eos_token) == (
            None,
            (),
            False,
            False,
        )

    def test_merges_as_pairs(self, folder: Folder) -> None:
        folder.change({"merges": [["a", "b"]]})
        assert folder.read().merges == ["a b"]

    @pytest.mark.parametrize(
        ("pre_tokenizer", "ignore_merges", "name"),
        [
            (BYTE_LEVEL, False, "gpt-2"),
            (BYTE_LEVEL | {"use_regex": True}, False, "gpt-2"),
            (sequence(BYTE_LEVEL), False, "gpt-2"),
            (sequence(split(GPT2), BYTE_LEVEL | {"use_regex": False}), False, "gpt-2"),
            (sequence({"type": "Digits", "individual_digits": True}, BYTE_LEVEL), False, "smollm"),
            (sequence(split(LLAMA3), BYTE_LEVEL | {"use_regex": False}), True, "llama-bpe"),
            (sequence(split(LLAMA3, "Removed", True), BYTE_LEVEL | {"use_regex": False}), True, "llama-bpe"),
            (sequence(sequence(split(QWEN2)), BYTE_LEVEL | {"use_regex": False}), False, "qwen2"),
            (
                sequence(split(QWEN2.replace(r"\r", "\r").replace(r"\n", "\n")), BYTE_LEVEL | {"use_regex": False}),
                False,
                "qwen2",
            ),
        ],
    )
    def test_pre_tokenizers(
        self, pre_tokenizer: dict[str, Any], ignore_merges: bool, name: str, folder: Folder
    ) -> None:
        folder.change({"ignore_merges": ignore_merges}, pre_tokenizer=pre_tokenizer)
        assert folder.read().pre == name

    @pytest.mark.parametrize(
        ("pre_tokenizer", "ignore_merges"),
        [
            (None, False),
            (sequence(), False),
            ({"type": "Whitespace"}, False),
            (sequence(split("[0-9]+"), BYTE_LEVEL), False),
            (sequence(split(LLAMA3, "Removed"), BYTE_LEVEL | {"use_regex": False}), True),
            (sequence(split(LLAMA3, invert=True), BYTE_LEVEL | {"use_regex": False}), True),
            (sequence(split(LLAMA3), BYTE_LEVEL), True),
            (sequence(split(LLAMA3), BYTE_LEVEL | {"use_regex": False}), False),
            (BYTE_LEVEL, True),
            (BYTE_LEVEL | {"add_prefix_space": True}, False),
            (sequence({"type": "Digits", "individual_digits": False}, BYTE_LEVEL), False),
            (sequence(BYTE_LEVEL, {"type": "Punctuation"}), False),
        ],
    )
    def test_pre_tokenizers_without_a_name(
        self, pre_tokenizer: dict[str, Any] | None, ignore_merges: bool, folder: Folder
    ) -> None:
        folder.change({"ignore_merges": ignore_merges}, pre_tokenizer=pre_tokenizer)
        spec = folder.read()
        assert (spec.model, spec.pre) == ("bpe", None)
        assert spec.pipeline is not None and spec.pipeline.options.ignore_merges == ignore_merges

    @pytest.mark.parametrize(
        ("model", "changes", "name"),
        [
            ({"byte_fallback": True}, {}, "spm"),
            ({"byte_fallback": True, "ignore_merges": True}, {}, "bpe"),
            ({"end_of_word_suffix": "</w>"}, {}, "bpe"),
            ({"continuing_subword_prefix": "##"}, {}, "bpe"),
            ({"unk_token": "<s>"}, {}, "bpe"),
            ({}, {"normalizer": {"type": "NFC"}}, "bpe"),
            ({}, {"decoder": {"type": "Fuse"}}, "bpe"),
            ({}, {"post_processor": template("3", "4", "A")}, "bpe"),
            ({}, {"added_tokens": [ADDED[0] | {"lstrip": True}]}, "bpe"),
        ],
    )
    def test_what_only_a_pipeline_can_say(
        self, model: dict[str, Any], changes: dict[str, Any], name: str, folder: Folder
    ) -> None:
        folder.change(model, **changes)
        spec = folder.read()
        assert spec.model == name and spec.pipeline is not None

    @pytest.mark.parametrize(
        ("model", "changes", "words"),
        [
            ({"dropout": 0.1}, {}, "model: dropout: found 0.1"),
            ({"type": "WordLevel"}, {}, "model: unknown type 'WordLevel'"),
            ({"alpha": 1}, {}, "model: found 'alpha', which is not understood"),
            ({"continuing_subword_prefix": "#" * 17}, {}, "continuing_subword_prefix: found 17 characters"),
            ({}, {"abacus": 1}, "found 'abacus', which is not understood"),
            ({}, {"added_tokens": [ADDED[0] | {"abacus": True}]}, r"added_tokens\[0\]: found 'abacus'"),
            ({}, {"normalizer": {"type": "Abacus"}}, "normalizer: unknown type 'Abacus'; known are NFC"),
            ({}, {"normalizer": {"type": "NFC", "form": 1}}, "normalizer: found 'form', which is not understood"),
            ({}, {"normalizer": {"type": "Prepend", "prepend": "x" * 65}}, "is no Prepend that is understood"),
            ({}, {"pre_tokenizer": sequence({"type": "UnicodeScripts"})}, r"pretokenizers\[0\]: unknown type"),
            ({}, {"pre_tokenizer": sequence(*[BYTE_LEVEL] * 65)}, "found 65 steps"),
            ({}, {"pre_tokenizer": split("a", "Doubled")}, "behavior: found 'Doubled', expected one of Removed"),
            ({}, {"pre_tokenizer": split(r"\G")}, r"pattern: Regex: character 0: found \\G"),
            ({}, {"pre_tokenizer": split("") | {"pattern": {"Glob": "*"}}}, "expected String or Regex"),
            ({}, {"decoder": {"type": "CTC"}}, "decoder: unknown type 'CTC'"),
            ({}, {"post_processor": {"type": "Abacus"}}, "post-processor 'Abacus'"),
            ({}, {"post_processor": template("A", "A")}, "the text 2 times, expected once"),
            ({}, {"post_processor": template(*["3"] * 65, "A")}, "puts 65 tokens around a text"),
        ],
    )
    def test_what_is_not_understood_is_refused_by_name(
        self, model: dict[str, Any], changes: dict[str, Any], words: str, folder: Folder
    ) -> None:
        folder.change(model, **changes)
        with pytest.raises(TokenizerError, match=words):
            folder.read()

    def test_sequences_too_deep(self, folder: Folder) -> None:
        for key, inner in (("pre_tokenizer", "pretokenizers"), ("post_processor", "processors")):
            step: dict[str, Any] = {"type": "ByteLevel"}
            for _ in range(9):
                step = {"type": "Sequence", inner: [step]}
            folder.change(**{key: step})
            with pytest.raises(TokenizerError, match="more than 8 levels deep"):
                folder.read()

    def test_several_post_processors(self, folder: Folder) -> None:
        folder.change(post_processor={"type": "Sequence", "processors": [template("3", "A"), template("4", "A", "5")]})
        spec = folder.read()
        assert spec.pipeline is not None
        assert (spec.pipeline.before, spec.pipeline.after, spec.add_bos_token) == ((4, 3), (5,), False)

    @pytest.mark.parametrize(
        ("processor", "bos", "eos"),
        [
            (template("3", "A"), 3, None),
            (template("A", "4"), None, 4),
            (template("3", "A", "4"), 3, 4),
            ({"type": "ByteLevel", "trim_offsets": False}, None, None),
            ({"type": "Sequence", "processors": [{"type": "ByteLevel"}, template("3", "A")]}, 3, None),
            ({"type": "Sequence", "processors": [{"type": "ByteLevel"}]}, None, None),
            ({"type": "RobertaProcessing", "sep": ["</s>", 4], "cls": ["<s>", 3]}, 3, 4),
        ],
    )
    def test_post_processors(self, processor: dict[str, Any], bos: int | None, eos: int | None, folder: Folder) -> None:
        folder.change(post_processor=processor)
        spec = folder.read()
        assert (spec.add_bos_token, spec.bos_token_id) == (bos is not None, bos)
        assert (spec.add_eos_token, spec.eos_token_ids) == (eos is not None, () if eos is None else (eos,))


class TestSpecialIds:
    """By text in the tokenizer's settings, by number in the model's."""

    def test_by_text_then_by_number(self, folder: Folder) -> None:
        folder.json("tokenizer_config.json", {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": None})
        spec = folder.read({"eos_token_id": 0, "bos_token_id": 1, "pad_token_id": 2}, {"eos_token_id": [5, 4]})
        assert (spec.bos_token_id, spec.eos_token_ids, spec.pad_token_id) == (3, (4, 5), 2)

    @pytest.mark.parametrize(
        ("config", "generation", "ends"),
        [
            ({"eos_token_id": 4}, {}, (4,)),
            ({"eos_token_id": [4, 5]}, {}, (4, 5)),
            ({"eos_token_id": 4}, {"eos_token_id": [5]}, (5,)),
            ({"eos_token_id": 4}, {"eos_token_id": None}, (4,)),
            ({"eos_token_id": -1}, {}, ()),
            ({}, {}, ()),
        ],
    )
    def test_ends(
        self, config: dict[str, Any], generation: dict[str, Any], ends: tuple[int, ...], folder: Folder
    ) -> None:
        assert folder.read(config, generation).eos_token_ids == ends

    def test_the_older_map_fills_in(self, folder: Folder) -> None:
        folder.json("special_tokens_map.json", {"bos_token": "a", "unk_token": {"content": "b"}})
        folder.json("tokenizer_config.json", {"bos_token": "<s>"})
        assert (folder.read().bos_token_id, folder.read().unk_token_id) == (3, 1)

    def test_padding_that_is_no_token_is_none(self, folder: Folder) -> None:
        folder.json("tokenizer_config.json", {"pad_token": "<pad>"})
        assert folder.read().pad_token_id is None

    @pytest.mark.parametrize(
        ("config", "settings_", "words"),
        [
            ({"eos_token_id": 6}, {}, "found 6, expected an id of 6 tokens"),
            ({"eos_token_id": "4"}, {}, "expected an integer"),
            ({"bos_token_id": True}, {}, "expected an integer"),
            ({"eos_token_id": [4, None]}, {}, "expected an integer"),
            ({}, {"eos_token": "<end>"}, "'<end>', which is no token"),
            ({}, {"bos_token": 3}, "expected a string"),
            ({}, {"bos_token": {"text": "<s>"}}, "found no content"),
            ({"vocab_size": "6"}, {}, "expected an integer"),
        ],
    )
    def test_refusals(self, config: dict[str, Any], settings_: dict[str, Any], words: str, folder: Folder) -> None:
        folder.json("tokenizer_config.json", settings_)
        with pytest.raises(FormatError, match=words):
            folder.read(config)


class TestUnigram:
    """tokenizer.json with pieces and scores."""

    MODEL: dict[str, Any] = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1], ["<0x41>", -2.5]]}

    def read(self, folder: Folder, **changes: Any) -> Any:
        folder.json("tokenizer.json", {"model": self.MODEL | changes, "added_tokens": [ADDED[0]]})
        return folder.read()

    def test_scores_and_types(self, folder: Folder) -> None:
        spec = self.read(folder, byte_fallback=True)
        assert (spec.model, list(spec.tokens)) == ("unigram", ["<unk>", "a", "<0x41>", "<s>"])
        assert (list(spec.scores), spec.unk_token_id) == ([0, -1, -2.5, 0], 0)
        assert list(spec.token_types) == [NORMAL, NORMAL, BYTE, CONTROL]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"vocab": [["a"]]}, r"vocab\[0\]: found \['a'\], expected a piece and its score"),
            ({"vocab": [["a", True]]}, "found score 'True'"),
            ({"vocab": [["a", float("inf")]]}, "found score 'inf'"),
            ({"vocab": [["a", 0], ["a", 1]]}, "'a' for the second time"),
            ({"vocab": {"a": 0}}, "expected an array"),
            ({"unk_id": 9}, "unk_id: found 9, expected one of 4 ids"),
        ],
    )
    def test_refusals(self, changes: dict[str, Any], words: str, folder: Folder) -> None:
        with pytest.raises(FormatError, match=words):
            self.read(folder, **changes)


class TestPieces:
    """Every id has one token."""

    def test_the_vocabulary_is_padded_to_the_models_size(self, folder: Folder) -> None:
        spec = folder.read({"vocab_size": 8})
        assert list(spec.tokens[6:]) == ["[PAD6]", "[PAD7]"]
        assert spec.token_types is not None and list(spec.token_types[6:]) == [UNUSED] * 2

    def test_holes_are_filled(self, folder: Folder) -> None:
        folder.change(added_tokens=[{"id": 5, "content": "x", "special": True}])
        assert list(folder.read().tokens) == ["a", "b", "ab", "[PAD3]", "[PAD4]", "x"]

    @pytest.mark.parametrize(
        ("vocabulary", "added", "words"),
        [
            ({"a": 0, "b": 0}, [], "id 0, which is 'a' already"),
            ({"a": -1}, [], "expected 0 to"),
            ({"a": 1 << 22}, [], "expected 0 to"),
            ({"a": 1.5}, [], "expected an integer"),
            ({"a": True}, [], "expected an integer"),
            ({"a": (1 << 22) - 1}, [], "without a token"),
            ({"a": 0, "\ud800": 1}, [], "half a surrogate pair"),
            ({"a": 0, "[PAD1]": 2}, [], r"token '\[PAD1\]' with id 2"),
            ({"a": 0}, [{"id": 1, "content": "a"}], "ids 0 and 1"),
            ({"a": 0}, [{"id": 0, "content": "x"}], "id 0, which is 'a' already"),
            ({"a": 0}, [{"content": "x"}], "found no id"),
            ({"a": 0}, [{"id": 1}], "found no content"),
            ({"a": 0}, [{"id": 1, "content": "x", "special": 1}], "expected true or false"),
            ({"a": 0}, [7], r"added_tokens\[0\]: found 7, expected an object"),
            ([], [], "expected an object"),
        ],
    )
    def test_refusals(self, vocabulary: Any, added: list[Any], words: str, folder: Folder) -> None:
        folder.change({"vocab": vocabulary, "merges": []}, added_tokens=added)
        with pytest.raises(FormatError, match=words):
            folder.read()

    @pytest.mark.parametrize("merge", ["ab", "a b c", "a ", ["a"], ["a", ""], [1, 2], 7, None])
    def test_malformed_merges(self, merge: Any, folder: Folder) -> None:
        folder.change({"merges": [merge]})
        with pytest.raises(FormatError, match="expected two pieces"):
            folder.read()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**65) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
PATHS = [
    ("added_tokens",), ("added_tokens", 0), ("added_tokens", 0, "id"), ("added_tokens", 0, "content"),
    ("pre_tokenizer",), ("pre_tokenizer", "type"), ("pre_tokenizer", "pretokenizers"), ("post_processor",),
    ("post_processor", "single"), ("post_processor", "special_tokens"), ("post_processor", "special_tokens", "3"),
    ("pre_tokenizer", "pattern"), ("decoder",), ("decoder", "type"), ("added_tokens", 0, "lstrip"),
    ("model",), ("model", "type"), ("model", "vocab"), ("model", "merges"), ("model", "vocab", "a"), ("normalizer",),
]  # fmt: skip


def put(at: Any, path: tuple[str | int, ...], value: Any) -> None:
    """Replace what is at `path`, if an earlier change has left its parent there."""
    for key in path[:-1]:
        at = at[key] if has(at, key) else None
    if has(at, path[-1]) or isinstance(at, dict):
        at[path[-1]] = value


def has(at: Any, key: str | int) -> bool:
    return key in at if isinstance(at, dict) else isinstance(at, list) and isinstance(key, int) and key < len(at)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.sampled_from(PATHS), JSON), min_size=1, max_size=3), settings_=JSON, config=JSON)
def test_any_json_gives_only_our_errors(changes: list[Any], settings_: Any, config: Any, folder: Folder) -> None:
    values: Any = json.loads(json.dumps(folder.tokenizer(post_processor=template("3", "A"))))
    for path, value in changes:
        put(values, path, value)
    folder.json("tokenizer.json", values)
    folder.json("tokenizer_config.json", {"eos_token": settings_, "chat_template": settings_, "bos_token": "<s>"})
    try:
        folder.read({"eos_token_id": config, "vocab_size": 6})
    except (FormatError, TokenizerError) as error:
        assert str(folder.path) in str(error)
