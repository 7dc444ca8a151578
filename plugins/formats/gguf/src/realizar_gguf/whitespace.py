"""Vocabularies called "whitespace": BPE on the characters of words, the white space between them dropped.

They run as a pipeline of core around the merges of a BPE plugin, as a tokenizer.json does.
Source: llama.cpp `src/llama-vocab.cpp`, llm_tokenizer_whitespace_session.
"""

from __future__ import annotations

import attrs

from realizar.errors import FormatError
from realizar.model import CONTROL, NORMAL, USER_DEFINED, TokenizerSpec
from realizar.pipeline.added_tokens import AddedToken
from realizar.pipeline.decoders import Fuse
from realizar.pipeline.normalizers import Lowercase
from realizar.pipeline.pipeline import ModelOptions, Pipeline
from realizar.pipeline.pre_tokenizers import WhitespaceSplit


def without_white_space(spec: TokenizerSpec, lowercase: bool) -> TokenizerSpec:
    """`spec` with its pipeline; raises FormatError if BOS or EOS is asked for and not named.

    Decoding joins the tokens: where there was white space cannot be known.
    """
    types = [NORMAL] * len(spec.tokens) if spec.token_types is None else list(spec.token_types)
    added = (i for i, kind in enumerate(types) if kind in (CONTROL, USER_DEFINED))
    end = next(iter(spec.eos_token_ids), None)
    pipeline = Pipeline(
        options=ModelOptions(unk_token_id=spec.unk_token_id, byte_fallback=True),
        added_tokens=tuple(AddedToken(i, spec.tokens[i], special=types[i] == CONTROL) for i in added),
        normalizers=(Lowercase(),) if lowercase else (),
        pre_tokenizers=(WhitespaceSplit(),),
        before=_asked_for(spec.add_bos_token, spec.bos_token_id, "BOS", spec.source),
        after=_asked_for(spec.add_eos_token, end, "EOS", spec.source),
        decoders=(Fuse(),),
    )
    return attrs.evolve(spec, pipeline=pipeline)


def _asked_for(asked: bool, token_id: int | None, name: str, source: str) -> tuple[int, ...]:
    if asked and token_id is None:
        raise FormatError(f"{source}: the file asks for {name} around every text but names no {name} token")
    return () if token_id is None or not asked else (token_id,)
