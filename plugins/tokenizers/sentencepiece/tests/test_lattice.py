from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from realizar_sentencepiece.lattice import MAX_LENGTH, Lattice
from realizar_sentencepiece.piece_table import PieceTable, code_points
from realizar_sentencepiece.unigram import Unigram

ALPHABET = "ab\0é漢😀"
scored = st.dictionaries(st.text(ALPHABET, min_size=1, max_size=5), st.integers(-20, 0).map(float), max_size=20)


@given(st.lists(st.text(ALPHABET, min_size=1, max_size=5), unique=True, max_size=20), st.text(ALPHABET, max_size=6))
def test_a_walk_ends_at_the_piece_or_nowhere(pieces: list[str], text: str) -> None:
    table = PieceTable(pieces)
    node = np.zeros(1, np.int64)
    for end, code in enumerate(code_points(text), 1):
        node = table.step(node, code[None])
        assert (node[0] > 0) == any(piece.startswith(text[:end]) for piece in pieces)
        if not node[0]:
            break
        assert table.piece[node[0]] == (pieces.index(text[:end]) if text[:end] in pieces else -1)


def test_many_edges_share_slots() -> None:
    pieces = [chr(0x4E00 + i) + chr(0x4E00 + j) for i in range(40) for j in range(40)]
    table = PieceTable(pieces)
    codes = code_points("".join(pieces)).reshape(-1, 2)
    nodes = table.step(table.step(np.zeros(len(codes), np.int64), codes[:, 0]), codes[:, 1])
    assert table.piece[nodes].tolist() == list(range(len(pieces)))
    assert not table.step(nodes, codes[:, 0]).any()


@given(scored, st.lists(st.text(ALPHABET, max_size=9), unique=True, max_size=12))
def test_words_together_have_the_pieces_they_have_alone(scores: dict[str, float], words: list[str]) -> None:
    ids = {piece: 100 + i for i, piece in enumerate(scores)}
    together = Lattice(scores, ids).segment(words)
    alone = Unigram(scores, -30.0)
    spelled = [word for word in words if word and all(char in scores for char in word)]
    assert together == {word: tuple(ids[piece] for piece in alone(word)) for word in spelled}


def test_long_words_are_left_out() -> None:
    pieces = ["a", "a" * MAX_LENGTH, "a" * (MAX_LENGTH + 1)]
    lattice = Lattice(dict.fromkeys(pieces, -1.0), {piece: i for i, piece in enumerate(pieces)})
    assert lattice.segment(pieces) == {"a": (0,), "a" * MAX_LENGTH: (1,)}
    assert lattice.segment(["b"]) == lattice.segment([]) == {}
