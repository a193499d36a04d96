"""The program that agents run is one that they cannot read."""

from pathlib import Path

import pytest

from orchestrator.agents.hidden import hidden, is_hidden


@pytest.fixture
def program(tmp_path: Path) -> Path:
    made = tmp_path / "claude"
    made.write_bytes(b"\x7fELF and more")
    made.chmod(0o755)
    return made


def test_a_program_that_can_be_read_is_copied_to_one_that_cannot(program: Path, tmp_path: Path) -> None:
    copy = hidden(program, tmp_path / "cli")
    assert copy != program
    assert copy.name == "claude"
    assert copy.stat().st_mode & 0o777 == 0o111
    assert is_hidden(copy)
    assert copy.stat().st_size == program.stat().st_size
    assert (tmp_path / "cli").stat().st_mode & 0o777 == copy.parent.stat().st_mode & 0o777 == 0o711


def test_it_is_copied_once_and_a_changed_mode_is_mended(program: Path, tmp_path: Path) -> None:
    copy = hidden(program, tmp_path / "cli")
    first = copy.stat().st_ino
    copy.chmod(0o755)
    again = hidden(program, tmp_path / "cli")
    assert (again, again.stat().st_ino, again.stat().st_mode & 0o777) == (copy, first, 0o111)


def test_a_newer_program_takes_the_older_ones_place(program: Path, tmp_path: Path) -> None:
    old = hidden(program, tmp_path / "cli")
    program.write_bytes(b"\x7fELF and newer")
    new = hidden(program, tmp_path / "cli")
    assert [path.parent for path in (new,)] == list((tmp_path / "cli").iterdir())
    assert not old.exists()


def test_what_is_hidden_already_and_what_is_a_script_stays(program: Path, tmp_path: Path) -> None:
    program.chmod(0o111)
    assert hidden(program, tmp_path / "cli") == program
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert hidden(script, tmp_path / "cli") == script
    assert not is_hidden(script)
    assert not (tmp_path / "cli").exists()
