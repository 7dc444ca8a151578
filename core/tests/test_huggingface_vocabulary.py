"""Vocabularies without byte-level tokenizer.json, and chat templates wherever they are."""

from __future__ import annotations

import runpy
import struct
from pathlib import Path
from typing import Any

import pytest

from realizar.errors import FormatError, TokenizerError
from realizar.huggingface.tokenizer import read_tokenizer
from realizar.model import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED

LOADED = runpy.run_path(str(Path(__file__).with_name("huggingface_folder.py")))
template = LOADED["template"]
Folder = Any


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return LOADED["Folder"](tmp_path)


class TestOlderFiles:
    """vocab.json with merges.txt; tokenizer.model."""

    @pytest.fixture
    def older(self, folder: Folder) -> Folder:
        (folder.path / "tokenizer.json").unlink()
        folder.json("vocab.json", {"a": 0, "b": 1, "ab": 2})
        folder.text("merges.txt", "#version: 0.2\na b\n")
        folder.json("tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer", "bos_token": "a"})
        return folder

    def test_vocab_json(self, older: Folder) -> None:
        spec = older.read()
        assert (spec.model, spec.pre, spec.merges, spec.add_bos_token) == ("bpe", "gpt-2", ["a b"], False)
        assert list(spec.tokens) == ["a", "b", "ab"]

    def test_added_tokens_and_flags_of_the_settings(self, older: Folder) -> None:
        older.json(
            "tokenizer_config.json",
            {
                "tokenizer_class": "Qwen2TokenizerFast", "add_bos_token": True, "bos_token": "<s>",
                "added_tokens_decoder": {"3": {"content": "<s>", "special": True}, "4": {"content": "<t>"}},
            },
        )  # fmt: skip
        spec = older.read()
        assert (spec.pre, spec.add_bos_token, spec.bos_token_id) == ("qwen2", True, 3)
        assert spec.token_types == [NORMAL] * 3 + [CONTROL, USER_DEFINED]

    @pytest.mark.parametrize(
        ("values", "error", "words"),
        [
            ({}, TokenizerError, "tokenizer_class None"),
            ({"tokenizer_class": "AbacusTokenizer"}, TokenizerError, "'AbacusTokenizer'.*known: GPT2Tokenizer"),
            ({"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": {"x": {}}}, FormatError, "found key 'x'"),
            ({"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": {"3": 1}}, FormatError, "expected an object"),
        ],
    )
    def test_refusals(self, values: dict[str, Any], error: type[Exception], words: str, older: Folder) -> None:
        older.json("tokenizer_config.json", values)
        with pytest.raises(error, match=words):
            older.read()

    def test_missing_merges(self, older: Folder) -> None:
        (older.path / "merges.txt").unlink()
        with pytest.raises(FormatError, match=r"merges\.txt: cannot be opened"):
            older.read()

    def test_nothing_at_all(self, tmp_path: Path) -> None:
        assert read_tokenizer(tmp_path, {}, {}) is None


def piece(text: str, score: float, kind: int) -> bytes:
    """ModelProto.SentencePiece: piece = 1, score = 2, type = 3."""
    body = b"\x0a" + bytes([len(text.encode())]) + text.encode() + b"\x15" + struct.pack("<f", score)
    body += b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(body)]) + body


class TestTokenizerModel:
    """tokenizer.model, where there is no tokenizer.json."""

    PIECES = piece("<unk>", 0, UNKNOWN) + piece("<s>", 0, CONTROL) + piece("</s>", 0, CONTROL) + piece("▁a", -1, NORMAL)

    @pytest.fixture
    def saved(self, folder: Folder) -> Folder:
        (folder.path / "tokenizer.json").unlink()
        (folder.path / "tokenizer.model").write_bytes(self.PIECES)
        folder.json("tokenizer_config.json", {"tokenizer_class": "LlamaTokenizerFast"})
        return folder

    def test_pieces_and_special_tokens(self, saved: Folder) -> None:
        spec = saved.read({"vocab_size": 6})
        assert (spec.model, list(spec.tokens)) == ("unigram", ["<unk>", "<s>", "</s>", "▁a", "[PAD4]", "[PAD5]"])
        assert list(spec.token_types or ()) == [UNKNOWN, CONTROL, CONTROL, NORMAL, UNUSED, UNUSED]
        assert list(spec.scores or ()) == [0, 0, 0, -1, 0, 0]
        assert (spec.bos_token_id, spec.eos_token_ids, spec.unk_token_id, spec.pad_token_id) == (1, (2,), 0, None)
        assert (spec.add_bos_token, spec.add_eos_token) == (True, False)
        assert (spec.add_space_prefix, spec.prepend_scheme, spec.split_user_defined) == (True, "always", True)

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"legacy": False}, (True, False, True, "first")),
            ({"add_prefix_space": False}, (True, False, False, "always")),
            ({"add_bos_token": False, "add_eos_token": True}, (False, True, True, "always")),
            ({"tokenizer_class": "T5Tokenizer"}, (False, True, True, "always")),
            ({"tokenizer_class": "AbacusTokenizer", "add_bos_token": True}, (True, False, True, "always")),
        ],
    )
    def test_settings(self, values: dict[str, Any], expected: tuple[Any, ...], saved: Folder) -> None:
        saved.json("tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"} | values)
        spec = saved.read()
        assert (spec.add_bos_token, spec.add_eos_token, spec.add_space_prefix, spec.prepend_scheme) == expected

    def test_added_tokens(self, saved: Folder) -> None:
        decoder = {"3": {"content": "▁a"}, "4": {"content": "<end>", "special": True}}
        saved.json(
            "tokenizer_config.json", {"add_bos_token": True, "added_tokens_decoder": decoder, "pad_token": "<end>"}
        )
        saved.json("added_tokens.json", {"<end>": 4, "<tool>": 5})
        spec = saved.read()
        assert list(spec.tokens[3:]) == ["▁a", "<end>", "<tool>"]
        assert list(spec.token_types or ())[3:] == [USER_DEFINED, CONTROL, USER_DEFINED]
        assert spec.pad_token_id == 4

    @pytest.mark.parametrize(
        ("values", "error", "words"),
        [
            ({"tokenizer_class": "AbacusTokenizer"}, TokenizerError, "'AbacusTokenizer' and no add_bos_token"),
            (
                {"add_bos_token": True, "added_tokens_decoder": {"4": {"content": "<m>", "lstrip": True}}},
                TokenizerError, "'<m>' takes white space with it",
            ),
            ({"add_bos_token": True, "legacy": 1}, FormatError, "legacy: found 1"),
        ],
    )  # fmt: skip
    def test_refusals(self, values: dict[str, Any], error: type[Exception], words: str, saved: Folder) -> None:
        saved.json("tokenizer_config.json", values)
        with pytest.raises(error, match=words):
            saved.read()

    def test_a_piece_twice(self, saved: Folder) -> None:
        (saved.path / "tokenizer.model").write_bytes(self.PIECES + piece("▁a", -2, NORMAL))
        with pytest.raises(FormatError, match="found 5 pieces, 4 of them different"):
            saved.read()


class TestFairseqModel:
    """sentencepiece.bpe.model, whose ids are not the file's."""

    PIECES = TestTokenizerModel.PIECES + piece("b", -2, NORMAL)

    @pytest.fixture
    def saved(self, folder: Folder) -> Folder:
        (folder.path / "tokenizer.json").unlink()
        (folder.path / "sentencepiece.bpe.model").write_bytes(self.PIECES)
        folder.json("tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer"})
        return folder

    def test_four_tokens_come_first_and_the_mask_last(self, saved: Folder) -> None:
        spec = saved.read({"vocab_size": 8})
        assert list(spec.tokens) == ["<s>", "<pad>", "</s>", "<unk>", "▁a", "b", "<mask>", "[PAD7]"]
        assert list(spec.token_types or ()) == [*[CONTROL] * 4, NORMAL, NORMAL, CONTROL, UNUSED]
        assert list(spec.scores or ()) == [0, 0, 0, 0, -1, -2, 0, 0]
        ids = (spec.bos_token_id, spec.pad_token_id, spec.eos_token_ids, spec.unk_token_id)
        assert (spec.model, *ids) == ("unigram", 0, 1, (2,), 3)
        assert (spec.add_bos_token, spec.add_eos_token) == (True, True)

    def test_the_steps_are_those_of_its_tokenizer_json(self, saved: Folder) -> None:
        pipeline = saved.read().pipeline
        assert pipeline is not None
        assert (pipeline.before, pipeline.after, pipeline.normalizers) == ((0,), (2,), ())
        assert [type(step).__name__ for step in pipeline.pre_tokenizers] == ["WhitespaceSplit", "Metaspace"]
        assert [token.content for token in pipeline.added_tokens if token.lstrip] == ["<mask>"]

    @pytest.mark.parametrize("settings", [{}, {"tokenizer_class": "CamembertTokenizer"}])
    def test_other_classes_number_their_pieces_otherwise(self, saved: Folder, settings: dict[str, Any]) -> None:
        saved.json("tokenizer_config.json", settings)
        with pytest.raises(TokenizerError, match=r"not known how its pieces are numbered; known: XLMRobertaTokenizer"):
            saved.read()

    @pytest.mark.parametrize(
        ("pieces", "words"),
        [
            (piece("<s>", 0, CONTROL) + piece("<unk>", 0, UNKNOWN), "whose first pieces are"),
            (PIECES + piece("b", -3, NORMAL), "found 8 pieces, 7 of them different"),
            (PIECES + piece("<pad>", -3, NORMAL), "found 8 pieces, 7 of them different"),
        ],
    )
    def test_refusals(self, pieces: bytes, words: str, saved: Folder) -> None:
        (saved.path / "sentencepiece.bpe.model").write_bytes(pieces)
        with pytest.raises(TokenizerError, match=words):
            saved.read()


class TestWordPiece:
    """tokenizer.json or vocab.txt of BERT."""

    NORMALIZER: dict[str, Any] = {
        "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
        "lowercase": True,
    }  # fmt: skip

    def write(self, folder: Folder, model: dict[str, Any] | None = None, **changes: Any) -> None:
        plain = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
        special = [{"id": i, "content": f"[{t}]", "special": True} for i, t in enumerate(("CLS", "SEP", "UNK"))]
        values = {
            "normalizer": self.NORMALIZER, "pre_tokenizer": {"type": "BertPreTokenizer"},
            "added_tokens": special,
            "post_processor": template("0", "A", "1"),
            "model": plain | {"vocab": {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "a": 3, "##b": 4}} | (model or {}),
        }  # fmt: skip
        folder.json("tokenizer.json", values | changes)
        folder.json("tokenizer_config.json", {"unk_token": "[UNK]"})

    def test_tokenizer_json(self, folder: Folder) -> None:
        self.write(folder, {"max_input_chars_per_word": 50})
        spec = folder.read()
        assert (spec.model, list(spec.tokens)) == ("wordpiece", ["[CLS]", "[SEP]", "[UNK]", "a", "##b"])
        assert (spec.bos_token_id, spec.eos_token_ids, spec.unk_token_id) == (0, (1,), 2)
        assert spec.add_bos_token and spec.add_eos_token
        assert (spec.do_lower_case, spec.strip_accents, spec.tokenize_chinese_chars) == (True, True, True)
        assert spec.max_input_chars_per_word == 50

    def test_the_model_names_its_unknown_token(self, folder: Folder) -> None:
        """Also where no tokenizer_config.json does; without, other words could not be encoded."""
        self.write(folder)
        (folder.path / "tokenizer_config.json").unlink()
        assert folder.read().unk_token_id == 2

    @pytest.mark.parametrize(
        ("changes", "flags"),
        [
            ({"lowercase": False}, (False, False, True)),
            ({"lowercase": False, "strip_accents": True}, (False, True, True)),
            ({"strip_accents": False, "handle_chinese_chars": False}, (True, False, False)),
        ],
    )
    def test_normalizers(self, changes: dict[str, Any], flags: tuple[bool, ...], folder: Folder) -> None:
        self.write(folder, normalizer=self.NORMALIZER | changes)
        spec = folder.read()
        assert (spec.do_lower_case, spec.strip_accents, spec.tokenize_chinese_chars) == flags
        assert spec.max_input_chars_per_word == 100

    @pytest.mark.parametrize(
        ("model", "changes"),
        [
            ({}, {"normalizer": None}),
            ({}, {"pre_tokenizer": {"type": "Whitespace"}}),
            ({}, {"normalizer": NORMALIZER | {"clean_text": False}}),
            ({"continuing_subword_prefix": "@@"}, {}),
        ],
    )
    def test_what_is_not_berts_has_a_pipeline(
        self, model: dict[str, Any], changes: dict[str, Any], folder: Folder
    ) -> None:
        self.write(folder, model, **changes)
        spec = folder.read()
        assert spec.model == "wordpiece" and spec.pipeline is not None

    def test_vocab_txt(self, folder: Folder) -> None:
        (folder.path / "tokenizer.json").unlink()
        folder.text("vocab.txt", "[PAD]\n[CLS]\n[SEP]\na\n##b\n")
        names = {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "unk", "pad")}
        folder.json("tokenizer_config.json", names | {"do_lower_case": False})
        spec = folder.read()
        assert (spec.model, list(spec.tokens)) == ("wordpiece", ["[PAD]", "[CLS]", "[SEP]", "a", "##b"])
        assert spec.token_types == [CONTROL] * 3 + [NORMAL] * 2
        assert (spec.bos_token_id, spec.eos_token_ids, spec.unk_token_id, spec.pad_token_id) == (1, (2,), None, 0)
        assert spec.add_bos_token and spec.add_eos_token and not spec.do_lower_case and not spec.strip_accents

    def test_vocab_txt_with_a_token_twice(self, folder: Folder) -> None:
        (folder.path / "tokenizer.json").unlink()
        folder.text("vocab.txt", "a\na\n")
        with pytest.raises(FormatError, match="each token once"):
            folder.read()


class TestChatTemplates:
    """Wherever they are."""

    @pytest.mark.parametrize(
        ("files", "default", "named"),
        [
            ({}, None, {}),
            ({"tokenizer_config.json": '{"chat_template": "x"}'}, "x", {}),
            ({"tokenizer_config.json": '{"chat_template": null}'}, None, {}),
            (
                {
                    "tokenizer_config.json": '{"chat_template": [{"name": "default", "template": "x"}, '
                    '{"name": "tool_use", "template": "y"}]}'
                },
                "x",
                {"tool_use": "y"},
            ),
            ({"chat_template.json": '{"chat_template": "z"}'}, "z", {}),
            ({"tokenizer_config.json": '{"chat_template": "x"}', "chat_template.jinja": "é\n"}, "é\n", {}),
            ({"additional_chat_templates/rag.jinja": "r", "chat_template.jinja": "d"}, "d", {"rag": "r"}),
        ],
    )
    def test_found(self, files: dict[str, str], default: str | None, named: dict[str, str], folder: Folder) -> None:
        for name, text in files.items():
            folder.text(name, text)
        spec = folder.read()
        assert (spec.chat_template, dict(spec.named_chat_templates)) == (default, named)

    @pytest.mark.parametrize(
        ("files", "words"),
        [
            ({"tokenizer_config.json": '{"chat_template": 7}'}, "expected an array"),
            ({"tokenizer_config.json": '{"chat_template": [{"name": "x"}]}'}, "found no template"),
            ({"chat_template.json": "{}"}, "found no chat_template"),
            ({"chat_template.jinja": "x" * ((1 << 20) + 1)}, "expected at most 1048576"),
            ({f"additional_chat_templates/{i}.jinja": "" for i in range(65)}, "found 65 chat templates"),
        ],
    )
    def test_refusals(self, files: dict[str, str], words: str, folder: Folder) -> None:
        for name, text in files.items():
            folder.text(name, text)
        with pytest.raises(FormatError, match=words):
            folder.read()
