"""What stands in for a model."""

from __future__ import annotations

from realizar.model_pool import ModelPool


class FakeLLM:
    """Knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_a_fallback_is_loaded_once_when_it_is_asked_for_and_closed_with_the_rest():
    made: list[FakeLLM] = []

    def make() -> FakeLLM:
        made.append(FakeLLM())
        return made[-1]

    pool = ModelPool({"a": make, "b": make}, {"a": make})
    assert (pool.has_fallback("a"), pool.has_fallback("b")) == (True, False)
    pool.load("a", "b")
    assert len(made) == 2
    assert pool.load_fallback("a") is pool.load_fallback("a") is made[2]
    pool.close()
    assert [llm.closed for llm in made] == [True, True, True]
