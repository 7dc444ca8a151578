"""The tokenizer's keys as a TokenizerSpec. Source: GGUF specification, "Tokenizer"; llama.cpp `src/llama-vocab.cpp`.

What a file leaves out is filled in as llama.cpp does, by kind of vocabulary:

| model      | add_bos | add_eos | add_space_prefix | bos, eos, unk, pad  |
|------------|---------|---------|------------------|---------------------|
| spm        | yes     | no      | yes              | 1, 2, 0, -          |
| unigram    | no      | yes     | no               | -, 1, 2, 0          |
| wordpiece  | yes     | yes     | no               | 101, 102, 100, 0    |
| bpe        | by pre  | no      | no               | none                |
| gemma4     | yes     | no      | no               | none                |
| sarvam-moe | no      | no      | no               | none                |
| whitespace | no      | no      | no               | none                |

What ends a text of wordpiece is its separator, [SEP].
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs
import numpy as np

from realizar.errors import FormatError
from realizar.ggml_names import BOS_BY_PRE
from realizar.model import BYTE, NORMAL, TokenizerSpec
from realizar_gguf.arrays import LazyArray
from realizar_gguf.metadata import Metadata, ValueType
from realizar_gguf.whitespace import without_white_space

MODELS = {
    "gpt2": "bpe", "llama": "spm", "gemma4": "spm", "sarvam-moe": "spm", "t5": "unigram", "bert": "wordpiece",
    "whitespace": "bpe",
}  # fmt: skip
"""gemma4 and sarvam-moe are spm by a table of merges; if there are scores, they are all the same."""

RAW_PRE = {"gemma4": "gemma4", "granite-embed-multi-311m": "gemma4", "sarvam-moe": "sarvam-moe"}
"""Pre-tokenizers of "gpt2" files that do not merge bytes but characters, as spm does: what such a file is instead."""

BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


@attrs.frozen
class _Defaults:
    add_bos: bool = False
    add_eos: bool = False
    add_space_prefix: bool = False
    bos: int | None = None
    eos: int | None = None
    unk: int | None = None
    pad: int | None = None


_DEFAULTS = {
    "spm": _Defaults(add_bos=True, add_space_prefix=True, bos=1, eos=2, unk=0),
    "unigram": _Defaults(add_eos=True, eos=1, unk=2, pad=0),
    "wordpiece": _Defaults(add_bos=True, add_eos=True, bos=101, eos=102, unk=100, pad=0),
    "gemma4": _Defaults(add_bos=True),
    "sarvam-moe": _Defaults(),
}


def read_tokenizer(metadata: Metadata) -> TokenizerSpec | None:
    """The tokenizer's specification, or None if the file has no vocabulary."""
    model = metadata.string("tokenizer.ggml.model")
    if model in (None, "none", "no_vocab"):
        return None
    assert model is not None
    tokens = metadata.array("tokenizer.ggml.tokens", ValueType.STRING)
    if tokens is None:
        raise metadata.error("tokenizer.ggml.model", "the key tokenizer.ggml.tokens beside it")
    pre = metadata.string("tokenizer.ggml.pre")
    kind = RAW_PRE.get(pre or "", model) if model == "gpt2" else model
    types: Sequence[object] | None = _per_token(metadata, "tokenizer.ggml.token_type", ValueType.INT32, len(tokens))
    if kind != model and types is not None:
        types = _telling_bytes(tokens, types)
    model = MODELS.get(kind, kind)
    by_pre = _Defaults(add_bos=model == "bpe" and pre in BOS_BY_PRE)
    defaults = _DEFAULTS.get(kind) or _DEFAULTS.get(model, by_pre)
    scores = _per_token(metadata, "tokenizer.ggml.scores", ValueType.FLOAT32, len(tokens))
    ids = _SpecialIds(metadata, len(tokens))
    lower = _flag(metadata, "normalizer.lowercase", True)
    spec = TokenizerSpec(
        model=model,
        tokens=tokens,  # type: ignore[arg-type]
        source=metadata.file,
        pre=pre,
        token_types=types,  # type: ignore[arg-type]
        merges=metadata.array("tokenizer.ggml.merges", ValueType.STRING),  # type: ignore[arg-type]
        scores=None if kind in RAW_PRE.values() else scores,  # type: ignore[arg-type]
        bos_token_id=ids.get("bos", defaults.bos),
        eos_token_ids=ids.ends("seperator" if model == "wordpiece" else "eos", defaults.eos),
        unk_token_id=ids.get("unknown", defaults.unk),
        pad_token_id=ids.get("padding", defaults.pad),
        add_bos_token=_flag(metadata, "add_bos_token", defaults.add_bos),
        add_eos_token=_flag(metadata, "add_eos_token", defaults.add_eos),
        add_space_prefix=_flag(metadata, "add_space_prefix", defaults.add_space_prefix),
        do_lower_case=lower,
        strip_accents=_flag(metadata, "normalizer.strip_accents", lower),
        remove_extra_whitespaces=_flag(metadata, "remove_extra_whitespaces", False),
        precompiled_charsmap=_charsmap(metadata),
        chat_template=metadata.string("tokenizer.chat_template"),
        named_chat_templates=_named_templates(metadata),
    )
    if kind != "whitespace":
        return spec
    return without_white_space(spec, _flag(metadata, "normalizer.lowercase", False))


def _telling_bytes(tokens: Iterable[object], types: Iterable[object]) -> list[object]:
    """The types of a "gpt2" file, where bytes have the type of any other token."""
    pairs = zip(tokens, types, strict=True)
    return [BYTE if kind == NORMAL and BYTE_PIECE.fullmatch(str(token)) else kind for token, kind in pairs]


@attrs.frozen
class _SpecialIds:
    metadata: Metadata
    num_tokens: int

    def get(self, name: str, default: int | None = None) -> int | None:
        """The id under tokenizer.ggml.NAME_token_id, inside the vocabulary; a default outside it is dropped."""
        found = self.metadata.integer(f"tokenizer.ggml.{name}_token_id", 0, self.num_tokens - 1)
        if found is None and default is not None and default < self.num_tokens:
            return default
        return found

    def ends(self, name: str, default: int | None) -> tuple[int, ...]:
        """End of sequence (under `name`), of turn, of message: each once, in this order."""
        found = (self.get(name, default), self.get("eot"), self.get("eom"))
        return tuple(dict.fromkeys(token_id for token_id in found if token_id is not None))


def _flag(metadata: Metadata, name: str, default: bool) -> bool:
    value = metadata.boolean(f"tokenizer.ggml.{name}")
    return default if value is None else value


def _charsmap(metadata: Metadata) -> bytes | None:
    """The bytes under tokenizer.ggml.precompiled_charsmap; converters write them as UINT8 or INT8."""
    key = "tokenizer.ggml.precompiled_charsmap"
    if key not in metadata:
        return None
    if metadata.entries[key].type is ValueType.INT8:
        return np.array(list(metadata.array(key, ValueType.INT8) or ()), np.int8).tobytes()
    return bytes(metadata.array(key, ValueType.UINT8) or ())  # type: ignore[arg-type]


def _per_token(metadata: Metadata, key: str, type_: ValueType, num_tokens: int) -> LazyArray[object] | None:
    values = metadata.array(key, type_)
    if values is not None and len(values) != num_tokens:
        raise _length_error(metadata, key, len(values), num_tokens)
    return values


def _length_error(metadata: Metadata, key: str, found: int, num_tokens: int) -> FormatError:
    return metadata.error(key, f"{num_tokens} elements, one for each token, not {found}")


def _named_templates(metadata: Metadata) -> dict[str, str]:
    """Templates under tokenizer.chat_template.NAME."""
    prefix = "tokenizer.chat_template."
    templates = {key.removeprefix(prefix): metadata.string(key) for key in metadata if key.startswith(prefix)}
    return {name: text for name, text in templates.items() if text is not None}
