"""The conformance kit on GGUF."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from realizar.formats import Format
from realizar.testing import FormatConformance
from realizar.testing.models import TinyModel
from realizar_gguf.plugin import realizar_formats

from tiny_gguf import write_model


class TestGGUF(FormatConformance):
    """x"""
