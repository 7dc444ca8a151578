"""What a tokenizer.json says beside its vocabulary. Light: the steps are loaded when a file has some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from realizar.pipeline.added_tokens import AddedToken
    from realizar.pipeline.decoders import Decoder
    from realizar.pipeline.normalizers import Normalizer
    from realizar.pipeline.pre_tokenizers import PreTokenizer


@attrs.frozen
class ModelOptions:
    """Fields of the model in a tokenizer.json.

    unk_token_id: what stands for text that no token spells; None: such text is an error.
    Of BPE: fuse_unk: one unknown token for a run. ignore_merges: a word that is a token is taken without merging.
    continuing_subword_prefix: of every piece but a word's first, also of WordPiece. end_of_word_suffix: of the last.
    byte_fallback: bytes as <0xXX> before unknown tokens, also of Unigram.
    """

    unk_token_id: int | None = None
    fuse_unk: bool = False
    ignore_merges: bool = False
    byte_fallback: bool = False
    continuing_subword_prefix: str = ""
    end_of_word_suffix: str = ""
    max_input_chars_per_word: int = 100


@attrs.frozen
class Pipeline:
    """Steps in the order in which they run.

    before, after: ids around a text. decoders: None for none at all, which puts spaces between tokens.
    """

    options: ModelOptions
    added_tokens: tuple[AddedToken, ...] = ()
    normalizers: tuple[Normalizer, ...] = ()
    pre_tokenizers: tuple[PreTokenizer, ...] = ()
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    decoders: tuple[Decoder, ...] | None = None
