"""Which `pre` name a tokenizer.json's pre-tokenizer has: recognized by its regular expressions, never guessed.

Source: the tokenizer.json of GPT-2, Llama 3, Qwen2 and SmolLM2; tokenizers `pre_tokenizers/byte_level.rs` for the
expression that ByteLevel brings along.
"""

from __future__ import annotations

from realizar.errors import TokenizerError
from realizar.huggingface.json_object import JsonObject

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


def pre_name(pre_tokenizer: JsonObject | None, ignore_merges: bool, source: str) -> str:
    """The name; raises TokenizerError saying what was found where it is none that is known."""
    steps = [] if pre_tokenizer is None else _flat(pre_tokenizer)
    if not steps or steps[-1].get("type", str) != "ByteLevel":
        raise _unknown([_shown(step) for step in steps], ignore_merges, source)
    cuts = [cut for step in steps[:-1] for cut in _cut(step)] + _byte_level(steps[-1])
    try:
        return KNOWN[tuple(cuts), ignore_merges]
    except KeyError:
        raise _unknown(cuts, ignore_merges, source) from None


def _flat(step: JsonObject) -> list[JsonObject]:
    if step.get("type", str) != "Sequence":
        return [step]
    return [inner for part in step.children("pretokenizers") for inner in _flat(part)]


def _cut(step: JsonObject) -> list[str]:
    """The expressions of a step before the last; a description in words where it has none."""
    kind = step.get("type", str)
    if kind == "Digits" and step.get("individual_digits", bool):
        return [DIGITS]
    pattern = step.child("pattern")
    regex = None if pattern is None else pattern.get("Regex", str)
    isolates = (step.get("behavior", str), bool(step.get("invert", bool))) in (("Isolated", False), ("Removed", True))
    if kind == "Split" and regex is not None and isolates:
        return [regex.replace("\r", r"\r").replace("\n", r"\n")]
    return [_shown(step)]


def _byte_level(step: JsonObject) -> list[str]:
    use_regex = step.get("use_regex", bool)
    prefix = ["a space before the text"] if step.get("add_prefix_space", bool) else []
    return prefix + ([GPT2] if use_regex is None or use_regex else [])


def _shown(step: JsonObject) -> str:
    return ", ".join(f"{key} {value!r}" for key, value in step.values.items())[:400]


def _unknown(cuts: list[str], ignore_merges: bool, source: str) -> TokenizerError:
    found = "; ".join(cuts)[:600] or "none"
    return TokenizerError(
        f"{source}: unknown pre-tokenizer: {found} (ignore_merges {str(ignore_merges).lower()}); known are those of "
        f"{', '.join(KNOWN.values())}. Guessing another would cut words wrongly: use a GGUF file of the model, whose "
        f"pre-tokenizer has a name"
    )
