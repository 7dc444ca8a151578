"""Every kind of vocabulary, learnt from this repository by the library that has it, in that library and here."""

from __future__ import annotations

import importlib
import io
import random
import tempfile
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import attrs

from realizar.huggingface.tokenizer import read_tokenizer
from realizar.selection import build_tokenizer
from realizar.tokenizer_files.sentencepiece_model import read_sentencepiece_model

ROOT = Path(__file__).parents[2]
MAX_LINE = 400
"""Characters; the trainers leave out much longer ones."""


@attrs.frozen
class Pair:
    """One vocabulary twice: ours gives ids for a text, and so does theirs, of the library called `peer`."""

    kind: str
    peer: str
    ours: Callable[[], Callable[[str], Sequence[int]]]
    theirs: Callable[[str], Sequence[int]]


def mixed_text(nbytes: int) -> str:
    """Prose, code, Chinese and emoji by turns, no line twice; about so many bytes if the repository has as many."""
    rng = random.Random(0)
    prose = (ROOT / "tests/data/prose.txt").read_text("utf-8").splitlines()
    files = sorted(path for pattern in ("*.py", "*.md") for path in ROOT.glob(f"[cpt]*/**/{pattern}"))
    code = [line for path in files for line in path.read_text("utf-8").splitlines()]
    words = ["".join(chr(0x4E00 + int(rng.betavariate(1, 8) * 8000)) for _ in range(rng.randint(1, 3))) for _ in code]
    words = words[:5000]
    often = [*accumulate(1 / rank for rank in range(1, len(words) + 1))]
    phrases = ("".join(rng.choices(words, cum_weights=often, k=12)) for _ in range(len(code) // 2))
    chinese = [phrase + rng.choice("，。😀🎉🚀") for phrase in phrases]
    lines = [line for line in dict.fromkeys([*prose, *code, *chinese]) if line.strip() and len(line) < MAX_LINE]
    rng.shuffle(lines)
    return "\n".join(lines).encode()[:nbytes].decode(errors="ignore")


def pairs(text: str, size: int) -> list[Pair]:
    """Vocabularies of `size` pieces; a library that is not installed is named and passed over."""
    found: list[Pair] = []
    for name, kinds in {"tokenizers": _of_tokenizers, "sentencepiece": _of_sentencepiece}.items():
        try:
            library = importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed: pip install {name}\n")
        else:
            found += kinds(library, text.split("\n"), size)
    return found


def _of_tokenizers(hf: Any, lines: list[str], size: int) -> list[Pair]:
    made = {}
    made["byte-level bpe"] = hf.Tokenizer(hf.models.BPE())
    made["byte-level bpe"].pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = hf.pre_tokenizers.ByteLevel.alphabet()
    trainers = {
        "byte-level bpe": hf.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    }
    made["wordpiece"] = hf.Tokenizer(hf.models.WordPiece(unk_token="[UNK]"))
    made["wordpiece"].normalizer = hf.normalizers.BertNormalizer()
    made["wordpiece"].pre_tokenizer = hf.pre_tokenizers.BertPreTokenizer()
    trainers["wordpiece"] = hf.trainers.WordPieceTrainer(vocab_size=size, special_tokens=["[UNK]"], show_progress=False)
    found = []
    for kind, theirs in made.items():
        theirs.train_from_iterator(lines, trainers[kind])
        with tempfile.TemporaryDirectory() as folder:
            theirs.save(str(Path(folder) / "tokenizer.json"))
            spec = read_tokenizer(Path(folder), {}, {})
        assert spec is not None
        encode = theirs.encode
        found.append(Pair(kind, "tokenizers", _plain(spec), lambda text, encode=encode: encode(text).ids))
    return found


def _of_sentencepiece(library: Any, lines: list[str], size: int) -> list[Pair]:
    found = []
    for kind, name in {"unigram": "unigram", "spm": "bpe"}.items():
        written = io.BytesIO()
        library.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=written, vocab_size=size, hard_vocab_limit=False,
            model_type=name, byte_fallback=True, character_coverage=0.98, minloglevel=2,
            num_threads=1,
        )  # fmt: skip
        theirs = library.SentencePieceProcessor(model_proto=written.getvalue())
        spec = read_sentencepiece_model(written.getvalue(), "learnt.model")
        found.append(Pair(kind, "sentencepiece", _plain(spec), theirs.encode))
    return found


def _plain(spec: Any) -> Callable[[], Callable[[str], Sequence[int]]]:
    """Makes encoders that remember nothing yet."""

    def fresh() -> Callable[[str], Sequence[int]]:
        tokenizer = build_tokenizer(spec)
        return lambda text: tokenizer.encode(text, add_special_tokens=False)

    return fresh
