"""The list of commands says what each does in one whole sentence."""

from __future__ import annotations

import pytest
import typer.main

from flows.cli import app

COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_command_when_listed_on_a_terminal_of_80_columns_then_its_first_sentence_is_whole(name):
    room = 80 - 6 - max(map(len, COMMANDS))
    assert not COMMANDS[name].get_short_help_str(room).endswith("..."), COMMANDS[name].help
