"""The conformance kit: what a plugin inherits to prove that it keeps its contract.

Needs `pip install 'realizar-core[testing]'`. A backend, in its own tests/test_conformance.py:

    from acme import AcmeBackend
    from realizar.testing import BackendConformance, Tolerance

    class TestAcme(BackendConformance):
        tolerance = Tolerance(nmse=1e-9)
        weight_tolerances = {"Q4_K": Tolerance(nmse=1e-4)}    # its linear rounds activations to 8 bits

        def make_backend(self):
            return AcmeBackend()

Likewise `FormatConformance` (give `name`, `make_format`, `write`), `TokenizerConformance` (give `make_tokenizer`),
`ServerConformance` (give `make_server`, `make_llm`) and `LogitsProcessorConformance` (give `make_factory`).
pytest collects the classes only once they are subclassed; what a plugin does not support is skipped by name.
`realizar.testing.models` makes small random models and needs neither pytest nor hypothesis.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realizar.testing.backend_conformance import BackendConformance
    from realizar.testing.format_conformance import FormatConformance
    from realizar.testing.processor_conformance import LogitsProcessorConformance
    from realizar.testing.server_conformance import ServerConformance
    from realizar.testing.tokenizer_conformance import TokenizerConformance
    from realizar.testing.tolerance import Tolerance

__all__ = [
    "BackendConformance", "FormatConformance", "LogitsProcessorConformance", "ServerConformance",
    "TokenizerConformance", "Tolerance",
]  # fmt: skip

_HOMES = {
    "BackendConformance": "backend_conformance",
    "FormatConformance": "format_conformance",
    "LogitsProcessorConformance": "processor_conformance",
    "ServerConformance": "server_conformance",
    "TokenizerConformance": "tokenizer_conformance",
    "Tolerance": "tolerance",
}


def __getattr__(name: str) -> Any:
    """Import a kit class when it is asked for, so that `models` stays free of pytest."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"{__name__}.{_HOMES[name]}"
    if home not in sys.modules and name.endswith("Conformance"):
        import pytest

        pytest.register_assert_rewrite(home)  # so that a failed assert shows its values
    return getattr(import_module(home), name)
