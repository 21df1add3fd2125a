"""The command that installs an extra, by where depthmill was installed from."""

from __future__ import annotations

import pytest

from storage_schemas import install_command as module


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ({}, "pip install 'depthmill[train]'"),
        ({"url": "file:///a%20b", "dir_info": {"editable": True}}, "pip install -e '/a b[train]'"),
        ({"url": "file:///src", "dir_info": {}}, "pip install '/src[train]'"),
        (
            {"url": "https://u:secret@host/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'depthmill[train] @ git+https://u:***@host/x.git@abc'",
        ),
        (
            {"url": "https://host/depthmill.whl", "archive_info": {}},
            "pip install 'depthmill[train] @ https://host/depthmill.whl'",
        ),
        ({"url": "file:///gone/depthmill.whl", "archive_info": {}}, "pip install '<the wheel of depthmill>[train]'"),
    ],
)
def test_command_when_installed_from_there_then_pip_finds_it_again(origin, expected, monkeypatch):
    monkeypatch.setattr(module, "_origin", lambda: origin)
    assert module.install_command("train") == expected


def test_origin_when_the_note_is_unreadable_then_as_from_an_index(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(module.metadata, "distribution", lambda name: type("Broken", (), {"read_text": lambda self, file: "{"})())
    assert module._origin() == {}
