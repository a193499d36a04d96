"""The disk of workspaces and logs is full: nothing is lost or told wrongly, and room again needs no restart.

It takes a small disk of its own, which only root can mount.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

import counted
from chaos.nursery import Nursery
from chaos.points import Order
from chaos.sweep import Shown, Story, Telling
from chaos.worker import lives, write_worker

DISK_BYTES = 4 * 1024 * 1024
PAGE_BYTES = 2 * 4096
STORY = Story("an agent writes", "analysis", "approval", is_written=False)


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    place.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@dataclass(slots=True)
class Full(Telling):
    """The disk fills up at a moment of the story, and has room again when somebody noticed."""

    when: str = "before"
    tries: int = 0
    said: list[str] = field(default_factory=list)
    is_filled: bool = False
    is_freed: bool = False

    @property
    def runs(self) -> Path:
        return self.world.root / "data" / "runs"

    def _environ(self) -> dict[str, str]:
        worker = write_worker(self.root / "worker", self.root / "ledger", shortest_s=1.5, longest_s=1.5)
        return {
            **self.world.settings(worker),
            "ORCH_WAKE_MERGE_S": "0.05",
            "ORCH_PLANE_CALLS_PER_MINUTE": "6000",
            **Order(trace=str(self.trace), is_quick=True).environ(),
        }

    def _begin(self) -> None:
        if self.when in {"before", "page by page"}:
            self._fill()
        super(Full, self)._begin()

    def _act(self, state: tuple[Any, ...]) -> None:
        if self.when == "an agent works" and not self.is_filled and lives(self.root / "ledger"):
            self._fill()
        if self.when == "page by page" and self.is_filled:
            self._free_a_page()
        elif self.is_filled and not self.is_freed and self._is_noticed():
            self._healthy()
            self.ballast.unlink()
            self.is_freed = True
        super(Full, self)._act(state)

    def _fill(self) -> None:
        self.ballast.parent.mkdir()
        with suppress(OSError), self.ballast.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        self.is_filled = True

    def _free_a_page(self) -> None:
        """One for each try, so that it is full at every single file that a run begins with."""
        size = self.ballast.stat().st_size
        if lives(self.root / "ledger"):
            os.truncate(self.ballast, 0)
            return
        tries = self.reached().count("runtime prepare")
        if size > PAGE_BYTES and tries > self.tries:
            os.truncate(self.ballast, size - PAGE_BYTES)
            self.tries, self.is_freed = tries, True

    @property
    def ballast(self) -> Path:
        return self.runs / "0" / "ballast"

    def _is_noticed(self) -> bool:
        """A run was put off, or ended otherwise than well."""
        log = self.service.log.read_text()
        self.said = [word for word in ("run_put_off", "run_ended", "run_broke") if word in log]
        return bool(self.said)

    def _healthy(self) -> None:
        answer = httpx.get(f"{self.service.url}/health", trust_env=False)
        assert answer.status_code == 200


def told(root: Path, when: str) -> tuple[Full, Shown]:
    with Nursery() as nursery:
        telling = Full(STORY, root / "story", nursery, when=when)
        with small_disk(root / "story" / "world" / "data" / "runs"):
            shown = telling.tell()
    assert telling.is_freed
    assert telling.restarts == 0
    return telling, shown


@pytest.mark.nightly
@pytest.mark.timeout(200)
@pytest.mark.parametrize("when", ["before", "an agent works", "page by page"])
def test_a_full_disk_of_runs_loses_nothing_and_room_again_needs_no_restart(tmp_path: Path, when: str) -> None:
    telling, shown = told(tmp_path, when)
    outcomes = [run[4] for run in shown["runs"]]
    tries = telling.reached().count("runtime prepare")
    counted.said(f"full {when}: noticed by {telling.said}, {tries} tries, {outcomes}")
    assert outcomes[-1] == "succeeded"
    assert outcomes.count("succeeded") == shown["commits"] - 1 == 1
    assert shown["integrity"] == [("ok",)]
    assert os.path.ismount(tmp_path) is False
