"""What a tokenizer.json puts around a text.

Source: tokenizers `processors`: TemplateProcessing and its older kinds.
"""

from __future__ import annotations

import attrs

from realizar.errors import FormatError, TokenizerError
from realizar.huggingface.json_object import JsonObject, proven


@attrs.frozen
class Frame:
    """Ids before and after a text, None for none."""

    before: int | None = None
    after: int | None = None


def read_frame(processor: JsonObject | None) -> Frame:
    """The frame; raises TokenizerError for more than one token on a side, or a kind that is not known."""
    if processor is None:
        return Frame()
    kind = processor.get("type", str)
    if kind == "ByteLevel":  # moves offsets only
        return Frame()
    if kind == "TemplateProcessing":
        return _template(processor)
    if kind in ("BertProcessing", "RobertaProcessing"):
        return Frame(_pair(processor, "cls"), _pair(processor, "sep"))
    if kind == "Sequence":
        frames = [frame for part in processor.children("processors") if (frame := read_frame(part)) != Frame()]
        if len(frames) <= 1:
            return frames[0] if frames else Frame()
    raise TokenizerError(f"{processor.source}: unknown post-processor {kind!r}, or several that add tokens")


def _template(processor: JsonObject) -> Frame:
    """`single`: special tokens around the sequence A."""
    sides: list[list[int]] = [[]]
    for part in processor.children("single"):
        special = part.child("SpecialToken")
        if special is None:
            sides.append([])
        else:
            sides[-1].append(_special_id(processor, special.required("id", str)))
    if len(sides) != 2 or any(len(side) > 1 for side in sides):
        raise TokenizerError(
            f"{processor.source}: the template puts {sides} around a text; at most one token on each side is supported"
        )
    before, after = (side[0] if side else None for side in sides)
    return Frame(before, after)


def _special_id(processor: JsonObject, name: str) -> int:
    tokens = processor.child("special_tokens")
    entry = None if tokens is None else tokens.child(name)
    ids = [] if entry is None else entry.required("ids", list)
    if len(ids) != 1:
        raise FormatError(f"{processor.source}: found ids {ids} of special token {name!r}, expected one")
    return proven(ids[0], int, f"{processor.source}: the id of {name!r}")


def _pair(processor: JsonObject, key: str) -> int:
    """A token and its id, [text, number]."""
    pair = processor.required(key, list)
    if len(pair) != 2:
        raise FormatError(f"{processor.source}: {key}: found {len(pair)} values, expected a token and its id")
    return proven(pair[1], int, f"{processor.source}: {key}")
