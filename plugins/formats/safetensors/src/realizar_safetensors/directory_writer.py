"""A model as a Hugging Face directory: config.json, tokenizer, chat templates, model.safetensors.

The directory is put together under a temporary name beside its own and renamed when it is complete.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from realizar.conversion.source_metadata import KEY, packed
from realizar.errors import FormatError
from realizar.huggingface.checkpoints import as_checkpoint, checkpoint_tensors
from realizar.huggingface.config_json import config_json
from realizar.huggingface.directory import HuggingFaceDirectory
from realizar.huggingface.tokenizer_writer import generation_settings, tokenizer_json, tokenizer_settings
from realizar.model import ModelFile, TokenizerSpec
from realizar.progress import Progress
from realizar.tensors import LazyTensor
from realizar.tokenizer_files.sentencepiece_model import write_sentencepiece_model
from realizar_safetensors.model_files import SUFFIX
from realizar_safetensors.writer import write_safetensors

log = logging.getLogger(__name__)

CARRIED = (
    "tokenizer.json", "tokenizer.model", "sentencepiece.bpe.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "chat_template.jinja", "chat_template.json",
    "generation_config.json",
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json",
)  # fmt: skip
"""Files beside the weights that go along from one directory to another as they are, and additional templates."""

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def write_directory(path: Path, model: ModelFile, progress: Progress) -> None:
    """Write `model`; raises FormatError for what such a directory cannot hold."""
    if path.name.endswith(SUFFIX):
        raise FormatError(f"{path}: a Hugging Face directory is written, not a single file; name a directory")
    if path.exists():
        raise FormatError(f"{path}: is there already, and a directory is never replaced; remove it or name another")
    if model.config is None:
        raise FormatError(f"{model.path}: cannot be written: {model.no_config or 'it has no configuration'}")
    model_config, canonical = as_checkpoint(model.config, model.tensors)
    tensors = checkpoint_tensors(model_config, canonical)
    described: Any = model.metadata.get("config.json", {})
    config = config_json(model_config, canonical, described if isinstance(described, dict) else {})
    config["dtype"] = _dtype(tensors)
    config.pop("torch_dtype", None)
    with _complete(path) as folder:
        if model.format == "safetensors":
            _copy_files(model.path if model.path.is_dir() else model.path.parent, folder)
        elif model.tokenizer is not None:
            _write_tokenizer(model.tokenizer, folder)
            config |= generation_settings(model.tokenizer)
        _json(folder / "config.json", config)
        _tell_of_losses(model, folder)
        carried = packed(model)
        metadata = {"format": "pt"} if carried is None else {"format": "pt", KEY: carried}
        write_safetensors(folder / f"model{SUFFIX}", _counted(tensors, progress), metadata)
        progress("writing", len(tensors), len(tensors))


@contextlib.contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """A new directory that gets the name `path` only if nothing fails."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _dtype(tensors: list[LazyTensor]) -> str:
    """The type of most bytes, as config.json calls it."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.dtype.name] += tensor.nbytes
    main = sizes.most_common(1)[0][0]
    return DTYPES.get(main, "float32")


def _counted(tensors: list[LazyTensor], progress: Progress) -> list[LazyTensor]:
    """The tensors, each telling when it is read."""

    def telling(tensor: LazyTensor, done: int) -> LazyTensor:
        def read() -> Any:
            progress("writing", done, len(tensors))
            return tensor.read()

        return attrs.evolve(tensor, read=read)

    return [telling(tensor, i) for i, tensor in enumerate(tensors)]


def _copy_files(source: Path, folder: Path) -> None:
    names = [
        *CARRIED,
        *(f"additional_chat_templates/{p.name}" for p in source.glob("additional_chat_templates/*.jinja")),
    ]
    for name in names:
        if (source / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, folder / name)


def _write_tokenizer(spec: TokenizerSpec, folder: Path) -> None:
    if spec.model in ("bpe", "wordpiece"):
        _json(folder / "tokenizer.json", tokenizer_json(spec))
    else:
        (folder / "tokenizer.model").write_bytes(write_sentencepiece_model(spec))
    _json(folder / "tokenizer_config.json", tokenizer_settings(spec))
    _json(folder / "generation_config.json", generation_settings(spec))
    if spec.chat_template is not None:
        (folder / "chat_template.jinja").write_text(spec.chat_template, encoding="utf-8", newline="")
    for name, text in spec.named_chat_templates.items():
        if not name.replace("_", "").replace("-", "").isalnum():
            raise FormatError(f"{spec.source}: found a chat template named {name!r}, which cannot name a file")
        (folder / "additional_chat_templates").mkdir(exist_ok=True)
        (folder / "additional_chat_templates" / f"{name}.jinja").write_text(text, encoding="utf-8", newline="")


def _tell_of_losses(model: ModelFile, folder: Path) -> None:
    """Warn where the tokenizer that was written is not read back as it was."""
    if model.tokenizer is None:
        return
    written, reason = HuggingFaceDirectory(folder).tokenizer()
    if written is None:
        log.warning("%s: the tokenizer that is written cannot be read back here: %s", model.path, reason)
        return
    names = [field.name for field in attrs.fields(TokenizerSpec) if field.name not in ("source", "scores")]
    unlike = [name for name in names if not _same(getattr(model.tokenizer, name), getattr(written, name))]
    if unlike:
        log.warning("%s: these of the tokenizer are not kept: %s", model.path, ", ".join(unlike))


def _same(one: Any, other: Any) -> bool:
    if hasattr(one, "__len__") and hasattr(other, "__len__") and not isinstance(one, (str, bytes, dict)):
        return len(one) == len(other) and all(a == b for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
