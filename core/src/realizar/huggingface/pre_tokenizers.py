"""Which `pre` name a tokenizer.json's pre-tokenizer has: recognized by its regular expressions, never guessed.

Source: the tokenizer.json of GPT-2, Llama 3, Qwen2 and SmolLM2; tokenizers `pre_tokenizers/byte_level.rs` for the
expression that ByteLevel brings along.
"""

from __future__ import annotations

from collections.abc import Sequence

from realizar.pipeline.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Split

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
DIGITS = "each digit"

KNOWN: dict[tuple[tuple[str, ...], bool], str] = {
    ((GPT2,), False): "gpt-2",
    ((DIGITS, GPT2), False): "smollm",
    ((LLAMA3,), True): "llama-bpe",
    ((QWEN2,), False): "qwen2",
}
"""Expressions in the order in which they cut, and whether a whole word that is a token is taken without merging."""


def pre_name(steps: Sequence[PreTokenizer], ignore_merges: bool) -> str | None:
    """The name of pre-tokenizers that end in byte-level spelling, None for none that is known."""
    if not steps or not isinstance(steps[-1], ByteLevel):
        return None
    return KNOWN.get((tuple(cut for step in steps for cut in _cuts(step)), ignore_merges))


def _cuts(step: PreTokenizer) -> list[str]:
    """The expressions by which a step cuts; a description in words where it has none."""
    if step == Digits(individual_digits=True):
        return [DIGITS]
    if isinstance(step, ByteLevel) and not step.add_prefix_space:
        return [GPT2] if step.use_regex else []
    if isinstance(step, Split) and step.pattern.is_regex:
        if (step.behavior, step.invert) in (("Isolated", False), ("Removed", True)):
            return [step.pattern.text.replace("\r", r"\r").replace("\n", r"\n")]
    return [repr(step)]
