"""Pre-tokenizers: how a text is cut into words before merging. No merge crosses a cut.

Each is a row of patterns. The first isolates its matches in the text, the next in every piece that is left, and so on;
`patterns.py` has them. The names are those of GGUF's `tokenizer.ggml.pre`, as llama.cpp understands them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import attrs
import regex

from realizar.errors import TokenizerError
from realizar_bpe import patterns as p

logger = logging.getLogger(__name__)


@attrs.frozen
class PreTokenizer:
    """Patterns that cut a text one after the other.

    covers: the only pattern matches every part of every text.
    ignore_merges: a whole word that the vocabulary has is taken as it is, even if merging would not reach it.
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    covers: bool = False

    def compile(self) -> Callable[[str], Sequence[str]]:
        """What gives the words of a text, which together are the text."""
        if self.covers:
            (pattern,) = self.patterns
            return regex.compile(pattern).findall  # type: ignore[no-any-return]
        compiled = [regex.compile(f"({pattern})", regex.V1) for pattern in self.patterns]
        return lambda text: _isolated(text, compiled)


def _isolated(text: str, passes: Sequence[regex.Pattern[str]]) -> list[str]:
    pieces = [text]
    for pattern in passes:
        parts = {piece: _split(pattern, piece) for piece in set(pieces)}  # most come many times
        pieces = [part for piece in pieces for part in parts[piece]]
    return pieces


def _split(pattern: regex.Pattern[str], text: str) -> list[str]:
    """Matches and what is between them; a pattern that searches backwards finds the last first."""
    parts = [part for part in pattern.split(text) if part]
    return parts[::-1] if pattern.flags & regex.REVERSE else parts


def _one(pattern: str, *, ignore_merges: bool = False) -> PreTokenizer:
    return PreTokenizer((pattern,), ignore_merges, covers=True)


PRE_TOKENIZERS = {
    "default": _one(p.DEFAULT),
    "gpt-2": _one(p.GPT2),
    "llama-bpe": _one(p.LLAMA3, ignore_merges=True),
    "qwen2": _one(p.QWEN2),
    "smollm": _one(p.SMOLLM),
    "afmoe": PreTokenizer((p.TRIPLES_OF_NUMBERS, p.ASIAN, p.DEEPSEEK3)),
    "bailingmoe": _one(p.BAILING),
    "bloom": PreTokenizer((p.BLOOM,)),
    "chameleon": PreTokenizer((*p.CHAMELEON, p.GPT2)),
    "dbrx": _one(p.LLAMA3),
    "deepseek-coder": PreTokenizer(("[\r\n]", r"\s?\p{L}++", r"\s?\p{P}++", p.CJK_AND_HANGUL, r"\p{N}")),
    "deepseek-llm": PreTokenizer(p.DEEPSEEK_LLM),
    "deepseek-v3": PreTokenizer((r"\p{N}{1,3}", p.CJK_AND_KANA, p.DEEPSEEK3)),
    "exaone-moe": _one(p.EXAONE_MOE),
    "falcon": PreTokenizer((r"[\p{P}$+<=>^~|`]++", p.GPT2, "[0-9]{3}")),
    "glm4": _one(p.LLAMA3, ignore_merges=True),
    "gpt-4o": _one(p.GPT4O),
    "granite-embed-multi-97m": _one(p.GRANITE_EMBED, ignore_merges=True),
    "jais-2": _one(p.JAIS2),
    "kimi-k2": PreTokenizer((p.KIMI_K2,)),
    "laguna": PreTokenizer((r"[^\n]++|\n++", p.QWEN2)),
    "minicpm5": PreTokenizer((r"\p{N}{1,3}", p.LLAMA3.replace("{1,3}+", "++")), ignore_merges=True),
    "qwen35": _one(p.QWEN35),
    "seed-coder": _one(p.SEED_CODER),
    "spark2_5": PreTokenizer((r"\p{N}{1,3}", p.CJK_AND_KANA, p.SPARK, r"\p{N}")),
    "superbpe": PreTokenizer((r"\p{N}++", p.TRIPLES_OF_DIGITS)),
    "tekken": _one(p.TEKKEN, ignore_merges=True),
    "tiny_aya": PreTokenizer((p.TRIPLES_OF_NUMBERS, p.GPT4O)),
    "ufakzeka": _one(p.UFAKZEKA),
    "viking": PreTokenizer((p.BLOOM, r"\p{N}")),
    "youtu": PreTokenizer((p.YOUTU_SCRIPTS, p.GPT4O.replace("{1,3}+", "")), ignore_merges=True),
}

ALIASES = {
    "gpt-2": tuple(
        "phi-2 mpt gigachat a.x-4.0 mellum modern-bert exaone4 jina-es jina-de jina-v2-es jina-v2-de olmo jais "
        "trillion granite-docling jina-v1-en jina-v2-code roberta-bpe".split()
    ),
    "llama-bpe": tuple("llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano".split()),
    "qwen2": tuple("deepseek-r1-qwen megrez kormo f2llmv2 stablelm2 hunyuan solar-open grok-2".split()),
    "smollm": tuple("starcoder refact command-r codeshell exaone minerva-7b mellum2".split()),
    "bailingmoe": ("bailingmoe2", "llada-moe"),
    "bloom": ("poro-chat", "gpt3-finnish"),
    "dbrx": ("smaug-bpe", "chatglm-bpe"),
    "deepseek-v3": ("hunyuan-dense", "joyai-llm", "hy_v4"),
    "glm4": ("glm5",),
    "gpt-4o": tuple("llama4 kanana2 talkie minimax-m2".split()),
    "tiny_aya": ("cohere2moe",),
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
