"""A Hugging Face directory that tests put together file by file; loaded with runpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from realizar.huggingface.tokenizer import read_tokenizer
from realizar.model import TokenizerSpec

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
BPE = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
ADDED = [
    {"id": 3, "content": "<s>", "special": True},
    {"id": 4, "content": "</s>", "special": True},
    {"id": 5, "content": "<think>", "special": False},
]


def template(*single: str) -> dict[str, Any]:
    """A post-processor; "A" is the text, anything else a special token of that id."""
    parts = [{"Sequence": {"id": "A"}} if name == "A" else {"SpecialToken": {"id": name}} for name in single]
    tokens = {name: {"id": name, "ids": [int(name)], "tokens": [name]} for name in single if name != "A"}
    return {"type": "TemplateProcessing", "single": parts, "special_tokens": tokens}


class Folder:
    """A directory that is put together file by file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.json("tokenizer.json", self.tokenizer())

    def tokenizer(self, model: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        plain = {"added_tokens": ADDED, "pre_tokenizer": BYTE_LEVEL, "model": BPE | (model or {})}
        return {**plain, **changes}

    def json(self, name: str, values: object) -> None:
        (self.path / name).write_text(json.dumps(values), encoding="utf-8")

    def text(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(exist_ok=True)
        (self.path / name).write_text(text, encoding="utf-8")

    def change(self, model: dict[str, Any] | None = None, **changes: Any) -> None:
        self.json("tokenizer.json", self.tokenizer(model, **changes))

    def read(self, config: dict[str, Any] | None = None, generation: dict[str, Any] | None = None) -> TokenizerSpec:
        spec = read_tokenizer(self.path, config or {}, generation or {})
        assert spec is not None
        return spec
