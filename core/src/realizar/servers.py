"""The contract of a server: what it is given, and what it owes."""

from __future__ import annotations

import asyncio
import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from realizar.errors import RequestError
from realizar.limits import Limits

if TYPE_CHECKING:
    from realizar.model_pool import ModelPool


@attrs.frozen(kw_only=True)
class ServerConfig:
    """Where a server listens, whom it answers and how much it takes; raises RequestError for what is not safe.

    host, port: port 0 lets the system choose. api_keys: a request must bring one of them; none asks for nothing.
    insecure: allow a host that other machines reach without a key. allowed_hosts: names a request may give in `Host`,
    beside the loopback ones and `host` itself. allowed_origins: other web origins whose pages may ask ("https://a.b").
    tls_cert, tls_key: PEM files. strict: refuse fields that are not known instead of naming them in a header.
    max_body_nbytes: of a request. max_json_depth: how deeply its lists and objects may nest.
    write_timeout_s: for how long a client may not read. drain_s: for how long open requests may go on at the end.
    metrics_compat: metrics also under the names of that engine. allow_manage: requests may load models anew, unload
    them and save what their cache holds, in session_folder (None: beside the models). limits: how much is taken on,
    and what failure costs.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[str, ...] = attrs.field(default=(), repr=False)
    insecure: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    strict: bool = False
    max_body_nbytes: int = 8 << 20
    max_json_depth: int = 64
    keepalive_s: float = 15.0
    write_timeout_s: float = 60.0
    drain_s: float = 30.0
    metrics_compat: Literal["vllm"] | None = None
    allow_manage: bool = False
    session_folder: Path | None = None
    limits: Limits = attrs.field(factory=Limits)

    def __attrs_post_init__(self) -> None:
        if not (self.is_loopback or self.api_keys or self.insecure):
            raise RequestError(
                f"host: {self.host} is reached by other machines and no key is asked for; give --api-key-file, "
                f"or --insecure if everybody may use this server"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise RequestError("tls_cert and tls_key go together: give both --tls-cert and --tls-key, or neither")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches `host`."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name, which may mean anything


class Server(ABC):
    """Offers models over a network protocol."""

    name: ClassVar[str]
    priority: ClassVar[int] = 0

    @abstractmethod
    async def serve(
        self, pool: ModelPool, config: ServerConfig, *, listening: Callable[[str], None], stop: asyncio.Event
    ) -> None:
        """Listen, call `listening` with the URL, answer until `stop` is set, then let open requests end.

        Models may still be loading: until they are there, requests for them are refused as "try again".
        Raises RequestError naming host and port if they cannot be had.
        """
