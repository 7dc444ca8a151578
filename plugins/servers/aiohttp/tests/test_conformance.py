"""The kit that third parties run, on our own server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from realizar.engine import LLM
from realizar.servers import Server
from realizar.testing import ServerConformance
from realizar_aiohttp.server import AiohttpServer


class TestAiohttp(ServerConformance):
    path: ClassVar[Path]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def model(cls, plugins: None, write_model: Callable[..., Path]) -> None:
        cls.path = write_model()

    def make_server(self) -> Server:
        return AiohttpServer()

    def make_llm(self) -> LLM:
        return LLM(self.path, backend="numpy")
