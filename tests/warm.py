"""Services and commands without the start of an interpreter: that and the imports cost more than most stories.

One process for each worker has imported the program, opened nothing and started no thread; it forks whenever one
is to start. What comes of it is a process as any other: environment, folder, output and session are its own, and
so is its end. When the worker is gone, however that came, the kernel ends what was left of them.
A test whose subject is the start itself leaves `Service.starter` as it is, and runs a command by `executed` here.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess

from orchestrator.sim import world
from orchestrator.sim.world import Process

PRELOADED = (
    "ctypes",
    "warm",
    "orchestrator.cli.app",
    "orchestrator.cli.serve",
    # What a service imports only when it needs it.
    "orchestrator.main",
    "orchestrator.web.app",
    "pydantic.v1",
    "aiohttp",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    # What a command does.
    *(f"orchestrator.cli.{name}" for name in ("doctor", "events", "explain", "left", "status", "task", "token")),
    *(f"orchestrator.cli.{name}" for name in ("configuration", "runs", "transcripts", "verify")),
    "rich.console",
    "rich.table",
    "warm_rest",
)
IS_MEASURED = "COVERAGE_PROCESS_START" in os.environ
"""`make cover-all` measures from the start of an interpreter to its end."""
_PR_SET_PDEATHSIG = 1
MAX_FILES = 4096
COMMAND_LIMIT_S = 100.0


@dataclass(frozen=True, slots=True)
class Streams:
    """Paths of files, or of a terminal."""

    given: str
    said: str
    complained: str


@dataclass(frozen=True, slots=True)
class Forked:
    """As a `subprocess.Popen`, as far as a service needs it."""

    process: ForkServerProcess

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        code = self.process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self.process.name), timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    with _found_here():
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def _found_here() -> Iterator[None]:
    """A process that starts meanwhile can import this module; else each that is forked would have to."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def started(arguments: Sequence[str], environ: Mapping[str, str], root: Path, log: Path) -> Process:
    """A `Starter`."""
    if IS_MEASURED:
        return world.executed(arguments, environ, root, log)
    log.touch()
    return forked(arguments, environ, root, Streams(os.devnull, str(log), str(log)))


def orch(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """A command to its end, in a process that was forked."""
    if IS_MEASURED:
        return executed(*arguments, cwd=cwd, environ=environ)
    with tempfile.TemporaryDirectory() as folder:
        said, complained = Path(folder, "said"), Path(folder, "complained")
        streams = Streams(os.devnull, str(said), str(complained))
        code = forked(arguments, _whole(environ), cwd, streams).wait(COMMAND_LIMIT_S)
        return CompletedProcess(arguments, code, said.read_text("utf-8"), complained.read_text("utf-8"))


def executed(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """The same as a user would start it."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=cwd,
        env=_whole(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )


def _whole(environ: Mapping[str, str] | None) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **(environ or {})}


def forked(arguments: Sequence[str], environ: Mapping[str, str], root: Path, streams: Streams) -> Forked:
    order = (tuple(arguments), dict(environ), str(root), streams)
    process = _context().Process(target=_orch, args=order, name="orch", daemon=True)
    process.start()
    return Forked(process)


def _orch(arguments: Sequence[str], environ: Mapping[str, str], root: str, streams: Streams) -> None:
    """In the forked process: what an exec would have made of it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    os.closerange(3, MAX_FILES)  # among them the pipe whose end tells the forking process that the worker is gone
    _speak_into(streams)
    os.chdir(root)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv[:] = ["orch", *arguments]
    if len(list(Path("/proc/self/task").iterdir())) != 1 or not set(PRELOADED) <= set(sys.modules):
        raise RuntimeError("The process that forks has threads, or lacks what it should have imported.")
    from orchestrator.cli.app import main  # noqa: PLC0415 - this module is imported by tests that start nothing

    main()


def _speak_into(streams: Streams) -> None:
    how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY
    os.dup2(os.open(streams.given, os.O_RDONLY | os.O_NOCTTY), 0)
    os.dup2(os.open(streams.said, how, 0o644), 1)
    os.dup2(os.open(streams.complained, how, 0o644), 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
