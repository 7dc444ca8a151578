"""Encoders that `convert` writes as GGUF, against transformers: hidden states of the tiny models of `test_encoders`.

Read back here within 1e-4, and where REALIZAR_LLAMA_CPP_BIN names a folder with llama.cpp's libraries, evaluated there
in float32 within 1e-3, with its GELU. Needs torch, transformers and safetensors.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from realizar.conversion.convert import convert
from realizar.selection import choose_target, open_model

torch = pytest.importorskip("torch")
for plugin in ("transformers", "realizar_gguf", "realizar_safetensors"):
    pytest.importorskip(plugin)

HERE = Path(__file__).parent
ENCODERS = runpy.run_path(str(HERE / "test_encoders.py"))
LLAMA_CPP = runpy.run_path(str(HERE / "llama_cpp_library.py"))
with_gelu_by_table = runpy.run_path(str(HERE / "llama_cpp_gelu.py"))["with_gelu_by_table"]

NAMES = ("bert", "roberta", "xlm-roberta", "camembert", "nomic_bert")
IN_LLAMA_CPP = 1e-3


def in_gguf(model, folder: Path) -> Path:
    """The model as transformers saves it, converted."""
    model.save_pretrained(folder / "saved")
    path = folder / "model.gguf"
    convert(open_model(folder / "saved"), choose_target(path), path)
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.proves("transformers", family="{name}", format="gguf", backend="numpy")
def test_hidden_states_of_the_gguf_file(name, tmp_path):
    model = ENCODERS["random_model"](*ENCODERS["CASES"][name])
    file = open_model(in_gguf(model, tmp_path))
    assert file.config is not None, file.no_config
    ENCODERS["check"](model, file.config, file.tensors, "numpy")


@pytest.mark.skipif(not LLAMA_CPP["LIBRARY"].is_file(), reason=LLAMA_CPP["MISSING"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.proves("llama.cpp", family="{name}", format="gguf")
def test_llama_cpp_evaluates_what_we_write(name, tmp_path):
    model = ENCODERS["random_model"](*ENCODERS["CASES"][name])
    ids = list(ENCODERS["prompts"]()[0])
    found = LLAMA_CPP["hidden_states"](in_gguf(model, tmp_path), ids, model.config.hidden_size)

    def off() -> float:
        with torch.no_grad():
            expected = model(torch.tensor([ids])).last_hidden_state[0].numpy()
        return float(np.abs(found - expected).max())

    exact = off()
    assert with_gelu_by_table(model) == (0 if name == "nomic_bert" else model.config.num_hidden_layers)
    worst = off()
    print(f"{name} in llama.cpp: {worst:.1e}; {exact:.1e} with an exact GELU")
    assert worst <= IN_LLAMA_CPP
