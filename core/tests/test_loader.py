"""The order in which weights are loaded, and what becomes of the file's pages."""

from __future__ import annotations

import attrs
import pytest

from realizar.backend import BackendOptions
from realizar.engine import loader
from realizar.model import ModelFile
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
