"""What a tokenizer.json puts around a text.

Source: tokenizers `processors`: TemplateProcessing and its older kinds.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from realizar.errors import FormatError, TokenizerError
from realizar.huggingface.json_object import JsonObject, proven
from realizar.huggingface.pipeline import MAX_NESTING, prove_keys

MAX_IDS = 64
"""Tokens on one side of a text."""


@attrs.frozen
class Frame:
    """Ids before and after a text."""

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()


def read_frame(processor: JsonObject | None, levels: int = MAX_NESTING) -> Frame:
    """The frame of one text; raises FormatError, and TokenizerError naming what is not known."""
    if processor is None:
        return Frame()
    kind = processor.get("type", str)
    if kind == "ByteLevel":  # moves offsets only
        prove_keys(processor, ("type", "add_prefix_space", "trim_offsets", "use_regex"))
        return Frame()
    if kind == "TemplateProcessing":
        prove_keys(processor, ("type", "single", "pair", "special_tokens"))
        return _template(processor)
    if kind in ("BertProcessing", "RobertaProcessing"):
        prove_keys(processor, ("type", "cls", "sep", "add_prefix_space", "trim_offsets"))
        return Frame((_pair(processor, "cls"),), (_pair(processor, "sep"),))
    if kind == "Sequence":
        prove_keys(processor, ("type", "processors"))
        return _nested(processor, levels)
    raise TokenizerError(f"{processor.source}: unknown post-processor {kind!r}")


def _nested(processor: JsonObject, levels: int) -> Frame:
    """Each post-processor puts its tokens around those of the ones before it."""
    if not levels:
        raise TokenizerError(f"{processor.source}: is a Sequence more than {MAX_NESTING} levels deep")
    frame = Frame()
    for part in processor.children("processors"):
        outer = read_frame(part, levels - 1)
        frame = Frame(outer.before + frame.before, frame.after + outer.after)
        _prove_count(processor, frame.before, frame.after)
    return frame


def _template(processor: JsonObject) -> Frame:
    """`single`: special tokens around the sequence A."""
    sides: list[list[int]] = [[]]
    for part in processor.children("single"):
        special = part.child("SpecialToken")
        if special is not None:
            sides[-1] += _special_ids(processor, special.required("id", str))
            _prove_count(processor, sides[-1])
        else:
            sequence = JsonObject(part.required("Sequence", dict), f"{part.source}: Sequence")
            if (name := sequence.required("id", str)) != "A":
                raise TokenizerError(f"{sequence.source}: found id {name[:40]!r}, expected A, the only text")
            sides.append([])
    if len(sides) != 2:
        raise TokenizerError(f"{processor.source}: the template has the text {len(sides) - 1} times, expected once")
    return Frame(tuple(sides[0]), tuple(sides[1]))


def _special_ids(processor: JsonObject, name: str) -> list[int]:
    tokens = processor.child("special_tokens")
    entry = None if tokens is None else tokens.child(name)
    ids = [] if entry is None else entry.required("ids", list)
    if not ids:
        raise FormatError(f"{processor.source}: found no ids of special token {name[:40]!r}, expected some")
    return [proven(token_id, int, f"{processor.source}: an id of {name[:40]!r}") for token_id in ids]


def _pair(processor: JsonObject, key: str) -> int:
    """A token and its id, [text, number]."""
    pair = processor.required(key, list)
    if len(pair) != 2:
        raise FormatError(f"{processor.source}: {key}: found {len(pair)} values, expected a token and its id")
    return proven(pair[1], int, f"{processor.source}: {key}")


def _prove_count(processor: JsonObject, *sides: Sequence[int]) -> None:
    for side in sides:
        if len(side) > MAX_IDS:
            raise TokenizerError(f"{processor.source}: puts {len(side)} tokens around a text, at most {MAX_IDS}")
