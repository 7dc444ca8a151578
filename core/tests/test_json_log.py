"""The log as JSON."""

from __future__ import annotations

import json
import logging
import sys

from realizar.json_log import REQUEST, JsonFormatter


def entry_of(**record: object) -> dict[str, object]:
    made = logging.makeLogRecord({"name": "a.b", "levelname": "WARNING", "created": 0.25, **record})
    line = JsonFormatter().format(made)
    assert "\n" not in line
    return dict(json.loads(line))


def test_an_entry_has_what_was_logged() -> None:
    assert entry_of(msg="%d of %s\n", args=(1, "é"), status=200, odd={1}) == {
        "time": "1970-01-01T00:00:00.250+00:00", "level": "warning", "logger": "a.b", "message": "1 of é\n",
        "status": 200, "odd": "{1}",
    }  # fmt: skip


def test_an_entry_has_the_members_of_its_request() -> None:
    token = REQUEST.set({"request_id": "r"})
    try:
        assert entry_of(msg="x")["request_id"] == "r"
    finally:
        REQUEST.reset(token)
    assert "request_id" not in entry_of(msg="x")


def test_an_entry_has_the_exception() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        entry = entry_of(msg="x", exc_info=sys.exc_info())
    assert str(entry["exception"]).endswith("ValueError: broken")
