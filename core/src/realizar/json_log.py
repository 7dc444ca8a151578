"""The log as JSON, a line an entry, with what is known of the request that is being served."""

from __future__ import annotations

import contextvars
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

REQUEST: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("request", default=MappingProxyType({}))
"""Members of every entry that is written while a request is served: its id, its trace."""

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """time (UTC, RFC 3339), level, logger, message; the request's members; the entry's `extra`; an exception's text."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **REQUEST.get(),
            **{name: value for name, value in vars(record).items() if name not in _PLAIN},
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def log_as_json() -> None:
    """From now on, in the form of JSON wherever the log goes; the server's own entries of level "info" too."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())
    logging.getLogger("realizar.server").setLevel(logging.INFO)
