"""What the files of Sentence Transformers say: how hidden states become the embedding of a text.

Source: sentence-transformers `modules.json`, `models/Pooling.py`, `models/Normalize.py`.
"""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath
from typing import Any

from realizar.errors import FormatError, ModelError
from realizar.huggingface.json_file import read_json, read_values
from realizar.huggingface.json_object import JsonObject, proven

log = logging.getLogger(__name__)

MAX_NBYTES = 1 << 20

POOLING_TYPES = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "last"}
"""By the ends of `pooling_mode_...`; of all modes one must be true."""


def read_sentence_embedding(folder: Path) -> dict[str, Any]:
    """`pooling_type` and `normalize_embeddings` of ModelConfig, empty where `folder` has no modules.json.

    Raises FormatError for malformed files, ModelError for a module or a mode of pooling that is not implemented.
    """
    path = folder / "modules.json"
    if not path.exists():
        return {}
    entries = JsonObject({"modules": read_values(path, MAX_NBYTES)}, str(path)).children("modules")
    found: dict[str, Any] = {}
    for module in entries:
        kind = module.required("type", str).rpartition(".")[2]
        if kind == "Pooling":
            found["pooling_type"] = _pooling_type(_inside(folder, module) / "config.json")
        elif kind == "Normalize":
            found["normalize_embeddings"] = True
        elif kind != "Transformer":
            raise ModelError(
                f"{module.source}: module {kind!r} is not implemented; known: Transformer, Pooling, Normalize"
            )
    _tell_of_prompts(folder)
    return found


def _inside(folder: Path, module: JsonObject) -> Path:
    """The folder of a module, which must lie inside `folder`."""
    name = module.required("path", str)
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or set(name) & set("\\:\0"):
        raise FormatError(f"{module.source}: found path {name!r}, expected a folder inside {folder}")
    return folder.joinpath(*parts)


def _pooling_type(path: Path) -> str:
    config = read_json(path, MAX_NBYTES)
    modes = [
        key.removeprefix("pooling_mode_")
        for key, value in config.items()
        if key.startswith("pooling_mode_") and proven(value, bool, f"{path}: {key}")
    ]
    if len(modes) != 1 or modes[0] not in POOLING_TYPES:
        raise ModelError(
            f"{path}: pooling by {' and '.join(modes) or 'nothing'} is not implemented; "
            f"expected one of {', '.join(POOLING_TYPES)}"
        )
    return POOLING_TYPES[modes[0]]


def _tell_of_prompts(folder: Path) -> None:
    """Warn of a prompt that Sentence Transformers puts before every text; here the caller does."""
    path = folder / "config_sentence_transformers.json"
    settings = JsonObject(read_json(path, MAX_NBYTES) if path.exists() else {}, str(path))
    name = settings.get("default_prompt_name", str)
    if name is not None:
        prompts = settings.child("prompts")
        prompt = None if prompts is None else prompts.get(name, str)
        log.warning("%s: texts should begin with %r, which is not added here", path, prompt)
