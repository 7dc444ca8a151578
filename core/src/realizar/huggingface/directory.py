"""A directory as Hugging Face libraries save a model: JSON files with fixed names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from realizar.errors import TokenizerError
from realizar.huggingface.json_file import read_json
from realizar.huggingface.sentence_embedding import read_sentence_embedding
from realizar.huggingface.tokenizer import read_tokenizer
from realizar.model import TokenizerSpec

MAX_CONFIG_NBYTES = 1 << 22


class HuggingFaceDirectory:
    """What `path` says beside its tensors; a file that is not there counts as empty. Raises FormatError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = self._read("config.json")
        self.generation_config = self._read("generation_config.json")

    def model_config(self) -> dict[str, Any]:
        """config.json, and what the files of Sentence Transformers add to it; raises ModelError."""
        return {**self.config, **read_sentence_embedding(self.path)}

    def metadata(self) -> dict[str, Any]:
        """The two configurations under the names of their files, as far as they are there."""
        found = {"config.json": self.config, "generation_config.json": self.generation_config}
        return {name: values for name, values in found.items() if values}

    def tokenizer(self) -> tuple[TokenizerSpec | None, str]:
        """The tokenizer with its chat templates, or why there is none."""
        try:
            found = read_tokenizer(self.path, self.config, self.generation_config)
        except TokenizerError as error:
            return None, str(error)
        return found, "" if found else "there are no tokenizer files beside it"

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        return read_json(path, MAX_CONFIG_NBYTES) if path.exists() else {}
