"""Programs on a terminal of their own."""

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import warm
from orchestrator.sim.world import Process
from support import until

ROWS, COLUMNS = 50, 160
Starter = Callable[[Sequence[str], Mapping[str, str], Path, int], Process]
"""Arguments, the whole environment, a folder, and the program's end of the terminal."""


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Who is started meanwhile hears Ctrl-C, though a shell may have had us ignore it (`make &`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def executed(arguments: Sequence[str], environ: Mapping[str, str], cwd: Path, terminal: int) -> Process:
    with _heard():
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=cwd,
            env=environ,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )


def forked(arguments: Sequence[str], environ: Mapping[str, str], cwd: Path, terminal: int) -> Process:
    """For who looks at what is shown; see `warm`."""
    if warm.IS_MEASURED:
        return executed(arguments, environ, cwd, terminal)
    name = os.ttyname(terminal)
    return warm.forked(arguments, environ, cwd, warm.Streams(name, name, name))


class Terminal:
    """`orch` on a pseudo-terminal, started as a user would or `forked`. What it wrote is in `text`."""

    def __init__(
        self, *arguments: str, cwd: Path, environ: Mapping[str, str], starter: Starter = executed
    ) -> None:
        self._written = bytearray()
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color", **environ}
        self._theirs = os.fdopen(theirs, "wb", 0)  # open until the end, for who is forked opens it when it runs
        self._process = starter(arguments, env, cwd, theirs)
        self._reader = threading.Thread(target=self._read, name="terminal")
        self._reader.start()

    @property
    def text(self) -> str:
        return self._written.decode(errors="replace").replace("\r\n", "\n")

    def shows(self, words: str, limit_s: float = 60.0) -> None:
        until(lambda: words in self.text, f"{words!r} on the terminal", limit_s)

    def interrupt(self) -> int:
        """As Ctrl-C; the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        code = self._process.wait(60)
        self._theirs.close()
        self._reader.join()
        return code

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(self._ours, 65536):
                self._written += piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self.wait()
        os.close(self._ours)
