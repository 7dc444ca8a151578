"""From the JSON of a call to its deltas, whatever stands around it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable

from realizar.tool_calls.deltas import CallArguments, CallBegin, CallEnd, Content
from realizar.tool_calls.json_reader import JsonReader, Malformed, collected
from realizar.tool_calls.reader import Reader, Reading, Waiting

ARGUMENT_KEYS = ("arguments", "parameters")
MAX_NAME_CHARS = 256


def long_id() -> str:
    """An id as OpenAI's look."""
    return f"call_{secrets.token_hex(12)}"


class Calls:
    """Counts the calls of an answer and reads them from `reader`."""

    def __init__(
        self,
        reader: Reader,
        new_id: Callable[[], str] = long_id,
        json_reader: Callable[[Reader], JsonReader] = JsonReader,
    ) -> None:
        self.reader = reader
        self._new_id = new_id
        self._json_reader = json_reader
        self.count = 0

    def named(self, name: str) -> Reading[bool]:
        """A call of which the name is known and the arguments come next; False if they were no whole object."""
        index = self.count
        self.count += 1
        yield CallBegin(index, self._new_id(), name)
        is_object = (yield from self.reader.skip_space()) == "{"
        pieces = self._json_reader(self.reader)
        given = False
        try:
            if not is_object:
                raise Malformed
            for piece in pieces.value():
                given = given or bool(piece)
                if piece is None:
                    yield None
                else:
                    yield CallArguments(index, piece)
        except Malformed:
            yield CallArguments(index, pieces.closing if given else "{}")
            yield CallEnd(index, False)
            return False
        yield CallEnd(index, True)
        return True

    def object(self) -> Reading[bool]:
        """An object with a name and arguments, in either order; what is none is content. False: it was not whole."""
        reader, start, before = self.reader, self.reader.position, self.count
        try:
            return (yield from self._object())
        except Malformed:
            if self.count == before:
                yield Content(reader.since(start))
            return False

    def _object(self) -> Reading[bool]:
        reader, name, arguments = self.reader, None, None
        yield from self._expect("{")
        while True:
            pieces = self._json_reader(reader)
            key = yield from pieces.key()
            yield from pieces.colon()
            if key in ARGUMENT_KEYS and name is not None and (yield from reader.skip_space()) == "{":
                whole = yield from self.named(name)
                return whole and (yield from self._rest())
            value = yield from collected(pieces.value())
            name = _name(value) if key == "name" else name
            arguments = value if key in ARGUMENT_KEYS else arguments
            if (yield from self._ends()):
                break
        if name is None:
            raise Malformed
        yield from self._whole(name, arguments)
        return True

    def _rest(self) -> Reading[bool]:
        """What stands behind the arguments up to the brace of the call."""
        try:
            while not (yield from self._ends()):
                pieces = self._json_reader(self.reader)
                yield from pieces.key()
                yield from pieces.colon()
                yield from collected(pieces.value())
        except Malformed:
            return False
        return True

    def _whole(self, name: str, arguments: str | None) -> Reading[None]:
        """A call whose arguments were read before its name, or are an object within a string, or missing."""
        value = {} if arguments is None else json.loads(arguments)
        if isinstance(value, str):
            value = _parsed(value)
        if not isinstance(value, dict):
            raise Malformed
        index = self.count
        self.count += 1
        yield CallBegin(index, self._new_id(), name)
        yield CallArguments(index, json.dumps(value, ensure_ascii=False))
        yield CallEnd(index, True)

    def _expect(self, char: str) -> Waiting[None]:
        yield from self.reader.skip_space()
        if not (yield from self.reader.take(char)):
            raise Malformed

    def _ends(self) -> Waiting[bool]:
        yield from self.reader.skip_space()
        if (yield from self.reader.take("}")):
            return True
        yield from self._expect(",")
        return False


def _name(value: str) -> str:
    name = json.loads(value)
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
        raise Malformed
    return name


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed from error
