"""SentencePiece's tokenizer.model in a directory, with what tokenizer_config.json changes about it.

Source: transformers `convert_slow_tokenizer.py`: `legacy` puts a space before what follows an added token, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from realizar.errors import FormatError, TokenizerError
from realizar.huggingface.json_file import read_bytes, read_json
from realizar.huggingface.json_object import JsonObject
from realizar.huggingface.pieces import Pieces, join_pieces
from realizar.huggingface.post_processor import Frame
from realizar.huggingface.vocabulary import MAX_NBYTES, Vocabulary, added_in
from realizar.model import NORMAL, TokenizerSpec
from realizar.pipeline.added_tokens import AddedToken
from realizar.tokenizer_files.sentencepiece_model import read_sentencepiece_model

ENDS_BY_CLASS = {
    "LlamaTokenizer": (True, False), "CodeLlamaTokenizer": (True, False), "GemmaTokenizer": (True, False),
    "T5Tokenizer": (False, True),
}  # fmt: skip
"""Whether a text gets BOS and EOS where no key says so: the class that reads the file has it in its code."""


def read_tokenizer_model(path: Path, settings: JsonObject, size: int) -> Vocabulary:
    """The vocabulary of at least `size` tokens; raises FormatError, and TokenizerError for what is not known."""
    file = read_sentencepiece_model(read_bytes(path, MAX_NBYTES), str(path))
    pieces = _joined(file, _added(path.with_name("added_tokens.json"), settings), size)
    scores = [*(file.scores or ())]
    prefix = settings.get("add_prefix_space", bool)
    options = {
        "scores": scores + [0.0] * (len(pieces.tokens) - len(scores)),
        "add_space_prefix": file.add_space_prefix if prefix is None else prefix,
        "prepend_scheme": "first" if settings.get("legacy", bool) is False else "always",
        "remove_extra_whitespaces": file.remove_extra_whitespaces,
        "treat_whitespace_as_suffix": file.treat_whitespace_as_suffix,
        "precompiled_charsmap": file.precompiled_charsmap,
    }
    end = next(iter(file.eos_token_ids), None)
    roles = {"bos": file.bos_token_id, "eos": end, "unk": file.unk_token_id, "pad": file.pad_token_id}
    return Vocabulary(file.model, str(path), pieces, _frame(roles, settings), options, roles)


def _joined(file: TokenizerSpec, added: list[AddedToken], size: int) -> Pieces:
    """The pieces of the file with the added tokens behind or among them."""
    flagged = next((token.content for token in added if not token.is_plain), None)
    if flagged is not None:
        raise TokenizerError(
            f"{file.source}: added token {flagged[:40]!r} takes white space with it or stands alone only, which is "
            f"followed in tokenizer.json alone; save the tokenizer with a current version of transformers"
        )
    ids = {piece: i for i, piece in enumerate(file.tokens)}
    if len(ids) != len(file.tokens):
        raise FormatError(
            f"{file.source}: found {len(file.tokens)} pieces, {len(ids)} of them different, expected no piece twice"
        )
    pieces = join_pieces(ids, added, size, file.source)
    own = [*(file.token_types or ())]
    types = [own[i] if kind == NORMAL and i < len(own) else kind for i, kind in enumerate(pieces.types)]
    return attrs.evolve(pieces, types=types)


def _added(path: Path, settings: JsonObject) -> list[AddedToken]:
    """Those of tokenizer_config.json, and of the older added_tokens.json: ids by text."""
    added = added_in(settings)
    if path.exists():
        known = {token.token_id for token in added}
        older = JsonObject(read_json(path, MAX_NBYTES), str(path))
        ids = {content: older.required(content, int) for content in older.values}
        added += [AddedToken(token_id, content) for content, token_id in ids.items() if token_id not in known]
    return added


def _frame(roles: Mapping[str, int | None], settings: JsonObject) -> Frame:
    name = (settings.get("tokenizer_class", str) or "").removesuffix("Fast")
    asked = [settings.get(key, bool) for key in ("add_bos_token", "add_eos_token")]
    if asked == [None, None] and name not in ENDS_BY_CLASS:
        raise TokenizerError(
            f"{settings.source}: found tokenizer_class {name!r} and no add_bos_token, so that it is not known what is "
            f"put around a text; known: {', '.join(ENDS_BY_CLASS)}"
        )
    defaults = ENDS_BY_CLASS.get(name, (False, False))
    ids = [roles["bos"], roles["eos"]]
    sides = [
        (token_id,) if token_id is not None and (default if flag is None else flag) else ()
        for token_id, flag, default in zip(ids, asked, defaults, strict=True)
    ]
    return Frame(*sides)
