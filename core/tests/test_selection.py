"""Which plugin is chosen, and what the errors say when none can be."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from realizar.errors import BackendUnavailable, FormatError, ModelError, PluginError, TokenizerError
from realizar.model import TokenizerSpec
from realizar.selection import build_graph, build_tokenizer, choose_backend, named, open_model
from realizar.testing.models import tiny_model


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own machine chooses no backend."""
    monkeypatch.delenv("REALIZAR_BACKEND", raising=False)


def spec(model: str) -> TokenizerSpec:
    return TokenizerSpec(model=model, tokens=["a"], source="model.x")


def test_backend_with_the_highest_score(site: Any) -> None:
    site.add("fast", "backend")
    backend, reason = choose_backend(None, site.host())
    assert (backend.name, reason) == ("fast", "highest score 7")
    assert choose_backend(None, site.host(REALIZAR_PLUGINS=""))[0].name == "numpy"


def test_backend_by_name_beats_the_environment(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("fast", "backend")
    monkeypatch.setenv("REALIZAR_BACKEND", "numpy64")
    assert choose_backend("numpy", site.host())[0].name == "numpy"
    backend, reason = choose_backend(None, site.host())
    assert (backend.name, reason) == ("numpy64", "REALIZAR_BACKEND")


def test_equal_scores_go_by_priority_then_by_name_and_are_logged(
    site: Any, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    site.add("bbb", "backend")
    site.add("aaa", "backend")
    site.add("later", "backend", body="B.priority = -1\n")
    with caplog.at_level(logging.WARNING):
        assert choose_backend(None, site.host())[0].name == "aaa"
    assert "'aaa' and 'bbb' score the same; 'aaa' is taken" in caplog.text
    site.add("zzz", "backend", body="B.priority = 1\n")
    caplog.clear()
    assert choose_backend(None, site.host())[0].name == "zzz"
    assert not caplog.records


def test_unknown_backend_lists_the_known_and_the_remedy(site: Any) -> None:
    with pytest.raises(PluginError, match=r"^unknown backend 'numba'; installed: numpy, numpy64; "
                       r"install it with: pip install 'realizar\[numba\]'$"):  # fmt: skip
        choose_backend("numba", site.host())
    with pytest.raises(PluginError, match=r"^unknown backend 'acme'; installed: numpy, numpy64$"):
        choose_backend("acme", site.host())


def test_unavailable_backend_by_name_says_why(site: Any) -> None:
    site.add("gpu", "backend", body="B.probe = classmethod(lambda cls: Availability(0, 'no device'))\n")
    with pytest.raises(
        BackendUnavailable, match="backend 'gpu' is unavailable: no device; usable here: numpy, numpy64"
    ):
        choose_backend("gpu", site.host())
    assert choose_backend(None, site.host())[0].name == "numpy"


def test_no_backend_at_all(site: Any) -> None:
    host = site.host()
    host.records = [record for record in host.records if record.kind != "backend"]
    with pytest.raises(BackendUnavailable, match="no compute backend can run here; see: realizar --list-plugins"):
        choose_backend(None, host)


def test_named_finds_the_usable_one_of_two(site: Any) -> None:
    for distribution in ("aaa", "bbb"):
        site.add("acme", "format", distribution=distribution)
    assert named("format", "acme", site.host()).distribution == "aaa"


def test_format_by_content_and_by_name(site: Any, tmp_path: Path) -> None:
    site.add("one", "format")
    site.add("two", "format")
    path = tmp_path / "model.x"
    path.write_bytes(b"two" + bytes(100))
    assert open_model(path, plugins=site.host()).format == "two"
    assert open_model(path, "one", site.host()).format == "one"
    with pytest.raises(PluginError, match="unknown format 'three'; installed: one, two"):
        open_model(path, "three", site.host())


def test_missing_file_and_unrecognized_file(site: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with pytest.raises(FormatError, match="model.gguf: no such file"):
        open_model(path, plugins=site.host())
    path.write_bytes(b"GGUF\3\0\0\0....")
    with pytest.raises(FormatError, match=r"no format plugin recognizes it \(first bytes b'GGUF.*installed: none; "
                       r"install its plugin with: pip install 'realizar\[gguf\]'"):  # fmt: skip
        open_model(path, plugins=site.host())
    site.add("gguf", "format")
    with pytest.raises(FormatError, match="installed: gguf$"):
        open_model(path, plugins=site.host())


def test_sniffing_a_directory_gives_no_bytes(site: Any, tmp_path: Path) -> None:
    site.add("folder", "format", body="F.sniff = lambda self, path, head: 50 * (path.is_dir() and head == b'')\n")
    assert open_model(tmp_path, plugins=site.host()).format == "folder"


@pytest.mark.parametrize("sniff", ["1 / 0", "None", "'very'"])
def test_a_sniff_that_breaks_is_passed_over(
    site: Any, tmp_path: Path, sniff: str, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    site.add("broken", "format", body=f"F.sniff = lambda self, path, head: {sniff}\n")
    site.add("good", "format")
    path = tmp_path / "model.x"
    path.write_bytes(b"good")
    with caplog.at_level(logging.WARNING):
        assert open_model(path, plugins=site.host()).format == "good"
    assert "format 'broken' from dist-broken is passed over" in caplog.text


def test_errors_of_a_plugin_name_it_and_ours_pass(site: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.x"
    path.write_bytes(b"odd")
    site.add("odd", "format", body="def open(self, path): raise KeyError('gone')\nF.open = open\n", version="0.3")
    with pytest.raises(PluginError, match=r"^format 'odd' of dist-odd 0.3 broke its contract: KeyError: 'gone'$"):
        open_model(path, plugins=site.host())
    site.add("typed", "format", body="def open(self, path): raise FormatError('at byte 3')\nF.open = open\n")
    with pytest.raises(FormatError, match="^at byte 3$"):
        open_model(path, "typed", site.host())


def test_tokenizer_by_specification(site: Any) -> None:
    site.add("words", "tokenizer")
    assert type(build_tokenizer(spec("words"), site.host())).name == "words"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("model", "word"),
    [("bpe", "bpe"), ("spm", "sentencepiece"), ("unigram", "sentencepiece"), ("wordpiece", "wordpiece")],
)
def test_no_tokenizer_names_the_remedy(site: Any, model: str, word: str) -> None:
    message = rf"^model.x: no tokenizer plugin builds model '{model}'; installed: none; .*'realizar\[{word}\]'$"
    with pytest.raises(TokenizerError, match=message):
        build_tokenizer(spec(model), site.host())


def test_no_tokenizer_for_a_stranger_lists_the_installed(site: Any) -> None:
    site.add("words", "tokenizer")
    with pytest.raises(TokenizerError, match="no tokenizer plugin builds model 'odd'; installed: words$"):
        build_tokenizer(spec("odd"), site.host())


def test_graph_by_model_type(site: Any) -> None:
    model = tiny_model()
    assert len(build_graph(model.config, model.tensors, site.host()).blocks) == 4


def test_unknown_architecture_lists_the_known_and_how_to_add_one(site: Any) -> None:
    model = tiny_model(model_type="gpt_j")
    with pytest.raises(ModelError, match="unknown architecture 'gpt_j'; known: .*llama, .*realizar_architectures"):
        build_graph(model.config, model.tensors, site.host())
