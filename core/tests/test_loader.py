"""The order in which weights are loaded, and what becomes of the file's pages."""

from __future__ import annotations

import attrs
import pytest

from realizar.backend import BackendOptions
from realizar.engine import loader
from realizar.model import ModelFile, RopeScaling
from realizar.reference import NumpyBackend
from realizar.tensors import LazyTensor
from realizar.testing.models import tiny_model


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What happens while a tiny model is loaded: (what, to which tensor)."""
    seen: list[tuple[str, str]] = []

    class Recording(NumpyBackend):
        def reserve(self, tensors, prepacked=frozenset()):
            seen.extend(("reserve", tensor.name) for tensor in tensors)

        def load(self, tensor, ops):
            seen.append(("load", tensor.name))
            return super().load(tensor, ops)

    def watched(tensor: LazyTensor) -> LazyTensor:
        return attrs.evolve(tensor, release=lambda: seen.append(("release", tensor.name)))

    model = tiny_model()
    file: ModelFile = attrs.evolve(model.open(), tensors={n: watched(t) for n, t in model.tensors.items()})
    monkeypatch.setattr(loader, "open_named", lambda *args, **options: file)
    monkeypatch.setattr(loader, "choose_backend", lambda name: (Recording, "asked for"))
    loaded = loader.load_model("tiny", BackendOptions())
    assert set(loaded.weights) == {name for what, name in seen if what == "load"}
    return seen


def test_each_tensor_is_released_before_the_next_is_loaded(events: list[tuple[str, str]]) -> None:
    work = [event for event in events if event[0] != "reserve"]
    names = [name for _, name in work[::2]]
    assert len(set(names)) == len(names) > 10
    assert work == [event for name in names for event in (("load", name), ("release", name))]


def test_room_is_made_for_all_tensors_before_the_first_is_loaded(events: list[tuple[str, str]]) -> None:
    loaded = [name for what, name in events if what == "load"]
    assert events[: len(loaded)] == [("reserve", name) for name in loaded]


def test_a_tensor_in_memory_has_nothing_to_release() -> None:
    tensor = next(iter(tiny_model().tensors.values()))
    before = tensor.read().tobytes()
    tensor.release()
    assert tensor.read().tobytes() == before


@pytest.mark.parametrize(("context", "factor"), [(16, 2.0), (17, 4.0)])
def test_rotary_positions_are_those_of_the_context(
    context: int, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = tiny_model().config.head_dim // 2
    factors = {"short_factor": (2.0,) * count, "long_factor": (4.0,) * count}
    scaling = RopeScaling("longrope", original_max_position_embeddings=16, **factors)
    monkeypatch.setattr(loader, "open_named", lambda *args, **options: tiny_model(rope_scaling=scaling).open())
    loaded = loader.load_model("tiny", BackendOptions(), backend="numpy", context=lambda config: context)
    turned = [node.attrs["inv_freq"] for node in loaded.graph.blocks[1].nodes if node.op == "rope"]
    assert [frequencies[0] for frequencies in turned] == [1 / factor] * 2
    assert loaded.config.rope_scaling == scaling
