"""The files of Sentence Transformers: what they say, and what of it is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realizar.errors import FormatError, ModelError
from realizar.huggingface.directory import HuggingFaceDirectory
from realizar.huggingface.sentence_embedding import read_sentence_embedding

TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
NORMALIZE = {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}


def write(folder: Path, *modules: Any, **modes: Any) -> Path:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 3, **modes}))
    return folder


@pytest.mark.parametrize(("mode", "kind"), [("mean_tokens", "mean"), ("cls_token", "cls"), ("lasttoken", "last")])
def test_pooling(mode: str, kind: str, tmp_path: Path) -> None:
    modes = {"pooling_mode_max_tokens": False, f"pooling_mode_{mode}": True}
    assert read_sentence_embedding(write(tmp_path, TRANSFORMER, POOLING, **modes)) == {"pooling_type": kind}
    write(tmp_path, TRANSFORMER, POOLING, NORMALIZE, **modes)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert HuggingFaceDirectory(tmp_path).model_config() == {
        "model_type": "bert", "pooling_type": kind, "normalize_embeddings": True
    }  # fmt: skip


def test_a_directory_without_modules(tmp_path: Path) -> None:
    assert read_sentence_embedding(tmp_path) == {}
    assert read_sentence_embedding(write(tmp_path, TRANSFORMER)) == {}


@pytest.mark.parametrize(
    ("modes", "found"),
    [
        ({}, "nothing"),
        ({"pooling_mode_max_tokens": True}, "max_tokens"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "mean_tokens and cls_token"),
    ],
)
def test_modes_that_are_not_there(modes: dict[str, bool], found: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"config.json: pooling by {found} is not implemented; expected one of mean"):
        read_sentence_embedding(write(tmp_path, POOLING, **modes))


def test_modules_that_are_not_there(tmp_path: Path) -> None:
    dense = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    with pytest.raises(ModelError, match=r"modules\.json: modules\[1\]: module 'Dense' is not implemented; known: "):
        read_sentence_embedding(write(tmp_path, TRANSFORMER, dense))


@pytest.mark.parametrize("path", ["", "..", "../other", "/tmp", "a/../../b", "a\\b", "C:x", "a\0"])
def test_folders_outside_are_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"modules\[0\]: found path .* expected a folder inside"):
        read_sentence_embedding(write(tmp_path, {**POOLING, "path": path}))


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([3], r"modules\[0\]: found 3, expected an object"),
        ([{"path": "x"}], "found no type"),
        ([{"type": "a.Pooling"}], "found no path"),
        ([{"type": "a.Pooling", "path": "absent"}], "cannot be opened"),
    ],
)
def test_malformed(modules: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        read_sentence_embedding(write(tmp_path, *modules))
    (tmp_path / "modules.json").write_text('{"a": 1}')
    with pytest.raises(FormatError, match="modules: found .* expected an array"):
        read_sentence_embedding(tmp_path)


def test_a_mode_that_is_no_truth_value(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="pooling_mode_mean_tokens: found 'yes', expected true or false"):
        read_sentence_embedding(write(tmp_path, POOLING, pooling_mode_mean_tokens="yes"))


def test_a_prompt_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, POOLING, pooling_mode_mean_tokens=True)
    settings = {"prompts": {"query": "query: "}, "default_prompt_name": None}
    path = tmp_path / "config_sentence_transformers.json"
    path.write_text(json.dumps(settings))
    with caplog.at_level(logging.WARNING):
        read_sentence_embedding(tmp_path)
        assert not caplog.records
        path.write_text(json.dumps(settings | {"default_prompt_name": "query"}))
        read_sentence_embedding(tmp_path)
    assert "texts should begin with 'query: ', which is not added here" in caplog.text


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "path", "x"]), inner),
    max_leaves=9,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_json | st.just(POOLING), max_size=3), st.dictionaries(st.just("pooling_mode_mean_tokens"), _json))
def test_anything_is_read_or_refused(tmp_path: Path, modules: list[Any], modes: dict[str, Any]) -> None:
    write(tmp_path, *modules, **modes)
    try:
        found = read_sentence_embedding(tmp_path)
    except (FormatError, ModelError) as error:
        assert str(tmp_path) in str(error)
    else:
        assert set(found) <= {"pooling_type", "normalize_embeddings"}
