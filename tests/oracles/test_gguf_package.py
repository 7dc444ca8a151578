"""The PyPI package `gguf` and this plugin read each other's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from realizar.dtypes import DTYPES, dtype
from realizar_gguf.encoding import Typed
from realizar_gguf.ggml_types import NUMBERS
from realizar_gguf.metadata import ValueType
from realizar_gguf.names import canonical_name
from realizar_gguf.reader import read_gguf
from realizar_gguf.writer import write_gguf

gguf = pytest.importorskip("gguf")

METADATA = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "truth": True,
    "half": 0.5,
    "negative": -3,
    "wide": 1 << 40,
    "byte": Typed(ValueType.UINT8, 200),
    "texts": ["a", "", "é" * 200],
    "numbers": [1, -2, 3],
    "doubles": np.array([0.1, 0.2]),
}


def plain(value: object) -> object:
    value = value.value if isinstance(value, Typed) else value
    return value.tolist() if isinstance(value, np.ndarray) else value


def test_every_type_has_the_packages_number_and_block_size() -> None:
    """Q8_1 apart: the package still gives the 40 bytes of two float32 fields, ggml's block has two halves (36)."""
    for kind in gguf.GGMLQuantizationType:
        assert NUMBERS[kind.name] == kind.value
        sizes = (dtype(kind.name).block_size, dtype(kind.name).block_nbytes)
        assert kind.name == "Q8_1" or sizes == gguf.GGML_QUANT_SIZES[kind]
    assert {kind.name for kind in gguf.GGMLQuantizationType} <= set(DTYPES)


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.proves("gguf", format="gguf", type=("F32", "F16", "I32", "Q4_0", "Q8_0", "Q6_K"))
def test_the_package_reads_what_we_write(version: int, byteorder: str, tmp_path: Path) -> None:
    path = tmp_path / "ours.gguf"
    rng = np.random.default_rng(3)
    tensors = []
    for name in ("F32", "F16", "I32", "Q4_0", "Q8_0", "Q6_K"):
        kind = dtype(name)
        raw = rng.integers(0, 256, 3 * 2 * kind.block_nbytes, np.uint8)
        tensors.append((name.lower(), (3, 2 * kind.block_size), kind, raw.view(kind.storage).reshape(3, -1)))
    write_gguf(path, METADATA, tensors, version=version, byteorder=byteorder, alignment=64)  # type: ignore[arg-type]
    reader = gguf.GGUFReader(path)
    assert reader.alignment == 64
    assert reader.fields["GGUF.version"].contents() == version
    for key, value in METADATA.items():
        assert reader.fields[key].contents() == plain(value), key
    found = {tensor.name: tensor for tensor in reader.tensors}
    for name, shape, kind, stored in tensors:
        assert found[name].tensor_type.name == kind.name
        assert tuple(reversed(found[name].shape.tolist())) == shape
        if byteorder == "little" or not kind.is_quantized:  # the package does not swap bytes inside blocks
            np.testing.assert_array_equal(found[name].data, stored.astype(found[name].data.dtype, copy=False))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.proves("gguf", format="gguf", type=("F32", "F16", "Q8_0"))
def test_we_read_what_the_package_writes(big: bool, tmp_path: Path) -> None:
    path = tmp_path / "theirs.gguf"
    endian = gguf.GGUFEndian.BIG if big else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(path, "llama", endianess=endian)
    writer.add_block_count(2)
    writer.add_token_list(["a", "é", "<|end|>"])
    writer.add_token_types([1, 1, 3])
    writer.add_tokenizer_model("gpt2")
    writer.add_eos_token_id(2)
    writer.add_custom_alignment(128)
    weights = np.random.default_rng(4).normal(size=(3, 64)).astype(np.float32)
    writer.add_tensor("token_embd.weight", weights.copy())
    writer.add_tensor("output_norm.weight", weights[0].astype(np.float16))
    if not big:
        writer.add_tensor("output.weight", gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q8_0),
                          raw_dtype=gguf.GGMLQuantizationType.Q8_0)  # fmt: skip
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = read_gguf(path)
    assert file.metadata["gguf.byteorder"] == ("big" if big else "little")
    assert file.metadata["llama.block_count"] == 2
    assert file.tokenizer is not None
    assert list(file.tokenizer.tokens) == ["a", "é", "<|end|>"]
    assert list(file.tokenizer.token_types or ()) == [1, 1, 3]
    assert file.tokenizer.eos_token_ids == (2,)
    np.testing.assert_array_equal(file.tensors["model.embed_tokens.weight"].read(), weights)
    np.testing.assert_array_equal(file.tensors["model.norm.weight"].read(), weights[0].astype(np.float16))
    reader = gguf.GGUFReader(path)
    for tensor in reader.tensors:
        ours = file.tensors[canonical_name(tensor.name)]
        assert ours.shape == tuple(reversed(tensor.shape.tolist()))
        if not big:
            assert ours.read().tobytes() == tensor.data.tobytes()
