"""The program that agents run is one that they cannot read."""

import os
import resource
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.agents.hidden import hidden, is_hidden

COPIERS = 8


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


def test_of_many_who_copy_it_at_once_all_get_the_one_copy(program: Path, tmp_path: Path) -> None:
    """Two runtimes of one process do, too."""
    size = 20_000_000
    program.write_bytes(b"\x7fELF" + bytes(size))
    folder, together = tmp_path / "cli", threading.Barrier(COPIERS)

    def copied(_number: int) -> tuple[Path, int]:
        together.wait()
        copy = hidden(program, folder)
        return copy, copy.stat().st_size

    with ThreadPoolExecutor(COPIERS) as pool:
        found = set(pool.map(copied, range(COPIERS)))
    ((copy, whole),) = found
    assert whole == size + 4
    assert list(folder.iterdir()) == [copy.parent]


def test_a_half_that_somebody_is_still_making_stays_and_one_of_somebody_who_died_goes(
    program: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cli"
    halves = {name: folder / name for name in (".new-theirs", f".new-{os.getpid()}", ".new-dead")}
    for half in halves.values():
        half.mkdir(parents=True)
    an_hour_ago = halves[".new-dead"].stat().st_mtime - 3600
    os.utime(halves[".new-dead"], (an_hour_ago, an_hour_ago))
    copy = hidden(program, folder)
    assert set(folder.iterdir()) == {copy.parent, *halves.values()} - {halves[".new-dead"]}


def test_a_copy_that_fails_leaves_no_half(program: Path, tmp_path: Path) -> None:
    program.write_bytes(bytes(1_000_000))
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            hidden(program, tmp_path / "cli")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert list((tmp_path / "cli").iterdir()) == []
