"""Which tokens may come next: llguidance, and the bytes of our own tokenizers."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from realizar.errors import RequestError
from realizar.model import CONTROL, UNKNOWN, UNUSED
from realizar.structured.json_schema import pointer, walk
from realizar.structured.structure import JsonSchema, Structure
from realizar.tokenizers import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

CACHED_GRAMMARS = 64
"""Compiled structures that are kept for the next request, a model."""

_vocabularies: weakref.WeakKeyDictionary[Tokenizer, Vocabulary] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def prove(structure: Structure, tokenizer: Tokenizer) -> None:
    """Raise RequestError if the structure cannot be kept with this vocabulary; what is compiled stays for its use."""
    start(structure, tokenizer)


def start(structure: Structure, tokenizer: Tokenizer) -> Matcher:
    """A matcher at the start of an output, one for each sequence; raises RequestError as `prove` does."""
    with _lock:
        if tokenizer not in _vocabularies:
            _vocabularies[tokenizer] = Vocabulary(tokenizer)
        vocabulary = _vocabularies[tokenizer]
    return Matcher(vocabulary.compiled(structure).deep_copy())


class Matcher:
    """Follows one output; not to be shared."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self._num_tokens = 0

    def allowed(self) -> NDArray[np.bool_]:
        """Whether each token may come next, [tokens of the tokenizer, rounded up]; end tokens where it may end."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._prove_alive()
        return np.unpackbits(bits, bitorder="little").view(np.bool_)

    def accept(self, token_id: int) -> None:
        """Go on with an allowed token."""
        self._matcher.consume_token(token_id)
        self._num_tokens += 1
        self._prove_alive()

    @property
    def ended(self) -> bool:
        """Whether the text is complete and nothing can follow."""
        return bool(self._matcher.is_stopped())

    def _prove_alive(self) -> None:
        if self._matcher.is_error():
            raise RequestError(
                f"structured: after {self._num_tokens} tokens no token can follow ({_first_line(self._matcher)}): the "
                f"vocabulary cannot spell what must come, or the structure is too complex; simplify it"
            )


class Vocabulary:
    """A tokenizer as llguidance sees it, and the structures compiled for it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        library = _library()
        self._limits = library.LLParserLimits(verbose_errors=False)
        self._matcher_class: type[LLMatcher] = library.LLMatcher
        self._tokenizer: LLTokenizer = _ll_tokenizer(tokenizer)
        self.compiled = lru_cache(CACHED_GRAMMARS)(self._compile)

    def _compile(self, structure: Structure) -> LLMatcher:
        matcher = self._matcher(structure.lark())
        if matcher.is_error():
            raise RequestError(self._refusal(structure, _first_line(matcher)))
        matcher.compute_bitmask()  # llguidance notices only here that nothing at all can follow
        if matcher.is_error() or (matcher.is_stopped() and not matcher.is_accepting()):
            raise RequestError(f"{_name(structure)}: no text satisfies it: {_first_line(matcher)}")
        return matcher

    def _matcher(self, lark: str) -> LLMatcher:
        return self._matcher_class(self._tokenizer, lark, log_level=0, limits=self._limits)

    def _refusal(self, structure: Structure, reason: str) -> str:
        if isinstance(structure, JsonSchema):
            return f"json_schema: {self._blame(structure)}: {reason}"
        return f"{_name(structure)}: {reason}"

    def _blame(self, structure: JsonSchema) -> str:
        """The path of the innermost schema that is refused alone, the root where only the whole is."""
        schema = json.loads(structure.schema)
        names = {} if schema is False else {name: schema[name] for name in ("$defs", "definitions") if name in schema}
        for path, node in _innermost_first(schema):
            if path and isinstance(node, dict) and self._matcher(JsonSchema(names | node).lark()).is_error():
                return pointer(path)
        return "#"


def _innermost_first(schema: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The schemas inside of a schema, as many as may be tried when one is refused."""
    found = sorted(walk(schema), key=lambda item: -len(item[0]))
    return iter(found[:256])


def _name(structure: Structure) -> str:
    return {"JsonSchema": "json_schema"}.get(type(structure).__name__, type(structure).__name__.lower())


def _first_line(matcher: LLMatcher) -> str:
    text = matcher.get_error() or f"it stopped with {matcher.stop_reason()}"
    return text.replace("<non-verbose/>", "").strip()[:500]


def _library() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise RequestError(
            "structured output needs llguidance; install it with: pip install 'realizar[structured]'"
        ) from error
    return llguidance


def _ll_tokenizer(tokenizer: Tokenizer) -> LLTokenizer:
    from llguidance import LLTokenizer

    wrapped: Any = _Tokens(tokenizer)
    return LLTokenizer(wrapped, eos_token=wrapped.eos_token_ids)


class _Tokens:
    """The bytes of all tokens, under the names that llguidance reads.

    Byte 0xFF, which no UTF-8 text has, marks control tokens there: tokens with it are never allowed.
    A vocabulary without an end token gets one behind its last, which no row of logits has.
    """

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        spec = tokenizer.spec
        size = len(spec.tokens)
        spelled = map(tokenizer.token_bytes, range(size))
        self.tokens = [*(b"" if b"\xff" in data else data for data in spelled), b""]
        self.eos_token_ids = list(spec.eos_token_ids) or [size]
        self.eos_token_id = self.eos_token_ids[0]
        types = spec.token_types or ()
        special = {i for i, kind in enumerate(types) if kind in (CONTROL, UNKNOWN, UNUSED)}
        self.special_token_ids = sorted(special | set(self.eos_token_ids))

    def __call__(self, text: object) -> list[int]:
        raise NotImplementedError(f"llguidance asked to tokenize {text!r}, although no_forcing is set")
