"""Several models under one budget: loaded when asked for, shared, never closed while in use, unloaded for room."""

from __future__ import annotations

import contextlib
import functools
import sys

from realizar import LLM
from realizar.engine.footprint import footprint, plan_model
from realizar.errors import MemoryExceeded
from realizar.model_cache import ModelCache

CONTEXTS = {"short": 64, "long": 128}


def main(model: str = "smollm2") -> None:
    """The same file with two context lengths stands for two models; the budget holds one of them."""
    plans = {name: plan_model(model, max_model_len=length, allow_download=True) for name, length in CONTEXTS.items()}
    sizes = {name: functools.partial(footprint, plan, name) for name, plan in plans.items()}
    loaders = {name: functools.partial(LLM, model, max_model_len=length) for name, length in CONTEXTS.items()}
    for name, size in sizes.items():
        print(f"{name}: takes {size(None):,} bytes, says the header")
    budget = sum(size(None) for size in sizes.values()) - 1

    with contextlib.closing(ModelCache(loaders, sizes, budget_nbytes=budget, wait_s=60)) as cache:
        # Who asks first has it loaded; all others share it.
        first, second = cache.take("short"), cache.take("short")
        short = first.result()
        assert short is second.result()
        print(f"loaded once for {short.leases} requests, in {cache.counts.load_s['short']:.2f} s")

        # There is no room for the other one until nobody uses this one.
        coming = cache.take("long")
        cache.give_back(short)
        cache.give_back(short)
        long = coming.result()
        print("in memory:", [each.id for each in cache.models], "unloaded:", dict(cache.counts.unloads))
        print(f"bytes taken: {cache.nbytes:,} of {budget:,}")
        assert long.llm.generate("Once").text and not short.llm.alive
        cache.give_back(long)

        # The file may have changed: read it anew. Whoever has the old one keeps it to the end.
        cache.reload("long")
        print("loads:", dict(cache.counts.loads))

    with contextlib.closing(ModelCache(loaders, sizes, budget_nbytes=1000)) as small:
        try:
            small.take("short").result()
        except MemoryExceeded as error:
            print("refused:", error)


if __name__ == "__main__":
    main(*sys.argv[1:])
