"""A stream ends once: with a completion, an error, or by being closed."""

from __future__ import annotations

import threading

import pytest

from realizar.engine.result import Completion, Piece, Timings
from realizar.engine.stream import PieceStream

DONE = Completion((1,), (2,), "ab", "stop", None, Timings(0, 1, 0, 0, 0))


@pytest.fixture
def cancelled():
    return []


@pytest.fixture
def stream(cancelled):
    stream = PieceStream()
    stream.cancel = lambda: cancelled.append(True)
    return stream


def test_ends_with_the_completion(stream, cancelled):
    for piece in (Piece("a"), Piece("b", completion=DONE)):
        stream.emit(piece)
    assert [piece.text for piece in stream] == ["a", "b"]
    assert list(stream) == []
    stream.close()
    assert cancelled == []


def test_completion_reads_to_the_end(stream):
    stream.emit(Piece("a"))
    stream.emit(Piece("b", completion=DONE))
    assert stream.completion() is DONE


def test_an_error_is_raised_once(stream, cancelled):
    stream.emit(Piece("a"))
    stream.emit(ValueError("no"))
    assert next(stream).text == "a"
    with pytest.raises(ValueError, match="no"):
        next(stream)
    assert list(stream) == []
    stream.close()
    assert cancelled == []


def test_closing_cancels_once(stream, cancelled):
    stream.emit(Piece("a"))
    stream.close()
    stream.close()
    assert cancelled == [True]
    assert list(stream) == []


def test_dropping_cancels(stream, cancelled, request):
    dropped = PieceStream()
    dropped.cancel = lambda: cancelled.append(True)
    del dropped
    assert cancelled == [True]


def test_dropping_before_there_is_a_request_is_harmless():
    PieceStream().close()


def test_closing_wakes_who_waits(stream):
    read: list[list[Piece]] = []
    thread = threading.Thread(target=lambda: read.append(list(stream)))
    thread.start()
    stream.close()
    thread.join(10)
    assert read == [[]]
