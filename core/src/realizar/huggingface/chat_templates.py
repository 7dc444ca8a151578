"""The chat templates of a directory, wherever the libraries have put them over the years.

Source: transformers `tokenization_utils_base.py`: chat_template.jinja and additional_chat_templates/NAME.jinja come
before chat_template of tokenizer_config.json, which is one text or a list of named ones; processors write
chat_template.json.
"""

from __future__ import annotations

from pathlib import Path

from realizar.errors import FormatError
from realizar.huggingface.json_file import read_json, read_text
from realizar.huggingface.json_object import JsonObject

MAX_TEMPLATE_NBYTES = 1 << 20
MAX_TEMPLATES = 64


def read_chat_templates(folder: Path, settings: JsonObject) -> tuple[str | None, dict[str, str]]:
    """The template called default, and all others by name; raises FormatError."""
    templates = _in_settings(settings)
    if (path := folder / "chat_template.json").exists():
        found = JsonObject(read_json(path, MAX_TEMPLATE_NBYTES), str(path)).required("chat_template", str)
        templates["default"] = found
    if (path := folder / "chat_template.jinja").exists():
        templates["default"] = read_text(path, MAX_TEMPLATE_NBYTES)
    if (additional := folder / "additional_chat_templates").is_dir():
        paths = sorted(additional.glob("*.jinja"))
        _prove_count(len(paths), str(additional))
        templates |= {path.stem: read_text(path, MAX_TEMPLATE_NBYTES) for path in paths}
    return templates.pop("default", None), templates


def _in_settings(settings: JsonObject) -> dict[str, str]:
    if isinstance(settings.values.get("chat_template"), str):
        return {"default": settings.required("chat_template", str)}
    named = settings.children("chat_template")
    _prove_count(len(named), settings.source)
    return {entry.required("name", str): entry.required("template", str) for entry in named}


def _prove_count(count: int, source: str) -> None:
    if count > MAX_TEMPLATES:
        raise FormatError(f"{source}: found {count} chat templates, expected at most {MAX_TEMPLATES}")
