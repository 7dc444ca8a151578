from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import attrs

from realizar import hookspecs
from realizar.model import TokenizerSpec
from realizar.tokenizers import Tokenizer
from realizar_bpe import plugin


def test_the_entry_point_is_the_plugin() -> None:
    (entry,) = entry_points(group="realizar", name="bpe")
    assert entry.load() is plugin
    assert plugin.REALIZAR_API == (1, 0) <= hookspecs.API


def test_one_factory_that_takes_bpe_only(small: TokenizerSpec) -> None:
    (factory,) = plugin.realizar_tokenizers()
    assert factory.name == "bpe"
    assert factory.supports(small) > 0
    assert factory.supports(attrs.evolve(small, model="unigram")) == 0
    tokenizer = factory.build(small)
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.spec is small


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    code = "import sys, realizar_bpe.plugin; sys.exit('regex' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
