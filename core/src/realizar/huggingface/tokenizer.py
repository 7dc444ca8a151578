"""The tokenizer of a Hugging Face directory as a TokenizerSpec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from realizar.huggingface.chat_templates import read_chat_templates
from realizar.huggingface.fairseq_model import read_fairseq_model
from realizar.huggingface.json_file import read_json
from realizar.huggingface.json_object import JsonObject
from realizar.huggingface.special_ids import SpecialIds
from realizar.huggingface.tokenizer_json import read_tokenizer_json
from realizar.huggingface.tokenizer_model import read_tokenizer_model
from realizar.huggingface.vocabulary import Vocabulary, read_vocab_json, read_vocab_txt
from realizar.model import TokenizerSpec

MAX_SETTINGS_NBYTES = 1 << 24


def read_tokenizer(folder: Path, config: dict[str, Any], generation_config: dict[str, Any]) -> TokenizerSpec | None:
    """The tokenizer with its chat templates, None where the directory has no vocabulary.

    config, generation_config: the files of those names; ids that they give stand in for tokens that are not named.
    Raises FormatError for a malformed file and TokenizerError, saying what was found, for one that is not understood.
    """
    settings = _settings(folder)
    model_config = JsonObject(config, str(folder / "config.json"))
    size = model_config.get("vocab_size", int) or 0
    vocabulary = _vocabulary(folder, settings, size)
    if vocabulary is None:
        return None
    generation = JsonObject(generation_config, str(folder / "generation_config.json"))
    ids = SpecialIds(settings, (generation, model_config), vocabulary.pieces)
    before, after = _ends_of_text(vocabulary, settings)
    bos, end = (side[0] if len(side) == 1 else None for side in (vocabulary.frame.before, vocabulary.frame.after))
    roles = vocabulary.roles

    def one(role: str) -> int | None:
        found = ids.one(role)
        return roles.get(role) if found is None else found

    pipeline = vocabulary.options.get("pipeline")
    chat_template, named_chat_templates = read_chat_templates(folder, settings)
    return TokenizerSpec(
        model=vocabulary.model,
        tokens=vocabulary.pieces.tokens,
        token_types=vocabulary.pieces.types,
        source=vocabulary.source,
        bos_token_id=one("bos") if bos is None else bos,
        eos_token_ids=ids.ends(roles.get("eos") if end is None else end),
        unk_token_id=one("unk") if pipeline is None else pipeline.options.unk_token_id,
        pad_token_id=one("pad"),
        add_bos_token=before,
        add_eos_token=after,
        chat_template=chat_template,
        named_chat_templates=named_chat_templates,
        **vocabulary.options,
    )


def _settings(folder: Path) -> JsonObject:
    """tokenizer_config.json; what it leaves out comes from the older special_tokens_map.json."""
    values: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).exists():
            values |= read_json(folder / name, MAX_SETTINGS_NBYTES)
    return JsonObject(values, str(folder / "tokenizer_config.json"))


def _vocabulary(folder: Path, settings: JsonObject, size: int) -> Vocabulary | None:
    """The first of the files that is there, the newest kind before others."""
    if (path := folder / "tokenizer.json").exists():
        return read_tokenizer_json(path, size)
    if (path := folder / "tokenizer.model").exists():
        return read_tokenizer_model(path, settings, size)
    if (path := folder / "sentencepiece.bpe.model").exists():
        return read_fairseq_model(path, settings, size)
    if (path := folder / "vocab.json").exists():
        return read_vocab_json(path, settings, size)
    if (path := folder / "vocab.txt").exists():
        return read_vocab_txt(path, settings, size)
    return None


def _ends_of_text(vocabulary: Vocabulary, settings: JsonObject) -> tuple[bool, bool]:
    """Whether BOS and EOS are put around a text: by the post-processor, or where there is none by the settings."""
    frame = vocabulary.frame
    if vocabulary.source.endswith("tokenizer.json") or frame != type(frame)():
        return len(frame.before) == 1, len(frame.after) == 1
    return bool(settings.get("add_bos_token", bool)), bool(settings.get("add_eos_token", bool))
