"""Coverage-guided fuzzing with atheris of what reads strangers' files: `python tests/fuzz.py gguf --seconds 300`.

A finding is anything but a RealizarError, more than 5 seconds, or more memory at the peak than 50 MB and the file; the
run ends with it and leaves the input as `crash-*` or `timeout-*` in the folder of the target. Half of the changes of
files with JSON inside are made to its values instead of its bytes. Linux only: the kernel measures the memory.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import atheris

READERS = [
    "realizar", "realizar_gguf", "realizar_safetensors", "realizar_apr", "realizar_bpe", "realizar_sentencepiece",
    "realizar_wordpiece",
]  # fmt: skip

with atheris.instrument_imports(include=READERS):
    from fuzz_targets import TARGETS, Target

    from realizar.errors import RealizarError

MAX_SECONDS, MAX_NBYTES, MAX_INPUT_NBYTES = 5, 50_000_000, 1 << 16
ODD_VALUES = [
    None, True, False, 0, 1, -1, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**64, 1e308, -0.5, "", "a", "\0", "▁", "\ud800",
    "a" * 1000, [], {}, [[]], [0, 2**63],
]  # fmt: skip


class Fuzzed:
    """One target under its guards."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target, self.path = target, folder / target.filename
        self.pool = [value for seed in target.seeds().values() for _, _, value in places(self._json(seed)[1])]

    def __call__(self, content: bytes) -> None:
        """Use one file; raises what is a finding."""
        self.path.write_bytes(self.target.seal(content))
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        try:
            self.target.use(self.path)
        except RealizarError:
            pass  # what a bad file must end in
        taken = memory("VmHWM") - before
        if taken > MAX_NBYTES + len(content):
            raise MemoryError(f"{taken} bytes for a file of {len(content)}")

    def mutate(self, content: bytes, max_size: int, seed: int) -> bytes:
        """Change a value of the JSON in a file, or its bytes."""
        rng = random.Random(seed)
        span, values = self._json(content)
        if span is None or rng.random() < 0.5:
            return atheris.Mutate(content, max_size)
        for _ in range(rng.choice((1, 1, 2, 4))):
            self._change(values, rng)
        start, stop = span
        encoded = json.dumps(values, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        if len(encoded) > stop - start and span != (0, len(content)):
            return atheris.Mutate(content, max_size)
        return (content[:start] + encoded.ljust(stop - start) + content[stop:])[:max_size]

    def _change(self, values: Any, rng: random.Random) -> None:
        found = list(places(values))
        if not found:
            return
        holder, key, value = rng.choice(found)
        match rng.randrange(5):
            case 0:
                holder[key] = copy.deepcopy(rng.choice(ODD_VALUES))
            case 1 | 2:
                holder[key] = copy.deepcopy(rng.choice(self.pool))
            case 3 if isinstance(value, str):
                holder[key] = atheris.Mutate(value.encode("utf-8", "replace"), 64).decode("utf-8", "replace")
            case 3 if isinstance(holder, list):
                holder.extend(copy.deepcopy(holder[:100]))
            case _:
                del holder[key]

    def _json(self, content: bytes) -> tuple[tuple[int, int] | None, Any]:
        """Where JSON lies in a file and what it holds; None where there is none, or it cannot be read."""
        span = self.target.json(content)
        try:
            return (span, json.loads(content[slice(*span)])) if span else (None, None)
        except (ValueError, RecursionError):
            return None, None


def places(value: Any) -> Iterator[tuple[Any, Any, Any]]:
    """(container, key or index, value) of everything inside of a JSON value; containers are gone through in order."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, inner in items:
            yield holder, key, inner
            waiting.append(inner)


def memory(field: str) -> int:
    """VmRSS, the bytes in memory, or VmHWM, their most since `clear_refs`."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(field))


def main() -> None:
    """Fuzz until the time is over, or to the first finding."""
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of what reads strangers' files.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument(
        "--corpus", type=Path, default=Path("fuzz"), help="folder for what was found, kept between runs"
    )
    parser.add_argument("inputs", nargs="*", help="files to use once, instead of fuzzing")
    options = parser.parse_args()
    logging.disable()
    target, folder = TARGETS[options.target], options.corpus / options.target
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        fuzzed = Fuzzed(target, Path(temporary))
        with atheris.instrument_imports(include=READERS):  # plugins are imported at their first use
            for name, seed in target.seeds().items():
                (folder / "corpus" / name).write_bytes(seed)
                fuzzed(seed)
        limits = (f"-timeout={MAX_SECONDS}", f"-max_len={MAX_INPUT_NBYTES}", f"-max_total_time={options.seconds}")
        inputs = options.inputs or [str(folder / "corpus")]
        arguments = [sys.argv[0], *limits, "-print_final_stats=1", f"-artifact_prefix={folder}/", *inputs]
        atheris.Setup(arguments, fuzzed, custom_mutator=fuzzed.mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
