"""Pre-tokenizers: how a text is cut into words before merging. No merge crosses a cut.

Each is one pattern whose matches, in order, are the words; together they cover the whole text. Published
pre-tokenizers that cut in several passes are written as one pattern here: a look-ahead that stopped at the end of a
pass's piece names the characters that begin the next piece instead.

Every repetition is possessive or backs off over one run of white space once, so matching is linear in the text.
Sources: GPT-2's encoder; the tokenizer.json of Llama 3, Qwen2 and SmolLM2; the names are those of GGUF's
`tokenizer.ggml.pre`, as llama.cpp understands them.
"""

from __future__ import annotations

import logging

import attrs
import regex

from realizar.errors import TokenizerError

logger = logging.getLogger(__name__)


@attrs.frozen
class PreTokenizer:
    """A pattern of words.

    ignore_merges: a whole word that the vocabulary has is taken as it is, even if merging would not reach it.
    """

    pattern: str
    ignore_merges: bool = False

    def compile(self) -> regex.Pattern[str]:
        """The compiled pattern; `findall(text)` gives the words."""
        return regex.compile(self.pattern)


GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s+"

LLAMA3_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

QWEN2_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}+", r"\p{N}")

# Pass 1 isolates each digit, pass 2 is GPT-2's.
SMOLLM_PATTERN = r"\p{N}|'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?[^\s\p{L}\p{N}]++|\s+(?![^\s\p{N}])|\s+"

# Pass 1 isolates runs of punctuation, pass 2 is GPT-2's, pass 3 isolates runs of numbers, pass 4 triples of digits 0-9.
DEFAULT_PATTERN = (
    r"[\p{P}$+<=>^~|]++|[0-9]{3}|(?:(?![0-9]{3})\p{N})++| ?\p{L}++"
    r"| ?[^\s\p{L}\p{N}\p{P}$+<=>^~|]++|\s+(?![^\s\p{P}$+<=>^~|])|\s+"
)

PRE_TOKENIZERS = {
    "default": PreTokenizer(DEFAULT_PATTERN),
    "gpt-2": PreTokenizer(GPT2_PATTERN),
    "llama-bpe": PreTokenizer(LLAMA3_PATTERN, ignore_merges=True),
    "qwen2": PreTokenizer(QWEN2_PATTERN),
    "smollm": PreTokenizer(SMOLLM_PATTERN),
}

ALIASES = {
    "gpt-2": tuple(
        "phi-2 mpt gigachat a.x-4.0 mellum modern-bert exaone4 jina-es jina-de jina-v2-es jina-v2-de".split()
    ),
    "llama-bpe": tuple("llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano".split()),
    "qwen2": tuple("deepseek-r1-qwen megrez kormo f2llmv2".split()),
    "smollm": tuple("starcoder refact command-r".split()),
}
"""Other names of the same rule in GGUF files."""

_CANONICAL = {alias: name for name, aliases in ALIASES.items() for alias in aliases}


def pre_tokenizer(name: str | None, source: str) -> PreTokenizer:
    """The pre-tokenizer called `name`; a file without a name gets `default`, and a warning says so.

    Raises TokenizerError naming `name` and the known names.
    """
    if name is None:
        logger.warning(
            "%s: the file names no pre-tokenizer (GGUF key tokenizer.ggml.pre); 'default' is used, "
            "and words may be cut otherwise than in training",
            source,
        )
        name = "default"
    try:
        return PRE_TOKENIZERS[_CANONICAL.get(name, name)]
    except KeyError:
        known = ", ".join([*PRE_TOKENIZERS, *sorted(_CANONICAL)])
        raise TokenizerError(
            f"{source}: unknown pre-tokenizer {name!r}; known are {known}. Guessing another would cut words wrongly: "
            f"use a newer realizar-bpe, or a file whose pre-tokenizer is known"
        ) from None
