"""WordPiece vocabularies as GGUF spells them: U+2581 before what begins a word, nothing before what continues one.

BERT's own files mark what continues a word, "##ing", and leave beginnings bare.
Source: llama.cpp `conversion/bert.py`, `BertModel.set_vocab`; `src/llama-vocab.cpp`, `llm_tokenizer_wpm`.
"""

from __future__ import annotations

from collections.abc import Sequence

from realizar.model import CONTROL, NORMAL, UNKNOWN, TokenizerSpec
from realizar_gguf.encoding import Typed
from realizar_gguf.metadata import ValueType

_CONTINUES, _BEGINS = "##", "\u2581"


def wordpiece_keys(spec: TokenizerSpec) -> dict[str, object]:
    """The tokenizer.ggml.* keys, without that prefix, that only these vocabularies have or that they have otherwise.

    Whether tokens are put around a text is written only where they are not, for llama.cpp always puts them there.
    """
    around = {"add_bos_token": spec.add_bos_token, "add_eos_token": spec.add_eos_token}
    strips = None if spec.strip_accents == spec.do_lower_case else spec.strip_accents
    return {
        "tokens": gguf_spelling(spec), "token_type": Typed(ValueType.INT32, _types(spec)),
        "normalizer.lowercase": None if spec.do_lower_case else False, "normalizer.strip_accents": strips,
        **{key: None if asked else False for key, asked in around.items()},
    }  # fmt: skip


def gguf_spelling(spec: TokenizerSpec) -> Sequence[str]:
    """The tokens in GGUF's spelling, which they may have already; those that are no pieces stay as they are."""
    tokens, types = list(spec.tokens), _types(spec)
    if sum(token.startswith(_BEGINS) for token in tokens) > sum(token.startswith(_CONTINUES) for token in tokens):
        return tokens
    return [_spelled(token) if kind == NORMAL else token for token, kind in zip(tokens, types, strict=True)]


def _spelled(token: str) -> str:
    return token.removeprefix(_CONTINUES) if token.startswith(_CONTINUES) else _BEGINS + token


def _types(spec: TokenizerSpec) -> list[int]:
    """As given, but tokens with a role are none of the pieces of a text."""
    types = list(spec.token_types or [NORMAL] * len(spec.tokens))
    roles = {spec.unk_token_id: UNKNOWN, **dict.fromkeys((spec.bos_token_id, *spec.eos_token_ids), CONTROL)}
    for token_id, kind in roles.items():
        if token_id is not None and types[token_id] == NORMAL:
            types[token_id] = kind
    return types
