"""What fuzzing begins with is worth beginning with: good files are read to their end, bad ones end as they should."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from realizar.errors import ModelError, RealizarError

LOADED = runpy.run_path(str(Path(__file__).with_name("fuzz_targets.py")))
TARGETS, corpus = LOADED["TARGETS"], LOADED["corpus"]


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    path = tmp_path / target.filename
    seeds = target.seeds()
    refused = set()
    for seed, content in seeds.items():
        path.write_bytes(target.seal(content))
        try:
            target.use(path)
        except ModelError:
            pass  # a whole configuration of a model without its layers
        except RealizarError:
            refused.add(seed)
    bad = set() if name == "tokenizer_json" else set(corpus(name)["CASES"])
    assert refused <= bad
    assert len(refused) >= len(bad) / 2  # sealing puts some of them right


@pytest.mark.parametrize("name", ["safetensors", "apr", "tokenizer_json"])
def test_json_is_found(name: str) -> None:
    target = TARGETS[name]
    content = target.seeds()["bpe" if name == "tokenizer_json" else "roomy" if name == "apr" else "every_type_roomy"]
    start, stop = target.json(content)
    assert content[start:stop].startswith(b"{") and content[start:stop].rstrip().endswith(b"}")
