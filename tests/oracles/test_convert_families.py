"""What `convert` writes, against transformers and llama.cpp, on the tiny models of test_families.

A checkpoint that transformers saved becomes a GGUF file; that file becomes a checkpoint again, which transformers
loads: its logits are those of the model that was saved. Where REALIZAR_LLAMA_CPP_BIN names a folder with llama.cpp's
libraries, it evaluates the GGUF file in float32. Needs torch, transformers and safetensors.
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
CHANGES = FAMILIES["IN_GGUF"]
IN_GGUF = {name: (model_type, values | CHANGES.get(name, {})) for name, (model_type, values) in CASES.items()}
IN_GGUF["gemma3, linear"][1]["query_pre_attn_scalar"] = 16

TOLERANCE = 1e-4

REFUSED = {
    "smollm3": "rotates", "qwen2_moe": "is_sparse", "qwen3_moe": "is_sparse", "gemma2": "attention_scale",
    "gemma3": "attention_scale", "gemma3, linear": "attention_scale", "falcon, rw": "alibi_multiplier",
}  # fmt: skip
"""Cases that a GGUF file cannot hold, and what the refusal names."""

NOT_CHECKPOINTS = {
    **dict.fromkeys(("falcon, 7b", "falcon, 40b", "mpt"), "cannot be written"), "llama, llama3": "ready-made"
}  # fmt: skip
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
