from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import attrs
import pytest

from realizar import hookspecs
from realizar.model import TokenizerSpec
from realizar.tokenizers import Tokenizer
from realizar_sentencepiece import plugin


def test_the_entry_point_is_the_plugin() -> None:
    (entry,) = entry_points(group="realizar", name="sentencepiece")
    assert entry.load() is plugin
    assert plugin.REALIZAR_API == (1, 0) <= hookspecs.API


@pytest.mark.parametrize("model", ["spm", "unigram"])
def test_one_factory_that_takes_both_models_only(small: TokenizerSpec, model: str) -> None:
    (factory,) = plugin.realizar_tokenizers()
    assert factory.name == "sentencepiece"
    assert factory.supports(attrs.evolve(small, model="bpe")) == 0
    spec = attrs.evolve(small, model=model)
    assert factory.supports(spec) > 0
    tokenizer = factory.build(spec)
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.spec is spec


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    code = "import sys, realizar_sentencepiece.plugin as p; sys.exit('realizar_sentencepiece.tokenizer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
