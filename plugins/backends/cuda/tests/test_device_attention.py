"""Device tests of attention with many tokens in a step, which runs on tensor cores where the cache allows it."""

from __future__ import annotations

import numpy as np
import pytest

from realizar.reference import Numpy64Backend
from realizar.testing.driver import Driver, Program, chunked
from realizar.testing.op_variants import attention_variant
from realizar_cuda.backend import CudaBackend

AVAILABLE = CudaBackend.probe()
pytestmark = pytest.mark.skipif(not AVAILABLE.score, reason=f"device test: {AVAILABLE.detail}")

VARIANTS = (
    attention_variant(4, 2, 64), attention_variant(9, 3, 64, sliding_window=70),
    attention_variant(4, 4, 40, softcap=20.0),
    attention_variant(4, 1, 256), attention_variant(2, 2, 80, causal=False), attention_variant(8, 2, 128, scale=0.25),
    attention_variant(4, 2, 20, alibi_slopes=(0.25, 0.0625, 0.5, 2.0)),
)  # fmt: skip
ALLOWED = {"F16": 1e-6, "F32": 1e-9, "BF16": 2e-5, "Q8_0": 2e-4}


@pytest.mark.parametrize("chunks", [(150, 3, 200), (64, 1, 33)], ids=["whole", "chunked"])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.label)
def test_prompts(variant, chunks):
    if not variant.attributes["causal"]:
        chunks = (150, 3, 200)  # what sees everything is computed at once
    rng = np.random.default_rng(4)
    prompts = tuple(tuple(rng.integers(0, 32, n).tolist()) for n in (150, 3, 200))
    program = Program(variant.graph(), variant.tensors(1), prompts, (True,) * 3)
    schedule = chunked(prompts, chunks)
    expected = np.concatenate(Driver(Numpy64Backend(), program).run(schedule))
    for kv_type, allowed in ALLOWED.items():
        backend = CudaBackend()
        found = np.concatenate(Driver(backend, program, kv_type=kv_type).run(schedule))
        backend.close()
        error = np.mean(np.square(found - expected)) / np.mean(np.square(expected))
        assert error <= allowed, f"{kv_type}: NMSE {error:.3g}"
