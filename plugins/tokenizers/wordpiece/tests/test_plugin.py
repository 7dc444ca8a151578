from __future__ import annotations

from importlib.metadata import entry_points

import attrs

from realizar import hookspecs
from realizar.model import TokenizerSpec
from realizar_wordpiece import plugin


def test_the_entry_point_is_the_plugin() -> None:
    (entry,) = entry_points(group="realizar", name="wordpiece")
    assert entry.load() is plugin
    assert plugin.REALIZAR_API == (1, 0) <= hookspecs.API


def test_one_factory_that_takes_wordpiece_only(small: TokenizerSpec) -> None:
    (factory,) = plugin.realizar_tokenizers()
    assert factory.name == "wordpiece"
    assert factory.supports(small) > 0
    assert factory.supports(attrs.evolve(small, model="bpe")) == 0
    assert factory.build(small).spec is small
