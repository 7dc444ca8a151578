"""What `convert` writes, against transformers and llama.cpp, on the tiny models of test_families.

A checkpoint that transformers saved becomes a GGUF file; that file becomes a checkpoint again, which transformers
loads: its logits are those of the model that was saved. Where REALIZAR_LLAMA_CPP_BIN names a folder with llama.cpp's
libraries, it evaluates the GGUF file in float32. Needs torch, transformers and safetensors.
"""

from __future__ import annotations

import ctypes
import os
import runpy
from pathlib import Path
from typing import ClassVar

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


LLAMA_CPP = os.environ.get("REALIZAR_LLAMA_CPP_BIN")
LIBRARY = Path(LLAMA_CPP or ".") / "libllama.so"
TOLERANCES = {"gemma3": 5e-3, "gpt2": 5e-3}
"""llama.cpp looks GELU up in a table of float16; all else is within 1e-3."""

FIRST = {
    "llama": {}, "llama, llama3": {}, "llama, yarn": {}, "qwen2": {}, "qwen3": {}, "gemma3": {},
    "phi3": {"sliding_window": None}, "phi3, longrope": {}, "gpt2": {"n_ctx": 64}, "mixtral": {},
}  # fmt: skip
"""The first families of decoders; llama.cpp leaves the window of Phi-3 out."""


class Batch(ctypes.Structure):
    """llama_batch of `include/llama.h`."""

    _fields_: ClassVar = [("n_tokens", ctypes.c_int32), *((name, ctypes.c_void_p) for name in (
        "token", "embd", "pos", "n_seq_id", "seq_id", "logits"))]  # fmt: skip


class ModelParams(ctypes.Structure):
    """llama_model_params: only its size matters, for what the library fills in is handed back."""

    _fields_: ClassVar = [("opaque", ctypes.c_uint64 * 10)]


class ContextParams(ctypes.Structure):
    """llama_context_params, of which the sizes at its start and the types of the cache are set."""

    _fields_: ClassVar = [
        ("n_ctx", ctypes.c_uint32), ("n_batch", ctypes.c_uint32), ("n_ubatch", ctypes.c_uint32),
        ("others", ctypes.c_uint32 * 4), ("n_threads", ctypes.c_int32), ("n_threads_batch", ctypes.c_int32),
        ("ctx_type", ctypes.c_int32), ("rope_scaling_type", ctypes.c_int32), ("pooling_type", ctypes.c_int32),
        ("attention_type", ctypes.c_int32), ("flash_attn_type", ctypes.c_int32), ("rope", ctypes.c_uint32 * 8),
        ("cb_eval", ctypes.c_void_p * 2), ("type_k", ctypes.c_int32), ("type_v", ctypes.c_int32),
        ("abort", ctypes.c_void_p * 2), ("truths", ctypes.c_bool * 6), ("samplers", ctypes.c_void_p),
        ("n_samplers", ctypes.c_size_t), ("ctx_other", ctypes.c_void_p),
    ]  # fmt: skip


def llama_cpp_logits(path: Path, prompt: list[int], vocab_size: int) -> np.ndarray:
    """llama.cpp's logits of every position, on the CPU with a float32 cache."""
    for name in ("libggml-base.so", "libggml-cpu.so", "libggml.so"):
        ctypes.CDLL(str(LIBRARY.with_name(name)), mode=ctypes.RTLD_GLOBAL)
    llama = ctypes.CDLL(str(LIBRARY))
    llama.llama_model_default_params.restype = ModelParams
    llama.llama_context_default_params.restype = ContextParams
    llama.llama_model_load_from_file.argtypes = [ctypes.c_char_p, ModelParams]
    llama.llama_init_from_model.argtypes = [ctypes.c_void_p, ContextParams]
    llama.llama_batch_init.restype = Batch
    llama.llama_decode.argtypes = [ctypes.c_void_p, Batch]
    llama.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)
    llama.llama_get_logits_ith.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    for name in ("llama_model_load_from_file", "llama_init_from_model"):
        getattr(llama, name).restype = ctypes.c_void_p
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    llama.llama_log_set(quiet, None)
    model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
    assert model, f"llama.cpp does not load {path}"
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 64
    params.type_k = params.type_v = 0  # GGML_TYPE_F32
    params.flash_attn_type = 0
    params.n_threads = params.n_threads_batch = 1
    context = llama.llama_init_from_model(model, params)
    assert context, f"llama.cpp makes no context for {path}"
    batch = llama.llama_batch_init(len(prompt), 0, 1)
    batch.n_tokens = len(prompt)
    int32, int8 = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_int8)
    sequences = ctypes.cast(batch.seq_id, ctypes.POINTER(int32))
    for i, token in enumerate(prompt):
        ctypes.cast(batch.token, int32)[i], ctypes.cast(batch.pos, int32)[i] = token, i
        ctypes.cast(batch.n_seq_id, int32)[i], sequences[i][0] = 1, 0
        ctypes.cast(batch.logits, int8)[i] = 1
    assert llama.llama_decode(context, batch) == 0
    rows = [
        np.ctypeslib.as_array(llama.llama_get_logits_ith(context, i), (vocab_size,)).copy() for i in range(len(prompt))
    ]
    llama.llama_free.argtypes = llama.llama_model_free.argtypes = [ctypes.c_void_p]
    llama.llama_free(context)
    llama.llama_model_free(model)
    return np.stack(rows)


@pytest.mark.skipif(
    LLAMA_CPP is None or not LIBRARY.is_file(), reason="REALIZAR_LLAMA_CPP_BIN names no folder with libllama.so"
)
@pytest.mark.parametrize("name", FIRST)
@pytest.mark.proves("llama.cpp", family="{name}", format="gguf")
def test_llama_cpp_evaluates_what_we_write(name, tmp_path):
    model_type, values = IN_GGUF[name]
    model = random_model(model_type, values | FIRST[name])
    prompt = np.random.default_rng(2).integers(3, 96, 23).tolist()
    found = llama_cpp_logits(in_gguf(model, tmp_path), prompt, 96)
    worst = float(np.abs(found - logits(model, prompt)).max())
    print(f"{name} in llama.cpp: {worst:.1e}")
    assert worst <= TOLERANCES.get(name, 1e-3)
