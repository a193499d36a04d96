"""Waiting for conditions, bounded, and short ways to look at a running orchestrator."""

import re
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

import counted
from orchestrator.sim.webhook import TRUSTS_NOBODY
from orchestrator.sim.world import Service

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
STALE_S = 0.5
POLL_S, POLL_SHARE, POLL_MAX_S = 0.02, 0.15, 0.3


def until(look: Callable[[], T], what: str, limit_s: float = 60.0) -> T:
    """The first true answer of `look`; AssertionError with the last one when time is over.

    The longer it took, the rarer it is asked for: a look costs both sides more than what is waited for.
    """
    began = time.monotonic()
    while not (seen := look()):
        passed = time.monotonic() - began
        assert passed < limit_s, f"{what}: not in {limit_s} s; last seen: {seen!r}"
        time.sleep(min(max(POLL_S, passed * POLL_SHARE), POLL_MAX_S))
    return seen


def only_task(client: httpx.Client) -> dict[str, Any]:
    tasks = client.get("/status").json()["active_tasks"]
    assert len(tasks) <= 1, tasks
    return dict(tasks[0]) if tasks else {}


def at_rest(client: httpx.Client) -> dict[str, Any]:
    """The one task, when nothing is at work and it waits for somebody."""

    def look() -> dict[str, Any]:
        task = only_task(client)
        who = {item["who"] for item in task.get("waiting", [])}
        return task if who - {"orchestrator", "agent"} and not task["agent_running"] else {}

    return until(look, "the task came to rest")


def query(service: Service, sql: str) -> list[tuple[Any, ...]]:
    """Straight from the file, as a stranger would read it."""
    database = sqlite3.connect(service.root / "data" / "orchestrator.db")
    try:
        return database.execute(sql).fetchall()
    finally:
        database.close()


class Changes:
    """Whether anything was stored, for a thousandth of what it costs to ask the service what."""

    def __init__(self, service: Service) -> None:
        self._file = service.root / "data" / "orchestrator.db"
        self._connection: sqlite3.Connection | None = None

    def mark(self) -> tuple[int, int]:
        """Another one after each commit of others (SQLite's `data_version`), and after STALE_S: an answer may
        also tell of what is stored nowhere.
        """
        if self._connection is None:
            self._connection = sqlite3.connect(self._file, check_same_thread=False)
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return version, int(time.monotonic() / STALE_S)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def written_by(recording: Path) -> str:
    """Where the recorded agent wrote its document, on the machine of the recording."""
    found = re.search(r'"file_path":\s*"([^"]+/BRD\.md)"', recording.read_text(encoding="utf-8"))
    assert found, recording
    return found[1]


def starts(ledger: Path) -> list[str]:
    """Sessions that the scripted agent was started for, as it noted itself."""
    return [line.split()[0] for line in ledger.read_text().splitlines()] if ledger.exists() else []


class Pulse(AbstractContextManager["Pulse"]):
    """Asks /health all the while, from a thread and a connection of its own."""

    def __init__(self, service: Service) -> None:
        self.answers = 0
        self.slowest_s = 0.0
        self._url = f"{service.url}/health"
        self._fault: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="pulse")

    def beats(self, count: int = 10) -> None:
        """Returns when `count` more questions were asked and answered from now on."""
        goal = self.answers + count + 1  # the first of them may have been asked before
        until(lambda: self._fault or self.answers >= goal, f"/health was answered {count} times")
        if self._fault:
            raise self._fault

    def _work(self) -> None:
        try:
            with httpx.Client(verify=TRUSTS_NOBODY, timeout=30, trust_env=False) as client:
                while not self._over.is_set():
                    began = time.monotonic()
                    client.get(self._url).raise_for_status()
                    self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                    self.answers += 1
        except httpx.HTTPError as error:
            self._fault = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        counted.said(f"/health: {self.answers} answers, the slowest after {self.slowest_s * 1000:.1f} ms")
        if self._fault:
            raise self._fault


def leftovers(marker: str) -> list[str]:
    """Processes whose command line or working directory names the marker."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode(errors="replace")
            where = str((process / "cwd").readlink())
        except OSError:
            continue
        if marker in line or marker in where:
            found.append(line)
    return found
