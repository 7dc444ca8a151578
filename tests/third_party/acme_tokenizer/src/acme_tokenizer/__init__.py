"""A tokenizer: every byte of UTF-8 is a token."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

import realizar
from realizar.errors import TokenizerError
from realizar.model import TokenizerSpec
from realizar.tokenizers import StreamDecoder, Tokenizer, TokenizerFactory

REALIZAR_API = (1, 0)


class BytesTokenizer(Tokenizer):
    def __init__(self, spec: TokenizerSpec) -> None:
        self.spec = spec

    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        try:
            return list(text.encode())
        except UnicodeEncodeError as error:
            raise TokenizerError(f"the text is not Unicode: {error}") from error

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        return b"".join(map(self.token_bytes, ids)).decode(errors="replace")

    def stream(self, *, skip_special_tokens: bool = True) -> StreamDecoder:
        return BytesStream(self)

    def token_bytes(self, token_id: int) -> bytes:
        if not 0 <= token_id < 256:
            raise TokenizerError(f"token id {token_id} is no byte")
        return bytes([token_id])


class BytesStream(StreamDecoder):
    def __init__(self, tokenizer: BytesTokenizer) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        return self._decoder.decode(self._token_bytes(token_id))

    def finish(self) -> str:
        return self._decoder.decode(b"", True)


class BytesFactory(TokenizerFactory):
    name = "acme"

    def supports(self, spec: TokenizerSpec) -> int:
        return 100 if spec.model == "acme-bytes" else 0

    def build(self, spec: TokenizerSpec) -> Tokenizer:
        return BytesTokenizer(spec)


@realizar.hookimpl
def realizar_tokenizers() -> list[TokenizerFactory]:
    return [BytesFactory()]
