"""tokenizer.json files of Hugging Face `tokenizers`, read as a directory and compared in ids and texts."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from realizar.huggingface.tokenizer import read_tokenizer
from realizar.selection import build_tokenizer

hf = pytest.importorskip("tokenizers")
pytest.importorskip("realizar_bpe")
pytest.importorskip("realizar_sentencepiece")
pytest.importorskip("realizar_wordpiece")

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

EXAMPLES = int(os.environ.get("REALIZAR_ORACLE_EXAMPLES", "150"))
ROOT = Path(__file__).parents[2]
OTHER_SCRIPTS = "Ελληνικά ΣΑΣ русский язык 日本語のテキスト 한국어 العربية हिन्दी ไทย naïve façade 😀🎉 ½² ٣٤ ﬁ Å"
CORPUS = [*(ROOT / "tests/data/prose.txt").read_text("utf-8").splitlines(), *[OTHER_SCRIPTS] * 20]
SPECIAL = ["<unk>", "<s>", "</s>"]
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
Built = Any


def byte_level(*cuts: Any, normalizer: Any = None, prefix: bool = False, ignore_merges: bool = False) -> Built:
    """BPE on bytes."""
    made = hf.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    made.normalizer = normalizer
    spelling = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=not cuts)
    made.pre_tokenizer = pre_tokenizers.Sequence([*cuts, spelling])
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return trained(made, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False))


def trained(made: Built, trainer: Any) -> Built:
    made.train_from_iterator(CORPUS, trainer)
    return made


def split(pattern: str, behavior: str = "isolated", invert: bool = False) -> Any:
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def llama_2() -> Built:
    """BPE on characters with bytes to fall back on, no pre-tokenizer."""
    made = hf.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")  # to train only: words of one space each
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trained(made, trainers.BpeTrainer(vocab_size=900, special_tokens=[*SPECIAL, *bytes_], show_progress=False))
    made = hf.Tokenizer.from_str(without_bytes(made.to_str()))
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return made


def without_bytes(values: str) -> str:
    """Bytes are no added tokens, and there is no pre-tokenizer."""
    file = json.loads(values)
    file["added_tokens"] = [token for token in file["added_tokens"] if not token["content"].startswith("<0x")]
    file["pre_tokenizer"] = None
    return json.dumps(file)


def metaspace(scheme: str, *, splits: bool = True, normalizer: Any = None) -> Built:
    """Unigram of words that begin with a space."""
    made = hf.Tokenizer(models.Unigram())
    made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=splits)
    made.decoder = decoders.Metaspace(prepend_scheme=scheme)
    made.post_processor = processors.TemplateProcessing("<s> $A </s> </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    return trained(made, trainer)


def characters(*cuts: Any, normalizer: Any, prefix: str = "", suffix: str = "", fuse: bool = True) -> Built:
    """BPE on characters with an unknown token."""
    affixes = {"continuing_subword_prefix": prefix, "end_of_word_suffix": suffix}
    given_affixes = {key: affix for key, affix in affixes.items() if affix}
    made = hf.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse, **given_affixes))
    made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.Sequence([*cuts])
    if suffix:
        made.decoder = decoders.BPEDecoder(suffix)
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, show_progress=False, limit_alphabet=60, **given_affixes
    )
    return trained(made, trainer)


def word_piece(*cuts: Any, normalizer: Any, prefix: str = "##", longest: int = 100) -> Built:
    """WordPiece whose normalizer or cuts are not BERT's."""
    made = hf.Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=longest))
    made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.Sequence([*cuts])
    made.decoder = decoders.WordPiece(prefix=prefix, cleanup=True)
    trainer = trainers.WordPieceTrainer(
        vocab_size=500, special_tokens=SPECIAL, continuing_subword_prefix=prefix, show_progress=False, limit_alphabet=60
    )
    made = trained(made, trainer)
    file = json.loads(made.to_str())
    file["model"] |= {"continuing_subword_prefix": prefix, "max_input_chars_per_word": longest, "unk_token": "<unk>"}
    return hf.Tokenizer.from_str(json.dumps(file))


def with_added(made: Built) -> Built:
    """Added tokens with every flag."""
    flags = ("lstrip", "rstrip", "single_word", "normalized")
    made.add_tokens([AddedToken(f"<{flag}>", **({"normalized": False} | {flag: True})) for flag in flags])
    made.add_tokens(
        [
            AddedToken("the", single_word=True, normalized=True), AddedToken("  ", normalized=False),
            AddedToken("Ab", lstrip=True, rstrip=True, normalized=True), AddedToken("é", normalized=True),
        ]
    )  # fmt: skip
    made.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return made


CASES: dict[str, Callable[[], Built]] = {
    "qwen2": lambda: byte_level(split(CL100K), normalizer=normalizers.NFC()),
    "gpt-2 with a space": lambda: byte_level(prefix=True),
    "llama 3 with added tokens": lambda: with_added(byte_level(split(CL100K), ignore_merges=True)),
    "deepseek": lambda: byte_level(
        split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"),
        pre_tokenizers.Digits(True),
    ),
    "odd splits": lambda: byte_level(
        split(r"\s+", "merged_with_next"), split("[a-e]+", "merged_with_previous"), split("[^x-z]", "contiguous"),
        split("[n&&[^m]]|q(?=u)", "removed"), split("e+", "removed", True),
    ),  # fmt: skip
    "llama 2": llama_2,
    "llama 2 with added tokens": lambda: with_added(llama_2()),
    "t5": lambda: metaspace("always"),
    "first": lambda: with_added(metaspace("first", normalizer=normalizers.NFKC())),
    "whole": lambda: metaspace("never", splits=False, normalizer=normalizers.Nmt()),
    "lower": lambda: characters(
        pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("contiguous"),
        normalizer=normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]),
    ),
    "clip": lambda: with_added(characters(
        pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(False), suffix="</w>",
        normalizer=normalizers.Sequence(
            [normalizers.Strip(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.BertNormalizer()]
        ),
    )),
    "wordpiece": lambda: with_added(word_piece(
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), normalizer=normalizers.NFKC(), longest=20,
    )),
    "wordpiece of another mark": lambda: word_piece(
        pre_tokenizers.Whitespace(), prefix="@", normalizer=normalizers.Lowercase(),
    ),
    "prefix": lambda: characters(
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.CharDelimiterSplit("e"), prefix="##", fuse=False,
        normalizer=normalizers.NFKD(),
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    theirs = CASES[request.param]()
    folder = tmp_path_factory.mktemp("saved")
    theirs.save(str(folder / "tokenizer.json"))
    spec = read_tokenizer(folder, {}, {})
    assert spec is not None
    return build_tokenizer(spec), theirs


OLD = unicodedata.ucd_3_2_0
"""Characters of today may be letters to one library only; each library has tables of its own."""
ASSIGNED = "".join(filter(lambda char: OLD.category(char) not in ("Cn", "Cs"), map(chr, range(0x110000))))

FRAGMENTS = [
    *("'s", "'LL", " ", "  ", "   ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "1", "234", "٣", "½", "e\u0301", "é", "ﬁ"),
    *("the", "Ab", " of", "and", "日本", " русский", "!", "...", "<", "<s>", "</s>", "<mask>", "_", "▁", "\u200d"),
    *("<lstrip>", "<rstrip>", "<single_word>", "<normalized>", "don't", "😀", "queen", "\0", "\x1c", "\x85", "x", "Σ"),
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.sampled_from(ASSIGNED) | st.text("abcdefgnq .,'", max_size=12)).map(
    "".join
)


@pytest.mark.proves("tokenizers", tokenizer=("bpe", "unigram"), vocabulary="tokenizer.json")
def test_ids_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(texts)
    def check(text: str) -> None:
        for add in (False, True):
            assert (
                ours.encode(text, parse_special=True, add_special_tokens=add)
                == theirs.encode(text, add_special_tokens=add).ids
            )

    check()


def test_texts_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    last = theirs.get_vocab_size() - 1
    ids = st.lists(st.integers(0, last) | st.integers(0, min(last, 260)), min_size=1, max_size=30)

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(ids, st.booleans())
    def check(ids: list[int], skip: bool) -> None:
        expected = theirs.decode(ids, skip_special_tokens=skip)
        assert ours.decode(ids, skip_special_tokens=skip) == expected
        stream = ours.stream(skip_special_tokens=skip)
        assert "".join([*map(stream.push, ids), stream.finish()]) == expected

    check()
