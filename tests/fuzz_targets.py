"""What `fuzz.py` feeds: for each reader of strangers' files, good and bad files to start from, and a full use."""

from __future__ import annotations

import contextlib
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from realizar.huggingface.tokenizer import read_tokenizer
from realizar.model import TokenizerSpec
from realizar.plugins import host
from realizar.selection import build_graph, build_tokenizer, named

ROOT = Path(__file__).parents[1]
TEXT = "Hello, <s>naïve</s>  don't 漢字\n１２３ 👍🏽 \0 ▁a<0x0A>"
ROOM = 4096
"""Bytes of JSON in some files, spaces at the end, so that what is changed in it has room."""


class Target(NamedTuple):
    """seal: puts checksums right. json: where JSON lies in a file, from and to, None where there is none."""

    seeds: Callable[[], dict[str, bytes]]
    use: Callable[[Path], None]
    filename: str
    seal: Callable[[bytes], bytes] = bytes
    json: Callable[[bytes], tuple[int, int] | None] = lambda content: None


def corpus(word: str) -> dict[str, Any]:
    """The malformed and odd files that the format's own tests begin with."""
    return runpy.run_path(str(ROOT / f"plugins/formats/{word}/tests/make_hostile.py"))


def hostile(word: str) -> dict[str, bytes]:
    loaded = corpus(word)
    return {**{name: content for name, (content, _) in loaded["CASES"].items()}, **loaded["VALID"]}


def use_model(word: str) -> Callable[[Path], None]:
    """Opens a file as `run` does, up to where a backend would begin."""

    def use(path: Path) -> None:
        with contextlib.closing(named("format", word, host()).contribution.open(path)) as file:
            repr(dict(file.metadata))
            for tensor in file.tensors.values():
                tensor.to_float32()
            if file.config is not None:
                build_graph(file.config, file.tensors)
            if file.tokenizer is not None:
                use_tokenizer(file.tokenizer)

    return use


def use_tokenizer(spec: TokenizerSpec) -> None:
    tokenizer = build_tokenizer(spec)
    ids = tokenizer.encode(TEXT, parse_special=True)
    tokenizer.decode(ids)
    stream = tokenizer.stream(skip_special_tokens=False)
    for token_id in range(min(300, len(spec.tokens))):
        stream.push(token_id)
    stream.finish()


def use_directory(path: Path) -> None:
    spec = read_tokenizer(path.parent, {}, {})
    if spec is not None:
        use_tokenizer(spec)


def safetensors_seeds() -> dict[str, bytes]:
    seeds = hostile("safetensors")
    for name, content in corpus("safetensors")["VALID"].items():
        nbytes = int.from_bytes(content[:8], "little")
        seeds[f"{name}_roomy"] = (
            ROOM.to_bytes(8, "little") + content[8 : 8 + nbytes].ljust(ROOM) + content[8 + nbytes :]
        )
    return seeds


def safetensors_json(content: bytes) -> tuple[int, int] | None:
    stop = 8 + int.from_bytes(content[:8], "little")
    return (8, stop) if stop <= len(content) else None


def apr_seeds() -> dict[str, bytes]:
    loaded = corpus("apr")
    metadata = json.dumps(loaded["CONFIG"] | loaded["WORDS"]).encode().ljust(ROOM)
    names = ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "blk.0.attn_k.weight"]
    records = [loaded["record"](name, 0, (3, 8), i * 128, 96) for i, name in enumerate(names)]
    return {**hostile("apr"), "roomy": loaded["file"](metadata, records, bytes(384))}


def apr_seal(content: bytes) -> bytes:
    return corpus_apr["with_front"](content, 0, b"") if len(content) >= 64 else content


def apr_json(content: bytes) -> tuple[int, int] | None:
    start, nbytes = (int.from_bytes(content[at : at + size], "little") for at, size in ((12, 8), (20, 4)))
    return (start, start + nbytes) if start + nbytes <= len(content) else None


WORD_MODELS: dict[str, dict[str, Any]] = {
    "bpe": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3, "Ġ": 4}, "merges": ["a b"], "unk_token": "<s>"},
    "bytes": {
        "type": "BPE", "vocab": {"<unk>": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}, "▁": 257},
        "merges": [], "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True, "ignore_merges": True,
    },
    "unigram": {
        "type": "Unigram", "unk_id": 0, "byte_fallback": False,
        "vocab": [["<unk>", 0], ["▁", -1.5], ["a", -2.0], ["ab", -3.25], ["▁a", -2.5]],
    },
    "wordpiece": {
        "type": "WordPiece", "vocab": {"[UNK]": 0, "<x>": 1, "a": 2, "##b": 3, "hello": 4}, "unk_token": "[UNK]",
        "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
    },
}  # fmt: skip
PATTERN = {"Regex": r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}]+[\r\n]*|\s+(?!\S)"}
NORMALIZERS: list[dict[str, Any]] = [
    {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": PATTERN, "content": "a"}, {"type": "Strip", "strip_left": True, "strip_right": True},
    {"type": "Precompiled", "precompiled_charsmap": ""}, {"type": "ByteLevel"},
    *({"type": kind} for kind in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt")),
]  # fmt: skip
PRE_TOKENIZERS: list[dict[str, Any]] = [
    {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True, "trim_offsets": True},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
    {"type": "Split", "pattern": PATTERN, "behavior": "MergedWithNext", "invert": False},
    {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": True},
    {"type": "CharDelimiterSplit", "delimiter": "e"}, {"type": "FixedLength", "length": 5},
    *({"type": kind} for kind in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")),
]  # fmt: skip
DECODERS: list[dict[str, Any]] = [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    {"type": "WordPiece", "prefix": "##", "cleanup": True}, {"type": "BPEDecoder", "suffix": "</w>"},
    *({"type": kind} for kind in ("ByteLevel", "ByteFallback", "Fuse")),
]  # fmt: skip
ADDED = {"content": "<x>", "special": True, "lstrip": True, "rstrip": False, "single_word": True, "normalized": True}
AS_BERT = {
    "added_tokens": [{"id": i, "content": token, "special": True} for i, token in enumerate(("[UNK]", "<x>"))],
    "normalizer": NORMALIZERS[0],
    "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": DECODERS[3],
}  # fmt: skip
"""All that goes with WordPiece."""


def tokenizer_seeds() -> dict[str, bytes]:
    """Every model bare, framed and with every single step."""
    files = {}
    for word, model in WORD_MODELS.items():
        token_id = len(model["vocab"])
        plain = {"added_tokens": [ADDED | {"id": token_id}], "model": model}
        if word == "wordpiece":
            files[word] = plain | AS_BERT | {"post_processor": frame(1)}
            continue
        files[word] = plain | {"post_processor": frame(token_id)}
        for field, steps in {"normalizer": NORMALIZERS, "pre_tokenizer": PRE_TOKENIZERS, "decoder": DECODERS}.items():
            for i, step in enumerate(steps):
                files[f"{word}-{field}-{i}"] = plain | {field: step}
    return {name: json.dumps(values).encode() for name, values in files.items()}


def frame(token_id: int) -> dict[str, Any]:
    """A post-processor that puts the added token before every text."""
    tokens = {"<x>": {"id": "<x>", "ids": [token_id], "tokens": ["<x>"]}}
    single = [{"SpecialToken": {"id": "<x>"}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": single, "special_tokens": tokens}


corpus_apr = corpus("apr")
TARGETS = {
    "gguf": Target(lambda: hostile("gguf"), use_model("gguf"), "model.gguf"),
    "safetensors": Target(
        safetensors_seeds, use_model("safetensors"), "model.safetensors", json=safetensors_json
    ),
    "apr": Target(apr_seeds, use_model("apr"), "model.apr", apr_seal, apr_json),
    "tokenizer_json": Target(
        tokenizer_seeds, use_directory, "tokenizer.json", json=lambda content: (0, len(content))
    ),
}  # fmt: skip
