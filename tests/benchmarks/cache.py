"""The KV cache: what each of its types costs as the context grows, and what scattering over blocks costs."""

from __future__ import annotations

import argparse

import numpy as np
from suite import chosen_model, parser, print_cases
from timing import medians, print_table

from realizar.backend import BackendOptions
from realizar.bench import make_cases
from realizar.engine.loader import open_named
from realizar.selection import build_graph, choose_backend
from realizar.testing.driver import Driver, Program

BLOCK_SIZES = (16, 64, 256)


def main() -> None:
    """A table for each type, and one for block sizes."""
    chosen = parser(__doc__, model=True).parse_args()
    depths = [0, 64] if chosen.quick else [0, 1024, 4096]
    with chosen_model(chosen) as model:
        for kv_type in choose_backend(chosen.backend)[0].kv_types:
            cases = make_cases([], [4 if chosen.quick else 64], n_depth=depths)
            print_cases(f"Decode with a cache of {kv_type}", model, cases, chosen, kv_type=kv_type)
        _print_block_sizes(model, depths[-1], chosen)


def _print_block_sizes(model: str, depth: int, chosen: argparse.Namespace) -> None:
    """Decode steps without sampling; blocks lie in random order, so larger ones are less scattered."""
    file = open_named(model)
    prompt = tuple(np.random.default_rng(0).integers(0, file.config.vocab_size, depth + 1).tolist())
    program = Program(build_graph(file.config, file.tensors), file.tensors, (prompt,), (False,))
    drivers = {size: _filled(program, depth, size, chosen.backend) for size in BLOCK_SIZES}

    def step(driver: Driver) -> None:
        driver.sequences[0].num_computed = depth
        driver.step_views([(0, 1)])

    steps = {str(size): lambda driver=driver: step(driver) for size, driver in drivers.items()}
    found = medians(steps, 3 if chosen.quick else 50 * chosen.rounds)
    rows = [[size, f"{1e3 * time:.3f}"] for size, time in found.items()]
    print_table(f"One decode step after {depth} tokens, by block size", ["tokens a block", "ms"], rows)
    for driver in drivers.values():
        driver.backend.close()
    file.close()


def _filled(program: Program, depth: int, block_size: int, backend: str | None) -> Driver:
    """A driver whose cache holds the first `depth` tokens."""
    driver = Driver(choose_backend(backend)[0](BackendOptions()), program, block_size=block_size)
    driver.step([(0, depth)])
    return driver


if __name__ == "__main__":
    main()
