"""The tables of what is proven, in README.md: written from records of test runs, checked against what tests declare.

`python tests/proof_table.py RECORD...` writes them, `--check RECORD` fails if they claim what no test declares. Records
are those of `proofs.py`. A cell names the oracles; it stands if all tests that declare it and ran have passed, and one
has. Rows with the same cells are one row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- proofs: made by nox -s proofs from test runs -->", "<!-- /proofs -->"
Proof = dict[str, str]


class Table(NamedTuple):
    """rows: an aspect; its values are the rows. columns: an aspect and a value of it each."""

    title: str
    rows: str
    columns: tuple[tuple[str, str], ...]


class Claim(NamedTuple):
    """One oracle in one cell."""

    rows: str
    row: str
    column: str
    oracle: str


_FORMATS = (("format", "gguf"), ("format", "safetensors"), ("format", "apr"))
_BACKENDS = (("backend", "numpy"), ("backend", "numba"))
TABLES = (
    Table("Model families", "family", (*_FORMATS, *_BACKENDS)),
    Table("Types", "type", (*_FORMATS, ("task", "dequantize"), ("task", "quantize"), *_BACKENDS)),
    Table(
        "Tokenizers", "tokenizer",
        tuple(("vocabulary", source) for source in ("gguf", "tokenizer.json", "tokenizer.model", "specification")),
    ),
)  # fmt: skip


def claims(proofs: Iterable[Proof]) -> set[Claim]:
    """What these proofs would put into the tables, whatever came of them."""
    return {
        Claim(table.rows, proof[table.rows], value, proof["oracle"])
        for proof in proofs
        for table in TABLES
        for aspect, value in table.columns
        if table.rows in proof and proof.get(aspect) == value
    }


def proven(proofs: list[Proof]) -> set[Claim]:
    """Passed at least once and never failed."""
    by_outcome = {
        outcome: claims(proof for proof in proofs if proof["outcome"] == outcome) for outcome in ("passed", "failed")
    }
    return by_outcome["passed"] - by_outcome["failed"]


def rendered(found: set[Claim], proofs: list[Proof]) -> str:
    """The tables in Markdown."""
    versions = {proof["oracle"]: proof["version"] for proof in proofs if proof["version"]}
    named = sorted({claim.oracle for claim in found}, key=str.lower)
    oracles = ", ".join(f"{oracle} {versions[oracle]}" if oracle in versions else oracle for oracle in named)
    return "\n\n".join([*(_markdown(table, found) for table in TABLES), f"Compared with: {oracles}."])


def _markdown(table: Table, found: set[Claim]) -> str:
    columns = [value for _, value in table.columns]
    cells: defaultdict[str, list[set[str]]] = defaultdict(lambda: [set() for _ in columns])
    for claim in found:
        if claim.rows == table.rows:
            cells[claim.row][columns.index(claim.column)].add(claim.oracle)
    alike: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in sorted(cells):
        alike[tuple(", ".join(sorted(cell, key=str.lower)) for cell in cells[row])].append(row)
    ordered = sorted(alike.items(), key=lambda item: (-len(item[1]), item[1]))
    lines = [[table.title, *columns], ["---"] * (1 + len(columns)), *([" ".join(rows), *row] for row, rows in ordered)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read_claims(text: str) -> set[Claim]:
    """What tables say that `rendered` made."""
    by_title, found, table, columns = {table.title: table for table in TABLES}, set(), TABLES[0], [""]
    for line in text.splitlines():
        if not line.startswith("|"):
            continue
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if first in by_title:
            table, columns = by_title[first], cells
        elif first != "---":
            for column, cell in zip(columns, cells, strict=True):
                found |= {Claim(table.rows, row, column, oracle) for row in first.split() for oracle in _split(cell)}
    return found


def _split(cell: str) -> list[str]:
    return cell.split(", ") if cell else []


def main() -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(description="The tables of what is proven, in README.md.")
    parser.add_argument("records", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a claim is declared by no test")
    options = parser.parse_args()
    proofs = [json.loads(line) for path in options.records for line in path.read_text("utf-8").splitlines()]
    before, _, rest = README.read_text("utf-8").partition(BEGIN)
    tables, _, after = rest.partition(END)
    if options.check:
        baseless = sorted(read_claims(tables) - claims(proofs))
        for claim in baseless:
            print(f"README.md claims {claim.row} in {claim.column} against {claim.oracle}; no test declares it")
        return int(bool(baseless) or not tables)
    found = proven(proofs)
    for claim in sorted(claims(proofs) - found):
        print(f"not claimed, as no test of it passed or one failed: {' '.join(claim)}")
    README.write_text(f"{before}{BEGIN}\n\n{rendered(found, proofs)}\n\n{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
