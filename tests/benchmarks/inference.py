"""Prefill and decode of a model: lengths, contexts, batches; beside llama.cpp with --compare FOLDER."""

from __future__ import annotations

from pathlib import Path

from suite import chosen_model, parser, print_cases

from realizar.bench import LlamaCpp, make_cases


def main() -> None:
    """Three tables."""
    arguments = parser(__doc__, model=True)
    arguments.add_argument("--compare", type=Path, metavar="FOLDER", help="where llama.cpp's programs are")
    chosen = arguments.parse_args()
    scale = 64 if chosen.quick else 1
    sweeps = {
        "Lengths": make_cases([128 // scale, 512 // scale], [128 // scale]),
        "Contexts": make_cases([512 // scale], [128 // scale], n_depth=[0, 1024 // scale, 4096 // scale]),
        "Batches": make_cases([], [128 // scale], n_batch=[1, 4, 16]),
    }
    with chosen_model(chosen) as model:
        for title, cases in sweeps.items():
            peer = LlamaCpp(chosen.compare, cases) if chosen.compare else None
            print_cases(title, model, cases, chosen, peer=peer)


if __name__ == "__main__":
    main()
