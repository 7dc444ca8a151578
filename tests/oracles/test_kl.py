"""How far our distributions are from a float32 evaluation by transformers, over 512 tokens of prose.

KL(reference || ours) in nats, in float64, its mean over the second halves of two windows of 514 tokens: the tokens
that llama.cpp's `llama-perplexity` judges. Where REALIZAR_LLAMA_CPP_BIN names a folder with that program, llama.cpp
evaluates the same tokens of the same file; ours must be within 5 % of its mean.
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

from realizar import LLM
from realizar.errors import StoreError
from realizar.selection import open_model
from realizar.store import resolve

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.model

Logits = NDArray[Any]

PROSE = Path(__file__).parents[1] / "data/prose.txt"
WINDOW, NUM_WINDOWS = 514, 2
FIRST = WINDOW // 2
NUMBA_BOUND = 0.0023
"""For machines without llama.cpp, whose own mean is about 0.00225 on these tokens."""

LLAMA_CPP = os.environ.get("REALIZAR_LLAMA_CPP_BIN")


@pytest.fixture(scope="module")
def path() -> Path:
    try:
        return resolve("smollm2", allow_download=True)
    except StoreError as error:
        pytest.skip(f"SmolLM2 cannot be had here: {error}")


def log_softmax(logits: Logits) -> Logits:
    """Rows of natural log probabilities in float64."""
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=1, keepdims=True))


def judged(window: Logits) -> Logits:
    """Log probabilities at the positions whose next token is judged."""
    return log_softmax(window[FIRST:-1])


def kl(reference: Logits, other: Logits) -> Logits:
    """KL(reference || other) of each row."""
    return (np.exp(reference) * (reference - other)).sum(axis=1)


@pytest.fixture(scope="module")
def windows(path) -> list[list[int]]:
    with LLM(path, backend="numpy", max_model_len=16) as llm:
        ids = llm.tokenizer.encode(PROSE.read_text(encoding="utf-8"))
    assert len(ids) >= NUM_WINDOWS * WINDOW, f"the prose has {len(ids)} tokens"
    return [ids[i * WINDOW : (i + 1) * WINDOW] for i in range(NUM_WINDOWS)]


@pytest.fixture(scope="module")
def reference(path, windows) -> Logits:
    """Log probabilities [512, V] by transformers in float32 over the dequantized weights."""
    file = open_model(path)
    assert file.config is not None
    known = attrs.asdict(file.config)
    names = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps",
    )  # fmt: skip
    assert file.config.rope_scaling is None
    config = transformers.LlamaConfig(
        **{name: known[name] for name in names},
        rope_parameters={"rope_type": "default", "rope_theta": file.config.rope_theta},
        tie_word_embeddings="lm_head.weight" not in file.tensors, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).to(torch.float32).eval()
    state = {name: torch.from_numpy(tensor.to_float32().copy()) for name, tensor in file.tensors.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected
    with torch.no_grad():
        rows = [judged(model(torch.tensor([ids])).logits[0].numpy()) for ids in windows]
    file.close()
    return np.concatenate(rows)


def ours(path: Path, windows: list[list[int]], backend: str) -> Logits:
    with LLM(path, backend=backend, max_model_len=1024) as llm:
        return np.concatenate([judged(llm.logits(ids)) for ids in windows])


@pytest.fixture(scope="module")
def numba(path, windows) -> Logits:
    return ours(path, windows, "numba")


def report(capsys, line: str) -> None:
    with capsys.disabled():
        print(f"\n{line}")


def test_there_are_512_tokens(reference):
    assert len(reference) == 512


def test_numpy(path, windows, reference, capsys):
    mean = kl(reference, ours(path, windows, "numpy")).mean()
    report(capsys, f"numpy: mean KL {mean:.3g}")
    assert 0 <= mean <= 1e-6


def test_numba(reference, numba, capsys):
    mean = kl(reference, numba).mean()
    report(capsys, f"numba: mean KL {mean:.6f}")
    assert 0 <= mean <= NUMBA_BOUND


def read_log_probabilities(path: Path) -> tuple[list[int], Logits]:
    """Tokens and log probabilities of a logits file of `llama-perplexity`, 16 bits each, clamped at e^-16 of the best.

    Layout, little-endian (llama.cpp, tools/perplexity): "_logits_", int32 n_ctx, n_vocab, n_chunk, the tokens as
    int32; then for each row float32 scale and minimum, and uint16 codes, n_vocab rounded up to even.
    """
    data = path.read_bytes()
    assert data[:8] == b"_logits_"
    n_ctx, n_vocab, n_chunk = struct.unpack_from("<3i", data, 8)
    tokens = np.frombuffer(data, "<i4", n_chunk * n_ctx, 20)
    row = np.dtype([("scale", "<f4"), ("minimum", "<f4"), ("codes", "<u2", 2 * ((n_vocab + 1) // 2))])
    rows = np.frombuffer(data, row, offset=20 + tokens.nbytes)
    values = rows["codes"][:, :n_vocab].astype(np.float64) * rows["scale"][:, None] + rows["minimum"][:, None]
    return tokens.tolist(), values


def coarse_kl(reference: Logits, other: Logits) -> Logits:
    """KL over the tokens above e^-12 and one class for all others, which the clamp of the 16 bits does not touch."""
    likely = reference > -12
    sums = (np.exp(reference) * (reference - other)).sum(axis=1, where=likely)
    left, left_other = (1 - np.exp(p).sum(axis=1, where=likely) for p in (reference, other))
    left, left_other = np.maximum(left, 1e-12), np.maximum(left_other, 1e-12)
    return sums + left * np.log(left / left_other)


@pytest.mark.skipif(not LLAMA_CPP, reason="REALIZAR_LLAMA_CPP_BIN does not name a folder with llama-perplexity")
def test_as_good_as_llama_cpp(path, windows, reference, numba, tmp_path, capsys):
    logits = tmp_path / "logits"
    line = [f"{LLAMA_CPP}/llama-perplexity", "-m", str(path), "-f", str(PROSE), "-c", str(WINDOW), "-b", str(WINDOW)]
    line += ["--chunks", str(NUM_WINDOWS), "--kl-divergence-base", str(logits)]
    subprocess.run(line, capture_output=True, check=True, timeout=600)
    tokens, theirs = read_log_probabilities(logits)
    assert tokens == [token_id for ids in windows for token_id in ids]
    assert theirs.shape == reference.shape
    mine, yours = coarse_kl(reference, numba), coarse_kl(reference, theirs)
    ratio = mine.mean() / yours.mean()
    noise = (mine - yours).std() / np.sqrt(len(mine)) / yours.mean()
    report(capsys, f"KL: numba {mine.mean():.6f}, llama.cpp {yours.mean():.6f}, ratio {ratio:.3f} +- {noise:.3f}")
    assert mine.mean() == pytest.approx(kl(reference, numba).mean(), rel=0.03)
    assert ratio <= 1.05
