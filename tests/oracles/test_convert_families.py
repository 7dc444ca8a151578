"""What `convert` writes, against transformers and llama.cpp, on the tiny models of test_families.

A checkpoint that transformers saved becomes a GGUF file; that file becomes a checkpoint again, which transformers
loads: its logits are those of the model that was saved. Where REALIZAR_LLAMA_CPP_BIN names a folder with llama.cpp's
libraries, it evaluates the GGUF file in float32; only its GELU is rounded to float16, in and out, and is so here as
well. Needs torch, transformers and safetensors.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from realizar.conversion.convert import convert
from realizar.errors import FormatError
from realizar.selection import choose_target, open_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
for plugin in ("realizar_gguf", "realizar_safetensors"):
    pytest.importorskip(plugin)

FAMILIES = runpy.run_path(str(Path(__file__).with_name("test_families.py")))
CASES, random_model = FAMILIES["CASES"], FAMILIES["random_model"]
CHANGES = {**FAMILIES["IN_GGUF"], "stablelm, norms of heads": {}}
IN_GGUF = {name: (model_type, values | CHANGES.get(name, {})) for name, (model_type, values) in CASES.items()}
IN_GGUF["gemma3, linear"][1]["query_pre_attn_scalar"] = 16

TOLERANCE = 1e-4

REFUSED = {
    "smollm3": "rotates", "qwen2_moe": "is_sparse", "qwen3_moe": "is_sparse", "gemma2": "attention_scale",
    "gemma3": "attention_scale", "gemma3, linear": "attention_scale", "falcon, rw": "alibi_multiplier",
    "phi, norms of heads": "use_qk_norm",
}  # fmt: skip
"""Cases that a GGUF file cannot hold, and what the refusal names."""

NOT_CHECKPOINTS = {"llama, llama3": "ready-made"}
"""Cases that are not written as checkpoints, and why."""


def logits(model, prompt):
    with torch.no_grad():
        return model(torch.tensor([prompt])).logits[0].numpy()


def in_gguf(model, folder: Path) -> Path:
    """The model as transformers saves it, converted."""
    model.save_pretrained(folder / "saved")
    path = folder / "model.gguf"
    convert(open_model(folder / "saved"), choose_target(path), path)
    return path


@pytest.mark.parametrize("name", CHANGES)
def test_checkpoint_to_gguf_to_checkpoint(name, tmp_path):
    model = random_model(*IN_GGUF[name])
    path = in_gguf(model, tmp_path)
    if name in NOT_CHECKPOINTS:
        with pytest.raises(FormatError, match=NOT_CHECKPOINTS[name]):
            convert(open_model(path), choose_target(path, "safetensors"), tmp_path / "again")
        return
    convert(open_model(path), choose_target(path, "safetensors"), tmp_path / "again")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again", dtype=torch.float32).eval()
    again.set_attn_implementation("eager")
    prompt = np.random.default_rng(1).integers(3, 96, 23).tolist()
    worst = float(np.abs(logits(again, prompt) - logits(model, prompt)).max())
    print(f"{name}: {worst:.1e}")
    assert worst <= TOLERANCE


@pytest.mark.parametrize("name", REFUSED)
def test_what_gguf_has_no_key_for_is_refused(name, tmp_path):
    with pytest.raises(FormatError, match=REFUSED[name]):
        in_gguf(random_model(*CASES[name]), tmp_path)


LLAMA_CPP = runpy.run_path(str(Path(__file__).with_name("llama_cpp_library.py")))
with_gelu_by_table = runpy.run_path(str(Path(__file__).with_name("llama_cpp_gelu.py")))["with_gelu_by_table"]
IN_LLAMA_CPP = 1e-3
WITH_GELU = ("gemma3", "gpt2")

FIRST = {
    "llama": {}, "llama, llama3": {}, "llama, yarn": {}, "qwen2": {}, "qwen3": {}, "gemma3": {},
    "phi3": {"sliding_window": None}, "phi3, longrope": {}, "gpt2": {"n_ctx": 64}, "mixtral": {},
    "stablelm, norms of heads": {}, "cohere, norms of heads": {"num_hidden_layers": 64},
}  # fmt: skip
"""The first families of decoders, and those with norms of heads.

llama.cpp leaves the window of Phi-3 out, and looks for the norms of Command R+ in models of 64 layers or more.
"""


@pytest.mark.skipif(not LLAMA_CPP["LIBRARY"].is_file(), reason=LLAMA_CPP["MISSING"])
@pytest.mark.parametrize("name", FIRST)
@pytest.mark.proves("llama.cpp", family="{name}", format="gguf")
def test_llama_cpp_evaluates_what_we_write(name, tmp_path):
    model_type, values = IN_GGUF[name]
    model = random_model(model_type, values | FIRST[name])
    prompt = np.random.default_rng(2).integers(3, 96, 23).tolist()
    found = LLAMA_CPP["logits"](in_gguf(model, tmp_path), prompt, 96)
    exact = float(np.abs(found - logits(model, prompt)).max())
    replaced = with_gelu_by_table(model)
    assert replaced == (model.config.num_hidden_layers if name in WITH_GELU else 0)
    worst = float(np.abs(found - logits(model, prompt)).max())
    print(f"{name} in llama.cpp: {worst:.1e}; {exact:.1e} with an exact GELU")
    assert worst <= IN_LLAMA_CPP
