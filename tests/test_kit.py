"""The conformance kit must be able to fail: each broken plugin here is caught by the test that is named beside it."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest

from realizar.backend import Availability, Backend, Plan, StepFn, kernel
from realizar.errors import FormatError
from realizar.formats import Format
from realizar.graph import Block
from realizar.model import ModelFile
from realizar.reference import NumpyBackend
from realizar.tensors import LazyTensor
from realizar.testing import BackendConformance, FormatConformance, TokenizerConformance
from realizar.testing.backend_conformance import CHUNKS
from realizar.testing.models import TinyModel
from realizar.testing.op_variants import OP_VARIANTS
from realizar.testing.vocabulary import tiny_tokenizer
from realizar.tokenizers import StreamDecoder, Tokenizer
from realizar_bpe.tokenizer import BpeTokenizer
from realizar_gguf.format import GGUF

ROOT = Path(__file__).parent.parent
write_tiny_gguf = runpy.run_path(str(ROOT / "plugins/formats/gguf/tests/tiny_gguf.py"))["write_tiny_gguf"]


def kit(backend: type[Backend], **promises: Any) -> BackendConformance:
    """The kit, set up for a backend."""
    body = {"make_backend": lambda self: backend(), "max_examples": 1, "model_types": ("F32",), **promises}
    made: BackendConformance = type("Kit", (BackendConformance,), body)()
    return made


def fails(test: Callable[[], object]) -> bool:
    """Whether the kit's test fails, in the way tests do."""
    try:
        test()
    except AssertionError:
        return True
    return False


def fails_some_variant(backend: type[Backend], op: str) -> bool:
    """Whether `test_op` fails for one of the op's variants."""
    return any(fails(lambda v=v: kit(backend).test_op(v)) for v in OP_VARIANTS if v.op == op)


def wrapped(op: str, change: Callable[..., None]) -> type[NumpyBackend]:
    """The reference with one op changed: `change(original, *inputs, **keywords)`."""

    def broken(self: NumpyBackend, *inputs: Any, **keywords: Any) -> None:
        change(lambda *i, **k: getattr(NumpyBackend, op)(self, *i, **k), *inputs, **keywords)

    return type("Broken", (NumpyBackend,), {"name": "broken", op: kernel(op)(broken)})


def _half(original: Callable[..., None], *inputs: Any, out: Any, **keywords: Any) -> None:
    original(*inputs, out=out, **keywords)
    out[:] = out.astype(np.float16)


def _last_column(original: Callable[..., None], *inputs: Any, out: Any, **keywords: Any) -> None:
    original(*inputs, out=out, **keywords)
    out[:, -1] = 0


def _set(**changes: Any) -> Callable[..., None]:
    return lambda original, *inputs, **keywords: original(*inputs, **{**keywords, **changes})


def _first_rows(original: Callable[..., None], x: Any, rows: Any, *, out: Any) -> None:
    out[:] = x[: len(out)]


def _swapped(original: Callable[..., None], q: Any, k: Any, v: Any, **keywords: Any) -> None:
    """Query heads dealt out to key heads in turn instead of in groups."""
    heads, groups = keywords["num_heads"], keywords["num_key_value_heads"]
    shape = (len(q), heads // groups, groups, keywords["head_dim"])
    original(q.reshape(shape).swapaxes(1, 2).reshape(q.shape), k, v, **keywords)
    out = keywords["out"]
    out[:] = out.reshape(len(q), groups, heads // groups, -1).swapaxes(1, 2).reshape(out.shape)


def _off_by_one_window(original: Callable[..., None], *inputs: Any, sliding_window: int, **keywords: Any) -> None:
    original(*inputs, sliding_window=sliding_window and sliding_window + 1, **keywords)


def _negative(original: Callable[..., None], x: Any, positions: Any, **keywords: Any) -> None:
    original(x, -positions, **keywords)


def _no_bias(original: Callable[..., None], x: Any, weight: Any, bias: Any = None, **keywords: Any) -> None:
    original(x, weight, **keywords)


def _own_position(original: Callable[..., None], *inputs: Any, step: Any, **keywords: Any) -> None:
    """Slots taken from positions, as if every sequence's blocks lay in a row from the start."""
    original(*inputs, step=attrs.evolve(step, slot_mapping=step.positions), **keywords)


@pytest.mark.parametrize(
    ("op", "change"),
    [
        ("embedding", _set(scale=1.0)), ("embedding", _half),
        ("rms_norm", _set(eps=1e-2)), ("rms_norm", _half), ("layer_norm", _set(eps=1.0)), ("layer_norm", _no_bias),
        ("linear", _no_bias), ("linear", _last_column), ("linear", _half),
        ("rope", _negative), ("rope", _set(scale=1.0)), ("rope", _last_column),
        ("attention", _set(softcap=0.0)), ("attention", _set(sliding_window=0)), ("attention", _off_by_one_window),
        ("attention", _swapped), ("attention", _own_position), ("attention", _set(scale=0.125)),
        ("attention", _set(alibi_slopes=())), ("attention", _set(causal=True)), ("mul", _half),
        ("scale", _set(factor=0.23)),
        ("add", _half), ("act", _set(kind="silu")), ("act_mul", _set(kind="gelu")), ("softcap", _set(cap=31.0)),
        ("gather_rows", _first_rows), ("moe_ffn", _set(norm_topk_prob=True)), ("moe_ffn", _set(num_experts_per_tok=1)),
    ],
)  # fmt: skip
def test_a_wrong_op_is_caught(op: str, change: Callable[..., None]) -> None:
    assert fails_some_variant(wrapped(op, change), op)


def test_sound_copies_pass() -> None:
    kit(Prepacking).test_prepacked_copies()


def test_one_quiet_wrong_row_of_a_weight_is_caught() -> None:
    """A row whose weights are a hundred times smaller than the others' counts as much."""

    def quiet(original: Callable[..., None], x: Any, weight: Any, bias: Any = None, *, out: Any) -> None:
        original(x, weight, bias, out=out)
        out[:, np.argmin(np.linalg.norm(weight, axis=1))] *= 1.01

    checked = kit(wrapped("linear", quiet), weight_tolerances={})
    assert fails(lambda: checked.test_weight_type("linear", "Q4_K"))


class Fused(NumpyBackend):
    """Claims every block by walking it, and forgets the last node."""

    name = "fused"

    def compile_block(self, block: Block, plan: Plan) -> StepFn | None:
        if block.layer_id is None:
            return None
        return self._walk(attrs.evolve(block, nodes=block.nodes[:-1]), plan)


class Captured(NumpyBackend):
    """Replays only the first step's result."""

    name = "captured"

    def capture(self, step: StepFn, plan: Plan) -> StepFn:
        runs: list[int] = []

        def once() -> None:
            if not runs:
                step()
            runs.append(1)

        return once


class Prepacking(NumpyBackend):
    """Makes copies of matrices as they are."""

    name = "prepacking"
    prepacked_layout = "prepacking-1"

    def prepacked_nbytes(self, tensor: LazyTensor) -> int:
        return 4 * math.prod(tensor.shape) if len(tensor.shape) == 2 else 0

    def prepack(self, tensor: LazyTensor, ops: frozenset[str]) -> Any:
        return tensor.to_float32().view(np.uint8).reshape(-1)

    def load_prepacked(self, tensor: LazyTensor, ops: frozenset[str], data: Any) -> Any:
        return data.view(np.float32).reshape(tensor.shape)


class PrepackingHalves(Prepacking):
    """Rounds what it copies."""

    def prepack(self, tensor: LazyTensor, ops: frozenset[str]) -> Any:
        return tensor.to_float32().astype(np.float16).astype(np.float32).view(np.uint8).reshape(-1)


class PrepackingShort(Prepacking):
    """Makes fewer bytes than it says."""

    def prepack(self, tensor: LazyTensor, ops: frozenset[str]) -> Any:
        return super().prepack(tensor, ops)[:-4]


class Counting(NumpyBackend):
    """Adds something that grows from step to step."""

    name = "counting"
    steps = 0

    @kernel("add")
    def add(self, x: Any, y: Any, *, out: Any) -> None:
        Counting.steps += 1
        np.add(x, y * np.float32(1 + 1e-6 * Counting.steps), out=out)


class Stale(NumpyBackend):
    """Keeps the first key that it ever cached in a slot."""

    name = "stale"

    @kernel("attention")
    def attention(self, q: Any, k: Any, v: Any, *, cache: Any, step: Any, **keywords: Any) -> None:  # type: ignore[override]
        slots = step.slot_mapping[: len(q)]
        flat = cache.keys.reshape(-1, k.shape[1])
        seen = np.any(flat[slots] != 0, axis=1)
        k = np.where(seen[:, None], flat[slots], k)
        super().attention(q, k, v, cache=cache, step=step, **keywords)


class BatchDependent(NumpyBackend):
    """Normalizes over the whole batch."""

    name = "batch"

    @kernel("rms_norm")
    def rms_norm(self, x: Any, weight: Any, *, eps: float, out: Any) -> None:
        out[:] = x / np.sqrt(np.mean(x * x) + eps) * weight


class Leaking(NumpyBackend):
    """Keeps a copy of every batch."""

    name = "leaking"
    kept: ClassVar[list[Any]] = []

    @kernel("gather_rows")
    def gather_rows(self, x: Any, logits_rows: Any, *, out: Any) -> None:
        self.kept.append(x.copy())
        super().gather_rows(x, logits_rows, out=out)


@pytest.mark.parametrize(
    ("backend", "test"),
    [
        (PrepackingHalves, "test_prepacked_copies"), (PrepackingShort, "test_prepacked_copies"),
        (Fused, "test_claimed_block_equals_its_ops"), (Fused, "test_model"),
        (Captured, "test_captured_step_equals_uncaptured"), (Captured, "test_model"),
        (Counting, "test_same_step_gives_same_bits"), (Stale, "test_recycled_cache_blocks_leave_no_trace"),
        (NumpyBackend, "test_steps_allocate_nothing"),
    ],
)  # fmt: skip
def test_a_backend_that_breaks_a_promise_is_caught(backend: type[Backend], test: str) -> None:
    assert fails(getattr(kit(backend), test))


def test_a_leak_is_caught() -> None:
    with pytest.raises(AssertionError, match="five steps kept"):
        kit(Leaking, max_step_nbytes=1 << 30).test_steps_allocate_nothing()


@pytest.mark.parametrize("invariant", [True, False])
def test_a_batch_that_matters_is_caught(invariant: bool) -> None:
    assert fails(lambda: kit(BatchDependent, batch_invariant=invariant).test_batch_does_not_matter(CHUNKS))


def test_what_a_backend_lacks_is_skipped_by_name() -> None:
    lacking = type("Lacking", (NumpyBackend,), {"name": "lacking"})
    del lacking._kernels["softcap"]
    (variant,) = [v for v in OP_VARIANTS if v.op == "softcap"]
    with pytest.raises(pytest.skip.Exception, match="lacking has no kernel for softcap"):
        kit(lacking).test_op(variant)
    lacking.probe = classmethod(lambda cls: Availability(0, "no such device"))  # type: ignore[method-assign,assignment]
    with pytest.raises(pytest.skip.Exception, match="lacking cannot run here: no such device"):
        kit(lacking).test_model()


class Eager(GGUF):
    """Reads every tensor when it opens a file."""

    def open(self, path: Path) -> ModelFile:
        file = super().open(path)
        stored = {name: tensor.read().copy() for name, tensor in file.tensors.items()}
        return attrs.evolve(file, metadata={"stored": stored})


class Untyped(GGUF):
    """Lets another error out."""

    def open(self, path: Path) -> ModelFile:
        try:
            return super().open(path)
        except FormatError as error:
            raise KeyError(str(error)) from error


class Forgetful(GGUF):
    """Loses one tensor, and claims every file."""

    def sniff(self, path: Path, head: bytes) -> int:
        return 50

    def open(self, path: Path) -> ModelFile:
        file = super().open(path)
        return attrs.evolve(file, tensors=dict(list(file.tensors.items())[1:]))


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Eager, "test_open_reads_no_tensor"), (Untyped, "test_truncated"), (Untyped, "test_damaged_header"),
        (Forgetful, "test_round_trip"), (Forgetful, "test_sniff"),
    ],
)  # fmt: skip
def test_a_broken_format_is_caught(broken: type[Format], test: str, tmp_path: Path) -> None:
    class Kit(FormatConformance):
        name = "gguf"
        suffix = ".gguf"

        def make_format(self) -> Format:
            return broken()

        def write(self, path: Path, model: TinyModel) -> None:
            write_tiny_gguf(path, model)

    assert fails(lambda: getattr(Kit(), test)(tmp_path))


class SplittingStream(StreamDecoder):
    """Decodes every token on its own."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def push(self, token_id: int) -> str:
        return self._tokenizer.token_bytes(token_id).decode(errors="replace")

    def finish(self) -> str:
        return ""


class Splitting(BpeTokenizer):
    def stream(self, *, skip_special_tokens: bool = True) -> StreamDecoder:
        return SplittingStream(self)


class Trusting(BpeTokenizer):
    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        return super().encode(text, add_special_tokens=add_special_tokens, parse_special=True)


class Stripping(BpeTokenizer):
    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        return super().decode(ids, skip_special_tokens=skip_special_tokens).strip()


class Wrapping(BpeTokenizer):
    def token_bytes(self, token_id: int) -> bytes:
        return super().token_bytes(token_id % len(self.spec.tokens))


class Plain(BpeTokenizer):
    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        return super().encode(text, add_special_tokens=False, parse_special=parse_special)


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Splitting, "test_stream_never_splits_a_character"), (Splitting, "test_streams_do_not_share_state"),
        (Trusting, "test_control_tokens_need_parse_special"), (Stripping, "test_round_trip"),
        (Plain, "test_special_tokens_around_a_text"),
    ],
)  # fmt: skip
def test_a_broken_tokenizer_is_caught(broken: type[BpeTokenizer], test: str) -> None:
    class Kit(TokenizerConformance):
        def make_tokenizer(self) -> Tokenizer:
            return broken(tiny_tokenizer())

    assert fails(getattr(Kit(), test))


def test_an_id_that_wraps_around_is_caught() -> None:
    class Kit(TokenizerConformance):
        def make_tokenizer(self) -> Tokenizer:
            return Wrapping(tiny_tokenizer())

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        Kit().test_bad_ids()
