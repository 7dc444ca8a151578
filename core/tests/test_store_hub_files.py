"""Which files of a repository make the model."""

from __future__ import annotations

import pytest

from realizar.errors import StoreError
from realizar.store.hub import HubSource
from realizar.store.hub_files import choose

LLAMA = [
    ".gitattributes", "LICENSE", "README.md", "config.json", "consolidated.safetensors", "generation_config.json",
    "model.safetensors", "original/params.json", "pytorch_model.bin", "special_tokens_map.json", "tokenizer.json",
    "tokenizer.model", "tokenizer_config.json",
]  # fmt: skip
SHARDED = [
    "chat_template.jinja", "config.json", "merges.txt", "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors", "model.safetensors.index.json", "vocab.json",
]  # fmt: skip
MINILM = [
    "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "config.json", "model.safetensors",
    "modules.json", "onnx/model.onnx", "openvino/openvino_model.xml", "vocab.txt",
]  # fmt: skip


def test_safetensors_with_what_belongs_to_them_and_no_more() -> None:
    names, file = choose(LLAMA, "", "hf://a/b")
    assert file == ""
    assert names == [
        "config.json", "generation_config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json",
        "tokenizer.model", "tokenizer_config.json",
    ]  # fmt: skip


def test_an_index_brings_its_shards() -> None:
    assert choose([*SHARDED, "other-00001-of-00001.safetensors", "tf_model.h5"], "", "hf://a/b") == (SHARDED, "")


def test_one_file_wins_over_an_index_as_in_a_directory() -> None:
    names, _ = choose([*SHARDED, "model.safetensors"], "", "hf://a/b")
    assert "model.safetensors" in names and "model-00001-of-00002.safetensors" not in names


def test_modules_of_sentence_transformers_come_along() -> None:
    names, _ = choose(MINILM, "", "hf://a/b")
    assert set(MINILM) - set(names) == {"onnx/model.onnx", "openvino/openvino_model.xml"}


@pytest.mark.parametrize("missing", [SHARDED[3], SHARDED[4]])
def test_a_missing_shard_is_said(missing: str) -> None:
    with pytest.raises(StoreError, match=r"1 shards of model\.safetensors\.index\.json are there, expected 00002"):
        choose([name for name in SHARDED if name != missing], "", "hf://a/b")


def test_no_shard_at_all_is_said() -> None:
    with pytest.raises(StoreError, match="0 shards"):
        choose(["config.json", "model.safetensors.index.json"], "", "hf://a/b")


def test_the_only_gguf_is_the_model() -> None:
    assert choose(["README.md", "sub/m.Q4_0.GGUF", "config.json"], "", "hf://a/b") == (
        ["sub/m.Q4_0.GGUF"], "sub/m.Q4_0.GGUF"
    )  # fmt: skip


def test_several_ggufs_are_listed_and_refused() -> None:
    with pytest.raises(StoreError, match=r"has 2 GGUF files; name one, as in hf://a/b/x\.gguf: x\.gguf, y\.gguf"):
        choose(["y.gguf", "x.gguf"], "", "hf://a/b")


def test_the_named_file_comes_alone() -> None:
    assert choose([*LLAMA, "a/x.gguf"], "a/x.gguf", "hf://a/b") == (["a/x.gguf"], "a/x.gguf")


def test_a_file_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(StoreError, match=r"has no file 'm-q4_1\.gguf'; it has m-q4_0\.gguf"):
        choose(["config.json", "m-q4_0.gguf"], "m-q4_1.gguf", "hf://a/b")
    with pytest.raises(StoreError, match=r"it has m-0\.gguf, .* and 10 more"):
        choose([f"m-{i}.gguf" for i in range(30)], "zzz", "hf://a/b")


@pytest.mark.parametrize(
    "names", [["pytorch_model.bin", "config.json"], ["a.safetensors", "b.safetensors"], ["model.safetensors"], []]
)
def test_nothing_to_run_is_said_with_what_is_there(names: list[str]) -> None:
    with pytest.raises(StoreError, match="neither GGUF files nor config.json with") as caught:
        choose(names, "", "hf://a/b")
    assert (names[0] if names else "nothing") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://org/repo", ("org/repo", "main", "")),
        ("hf://org/repo.v1@v2.0", ("org/repo.v1", "v2.0", "")),
        ("hf://org/repo/m.gguf", ("org/repo", "main", "m.gguf")),
        ("hf://org/repo@refs%2Fpr%2F7/sub/m.gguf", ("org/repo", "refs/pr/7", "sub/m.gguf")),
    ],
)
def test_names_are_read(text: str, expected: tuple[str, str, str]) -> None:
    source = HubSource.parse(text)
    assert (source.repo, source.revision, source.wanted) == expected


@pytest.mark.parametrize(
    "text",
    [
        "hf://", "hf://repo", "hf://org/", "hf:///repo", "hf://org/repo@", "hf://org/repo@/x", "hf://../repo",
        "hf://org/..", "hf://org/a..b", "hf://org/repo@..", "hf://org/repo@..%2F..%2Fx", "hf://org/repo@a b",
        "hf://org/re po", "hf://org/repo/",
    ],
)  # fmt: skip
def test_names_that_say_no_repository_are_refused(text: str) -> None:
    with pytest.raises(StoreError, match="expected hf://ORG/REPO"):
        HubSource.parse(text)


@pytest.mark.parametrize("file", ["../x", "a/../../x", "/x", "a//x", "x\\y", "C:x", "a/.", "x\0"])
def test_files_outside_the_repository_are_refused(file: str) -> None:
    with pytest.raises(StoreError, match="is no path of a file in a repository"):
        HubSource.parse(f"hf://org/repo/{file}")
