"""Text to ids and back, in MB of UTF-8 a second; beside `tokenizers` and `sentencepiece` where those are installed."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from suite import chosen_model, parser
from timing import medians, print_table, seconds
from tokenizer_peers import Pair, mixed_text, pairs

from realizar import load_tokenizer
from realizar.model import TokenizerSpec

ROOT = Path(__file__).parents[2]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SCRIPTS = "Ελληνικά русский язык 日本語のテキスト 한국어 العربية हिन्दी ไทย naïve façade 😀🎉 ½ ٣٤\n"


def main() -> None:
    """One row a text."""
    chosen = parser(__doc__, model=True).parse_args()
    nbytes, rounds = (2_000, 1) if chosen.quick else (1_000_000, chosen.rounds)
    with chosen_model(chosen) as model:
        ours = load_tokenizer(model)
    theirs = _peer(ours.spec)
    heads = ["text", "encode MB/s", "decode MB/s"] + ([] if theirs is None else ["tokenizers encode", "decode"])
    rows = [[name, *_speeds(ours, theirs, text, rounds)] for name, text in _texts(nbytes).items()]
    print_table("Tokenizer", heads, rows)
    _compare(10_000_000 if not chosen.quick else 60_000, 8000 if not chosen.quick else 1500, rounds)


def _compare(nbytes: int, size: int, rounds: int) -> None:
    """One row a kind of vocabulary: a text without repetition, whole and line by line, each met for the first time.

    The libraries may break a tie of unigram otherwise; how many lines differ is a column.
    """
    text = mixed_text(nbytes)
    lines = text.split("\n")
    rows = []
    for pair in pairs(text, size):
        row = [pair.kind, pair.peer]
        for parts in ([text], lines):
            ours, theirs = zip(*(_first_times(pair, parts) for _ in range(rounds)), strict=True)
            row += [f"{len(text.encode()) / median(ours) / 1e6:.2f}", f"{median(theirs) / median(ours):.2f}"]
        encode = pair.ours()
        row.append(f"{sum(list(encode(line)) != list(pair.theirs(line)) for line in lines)} of {len(lines)}")
        rows.append(row)
    heads = ["kind", "peer", "whole MB/s", "x peer", "by line MB/s", "x peer", "lines that differ"]
    print_table(f"{len(text.encode()) / 1e6:.2f} MB of mixed text", heads, rows)


def _first_times(pair: Pair, parts: list[str]) -> tuple[float, float]:
    encode = pair.ours()
    return seconds(lambda: [encode(part) for part in parts]), seconds(lambda: [pair.theirs(part) for part in parts])


def _texts(nbytes: int) -> dict[str, str]:
    """About so many bytes of prose, of source code and of many scripts."""
    prose = (ROOT / "tests/data/prose.txt").read_text("utf-8")
    code = "".join(path.read_text("utf-8") for path in sorted(ROOT.glob("core/src/realizar/engine/*.py")))
    found = {"prose": prose, "source code": code, "many scripts": SCRIPTS}
    return {name: (text * (nbytes // len(text.encode()) + 1))[:nbytes] for name, text in found.items()}


def _speeds(ours: Any, theirs: Any, text: str, rounds: int) -> list[str]:
    ids = ours.encode(text, add_special_tokens=False)
    works = {"encode": lambda: ours.encode(text, add_special_tokens=False), "decode": lambda: ours.decode(ids)}
    if theirs is not None:
        assert theirs.encode(text, add_special_tokens=False).ids == ids, "the two do different work"
        works |= {
            "their encode": lambda: theirs.encode(text, add_special_tokens=False),
            "their decode": lambda: theirs.decode(ids),
        }
    return [f"{len(text.encode()) / time / 1e6:.2f}" for time in medians(works, rounds).values()]


def _peer(spec: TokenizerSpec) -> Any:
    """The same vocabulary, merges and rule in `tokenizers`; None, and a line that says why, where that cannot be."""
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    except ImportError:
        print("tokenizers is not installed: pip install tokenizers\n")
        return None
    rules = {
        "llama-bpe": [
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ],
        "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    }
    if spec.model != "bpe" or spec.pre not in rules:
        print(f"no rule for tokenizers here: a {spec.model} vocabulary with the pre-tokenizer {spec.pre}\n")
        return None
    vocab = {token: i for i, token in enumerate(spec.tokens)}
    merges = [tuple(merge.split(" ")) for merge in spec.merges]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=spec.pre == "llama-bpe"))
    made.pre_tokenizer = pre_tokenizers.Sequence(rules[spec.pre])
    made.decoder = decoders.ByteLevel()
    return made


if __name__ == "__main__":
    main()
