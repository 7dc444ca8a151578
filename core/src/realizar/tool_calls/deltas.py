"""What a parser of an answer gives, in order."""

from __future__ import annotations

import attrs


@attrs.frozen
class Content:
    """Text for the user."""

    text: str


@attrs.frozen
class Reasoning:
    """Text that the model thinks."""

    text: str


@attrs.frozen
class CallBegin:
    """A call of the function `name`; index: 0 for the first call of an answer. id: new and unique."""

    index: int
    id: str
    name: str


@attrs.frozen
class CallArguments:
    """The next piece of a call's arguments; all pieces concatenate to a JSON object."""

    index: int
    text: str


@attrs.frozen
class CallEnd:
    """The arguments are whole. complete: False if the model was cut, or wrote no JSON, and they were closed for it."""

    index: int
    complete: bool


Delta = Content | Reasoning | CallBegin | CallArguments | CallEnd
