"""Services that start in a twentieth of the time: forked from a process that has loaded everything already.

Each is a process of its own, which can be killed as any other; only the loading of modules is shared.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from orchestrator.sim.world import Service
from support import ROOT
from warm import PRELOADED

START_S = 60.0


@dataclass(slots=True)
class Nursery:
    """Holds the process that others are forked from."""

    process: "subprocess.Popen[bytes] | None" = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT / "tests")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chaos.nursery"],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """At the end of its input it ends its children and itself."""
        assert self.process is not None
        self._pipe("stdin").close()
        self.process.wait(START_S)
        self._pipe("stdout").close()

    def born(self, environ: Mapping[str, str], folder: Path, log: Path) -> int:
        """The new process's pid."""
        return self._asked({"environ": dict(environ), "folder": str(folder), "log": str(log)})

    def ended(self, pid: int, number: int = 0) -> int | None:
        """Sends the signal; 0 only asks. How the process ended; None while it lives."""
        said = self._asked({"pid": pid, "signal": number})
        return None if said == ALIVE else said

    def _asked(self, order: Mapping[str, Any]) -> int:
        with self._lock:
            self._pipe("stdin").write(json.dumps(order).encode() + b"\n")
            self._pipe("stdin").flush()
            return int(self._pipe("stdout").readline())

    def _pipe(self, name: str) -> IO[bytes]:
        return getattr(self.process, name)  # type: ignore[no-any-return]


@dataclass(slots=True)
class Forked(Service):
    """A Service out of a nursery; it is started again as often as one likes."""

    nursery: Nursery = field(default_factory=Nursery)
    pid: int = 0

    def start(self) -> Self:
        self.log.touch()
        position = self.log.stat().st_size
        environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self.environ}
        self.pid = self.nursery.born(environ, self.root, self.log)
        until = time.monotonic() + START_S
        while not (url := self._said_url(position)):
            if self.has_ended():
                return self
            if time.monotonic() > until:
                raise RuntimeError(f"The orchestrator did not start. Its log ends:\n{self._log_end()}")
            time.sleep(0.002)
        self.url = url
        return self

    def __exit__(self, *_: object) -> None:
        if not self.has_ended():
            self.kill()

    def has_ended(self) -> bool:
        return self.pid == 0 or self.nursery.ended(self.pid) is not None

    def _end(self, how: signal.Signals) -> int:
        until = time.monotonic() + START_S
        code = self.nursery.ended(self.pid, how)
        while code is None:
            code = self.nursery.ended(self.pid, signal.SIGKILL if time.monotonic() > until else 0)
            time.sleep(0.002)
        self.pid = 0
        return code


ALIVE = -1000


class _Mother:
    """The nursery's own process: one order a line, one number a line in answer."""

    def __init__(self) -> None:
        self.children: dict[int, int | None] = {}

    def carry_out(self, order: Mapping[str, Any]) -> int:
        if "pid" not in order:
            return self._bear(order)
        pid = int(order["pid"])
        self._reap()
        if self.children.get(pid, 0) is None and order["signal"]:
            os.kill(pid, order["signal"])
        code = self.children.get(pid, 0)
        return ALIVE if code is None else code

    def end(self) -> None:
        for pid, code in self.children.items():
            if code is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def _bear(self, order: Mapping[str, Any]) -> int:
        pid = os.fork()
        if pid == 0:
            _become(order)
        self.children[pid] = None
        return pid

    def _reap(self) -> None:
        for pid, code in self.children.items():
            if code is None and os.waitpid(pid, os.WNOHANG)[0]:
                self.children[pid] = 0


def _become(order: Mapping[str, Any]) -> None:
    """Never returns."""
    from chaos import composed  # noqa: PLC0415 - the mother has loaded it

    status = 1
    try:
        os.setsid()
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(order["environ"])
        time.tzset()  # whoever is executed reads its zone, and we were forked
        os.chdir(order["folder"])
        status = composed.run(os.environ)
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        os._exit(status)


def main() -> None:
    for name in ("chaos.composed", *PRELOADED):  # before the first fork, and only here
        importlib.import_module(name)
    mother = _Mother()
    for line in sys.stdin.buffer:
        print(mother.carry_out(json.loads(line)), flush=True)
    mother.end()


if __name__ == "__main__":
    main()
