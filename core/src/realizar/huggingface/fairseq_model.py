"""sentencepiece.bpe.model in a directory: unigram pieces whose ids are fairseq's, the tokenizer of XLM-RoBERTa.

fairseq puts tokens of its own first, so that the file's three (unknown, BOS, EOS) give way to four, and a mask last.
Source: transformers `convert_slow_tokenizer.py`, XLMRobertaConverter; `tokenization_xlm_roberta.py`.
"""

from __future__ import annotations

from pathlib import Path

from realizar.errors import TokenizerError
from realizar.huggingface.json_file import read_bytes
from realizar.huggingface.json_object import JsonObject
from realizar.huggingface.pieces import Pieces, join_pieces
from realizar.huggingface.post_processor import Frame
from realizar.huggingface.vocabulary import MAX_NBYTES, Vocabulary
from realizar.model import CONTROL, UNKNOWN, TokenizerSpec
from realizar.pipeline.added_tokens import AddedToken
from realizar.pipeline.decoders import Metaspace as Unspaced
from realizar.pipeline.normalizers import Precompiled
from realizar.pipeline.pipeline import ModelOptions, Pipeline
from realizar.pipeline.pre_tokenizers import Metaspace, WhitespaceSplit
from realizar.tokenizer_files.sentencepiece_model import read_sentencepiece_model

CLASSES = ("XLMRobertaTokenizer",)
"""Tokenizer classes that number the pieces so; others with a file of this name have other tokens in front."""

FIRST = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
BOS, PAD, EOS, UNK = range(4)


def read_fairseq_model(path: Path, settings: JsonObject, size: int) -> Vocabulary:
    """The vocabulary of at least `size` tokens; raises FormatError, and TokenizerError for what is not known."""
    name = settings.get("tokenizer_class", str)
    if (name or "").removesuffix("Fast") not in CLASSES:
        raise TokenizerError(
            f"{path}: for tokenizer_class {name!r} it is not known how its pieces are numbered; known: "
            f"{', '.join(CLASSES)}. Save the tokenizer with a current version of transformers, as tokenizer.json"
        )
    file = read_sentencepiece_model(read_bytes(path, MAX_NBYTES), str(path))
    _prove_front(file)
    tokens = [*FIRST, *file.tokens[3:], MASK]
    added = [
        *(AddedToken(i, token, special=True) for i, token in enumerate(FIRST)),
        AddedToken(len(tokens) - 1, MASK, special=True, lstrip=True),
    ]
    pieces = _joined(tokens, added, size, file.source)
    scores = [*[0.0] * len(FIRST), *(file.scores or ())[3:]]
    pipeline = Pipeline(
        options=ModelOptions(unk_token_id=UNK),
        added_tokens=tuple(added),
        normalizers=(Precompiled(file.precompiled_charsmap, file.source),) if file.precompiled_charsmap else (),
        pre_tokenizers=(WhitespaceSplit(), Metaspace("\u2581", "always")),
        before=(BOS,),
        after=(EOS,),
        decoders=(Unspaced("\u2581", "always"),),
    )
    options = {"scores": scores + [0.0] * (len(pieces.tokens) - len(scores)), "pipeline": pipeline}
    roles = {"bos": BOS, "eos": EOS, "unk": UNK, "pad": PAD}
    return Vocabulary("unigram", file.source, pieces, Frame((BOS,), (EOS,)), options, roles)


def _prove_front(file: TokenizerSpec) -> None:
    kinds = list(file.token_types or ())[:3]
    if file.model != "unigram" or kinds != [UNKNOWN, CONTROL, CONTROL]:
        raise TokenizerError(
            f"{file.source}: found a {file.model} model whose first pieces are {list(file.tokens[:3])}, expected "
            f"unigram with the unknown token and two control tokens in front, as fairseq numbers them"
        )


def _joined(tokens: list[str], added: list[AddedToken], size: int, source: str) -> Pieces:
    ids = {token: i for i, token in enumerate(tokens)}
    if len(ids) != len(tokens):
        raise TokenizerError(f"{source}: found {len(tokens)} pieces, {len(ids)} of them different, expected none twice")
    return join_pieces(ids, added, size, source)
