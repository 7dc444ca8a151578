"""The contract of a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    from realizar.engine.llm import LLM


@attrs.frozen
class ServerConfig:
    """Where a server listens and under which id it offers the model."""

    host: str = "127.0.0.1"
    port: int = 8080
    served_model_name: str = "model"


class Server(ABC):
    """Offers an engine over a network protocol."""

    name: ClassVar[str]
    priority: ClassVar[int] = 0

    @abstractmethod
    async def serve(self, llm: LLM, config: ServerConfig) -> None:
        """Serve until cancelled; returns when every open request has been answered."""
