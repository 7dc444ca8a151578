"""Saved caches have names of the server's own making, in a folder of the user's own."""

from __future__ import annotations

import pytest

from realizar.errors import RequestError
from realizar.session_folder import SessionFolder


def test_names_are_made_and_found_again(tmp_path):
    folder = SessionFolder(tmp_path / "new")
    path = folder.new()
    assert path.parent == tmp_path / "new"
    assert path != folder.new()
    with pytest.raises(RequestError, match="expected a name that saving returned"):
        folder.find(path.name)
    path.touch()
    assert folder.find(path.name) == path


@pytest.mark.parametrize("name", ["", ".", "../x", "/etc/passwd", "a.session", "0" * 32 + ".session\n", "0" * 33])
def test_other_names_find_nothing(tmp_path, name):
    with pytest.raises(RequestError, match="filename: found"):
        SessionFolder(tmp_path).find(name)


def test_the_default_is_beside_the_models(tmp_path, monkeypatch):
    monkeypatch.setenv("REALIZAR_HOME", str(tmp_path))
    assert SessionFolder().path == tmp_path / "sessions"
    assert not SessionFolder().path.exists()
