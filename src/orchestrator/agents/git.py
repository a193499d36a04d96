"""The one place that starts git: with no configuration but ours and no protocol but the one asked for."""

import base64
import os
import re
import signal
import subprocess  # noqa: TID251  # the home of child processes
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.agents.claude import plain
from orchestrator.agents.prompt import clean
from orchestrator.agents.room import SAID_BY_GIT, disk_full
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.domain.model import GitRemote
from orchestrator.pace import REFUSED_PAUSE_S

_OUTPUT_MAX_BYTES = 1024 * 1024
_STDERR_MAX_BYTES = 16 * 1024
_INHERITED = ("PATH", "GIT_SSL_CAINFO")
_BAD_IN_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-/.]|[/.]$|^@$")
_BRANCH_MAX_BYTES = 200
OLD_FAULTS = ("gitmodulesName", "gitmodulesPath", "gitmodulesUrl", "gitmodulesUpdate")
"""What git finds in a .gitmodules that the base branch has already. A new one is refused by its path."""
_AGAIN = "It is tried again by itself; when it stays, look whether the forge is up and the disk has room."


@dataclass(frozen=True, slots=True)
class Answer:
    """What git said, and its exit code (one of those that the caller asked to get)."""

    code: int
    out: bytes


def check_branch(name: str) -> str:
    """The rules of git itself, a length, and nothing unseen: what passes is safe as the end of `refs/heads/`."""
    is_long = len(name.encode(errors="replace")) > _BRANCH_MAX_BYTES
    if not name or is_long or _BAD_IN_BRANCH.search(name) or clean(name)[1]:
        raise Permanent(
            "bad_branch_name",
            f"{name[:80]!a} is no branch name that git accepts, so nothing was done with it.",
            hint="Rename the branch, or correct base_branch in orchestrator.yaml.",
        )
    return name


@dataclass(frozen=True, slots=True)
class Git:
    """Runs git with an argument list, bounded in time and output. Blocking: call it in a thread."""

    timeout_s: float = 300.0

    def __call__(  # noqa: PLR0913 - each is said by name
        self,
        *args: str | Path,
        git_dir: Path | None = None,
        remote: GitRemote | None = None,
        trusted: Sequence[Path] = (),
        accept: Sequence[int] = (0,),
        check_objects: bool = False,
        told: bytes | IO[bytes] | None = None,
        output_max_bytes: int = _OUTPUT_MAX_BYTES,
    ) -> Answer:
        """Raises Transient or Permanent for every exit code that is not accepted. `told` is its standard input:
        bytes, or a file from where it stands.

        With `git_dir` and no `--work-tree` among the arguments there is no work tree: say only what needs none.
        """
        # Named outright, so that git looks for no repository on its own.
        place = [f"--git-dir={git_dir}"] if git_dir else []
        words = [str(arg) for arg in args]
        action = next(word for word in words if not word.startswith("-"))
        text = _config_text(remote, trusted, check_objects=check_objects)
        with _config(text) as config, tempfile.TemporaryFile() as errors, _input(told) as source:
            start = _Start(["git", *place, *words], _environment(config, remote), config, source, output_max_bytes)
            code, out = self._run(start, errors)
            if code in accept:
                return Answer(code, out)
            raise _translate(_tail(errors), action, remote)

    def _run(self, start: "_Start", errors: IO[bytes]) -> tuple[int, bytes]:
        process = subprocess.Popen(
            start.command,
            stdin=start.source,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            env=start.env,
            pass_fds=(start.config,),
            start_new_session=True,
        )
        overdue = threading.Event()
        watchdog = threading.Timer(self.timeout_s, _give_up, (process, overdue))
        watchdog.start()
        try:
            answer = _finish(process, start.output_max_bytes)
        finally:
            watchdog.cancel()
        if overdue.is_set():
            raise Transient(
                "git_timeout", f"git took longer than {self.timeout_s:g} s and was stopped.", hint=_AGAIN
            )
        return answer


@dataclass(frozen=True, slots=True)
class _Start:
    """What one git is started with."""

    command: list[str]
    env: dict[str, str]
    config: int
    source: int | IO[bytes]
    output_max_bytes: int


def _finish(process: subprocess.Popen[bytes], most: int) -> tuple[int, bytes]:
    with process:
        assert process.stdout is not None  # noqa: S101  # asked for above; tells mypy
        out = process.stdout.read(most + 1)
        if len(out) > most:
            _kill_group(process)
            raise Permanent("git_output_too_long", f"git answered more than {most} bytes.")
        return process.wait(), out


def _give_up(process: subprocess.Popen[bytes], overdue: threading.Event) -> None:
    overdue.set()
    _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """The whole session of that git: its transport helpers hold the same pipes."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _environment(config: int, remote: GitRemote | None) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in _INHERITED if name in os.environ},
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": f"/proc/self/fd/{config}",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        # Unlike protocol.*.allow this cannot be overruled by the configuration of a repository.
        "GIT_ALLOW_PROTOCOL": _protocol(remote),
    }


def _protocol(remote: GitRemote | None) -> str:
    scheme, found, _ = (remote.url if remote else "").partition("://")
    if not found or scheme == "file":
        return "file"
    if scheme in {"http", "https"}:
        return scheme
    raise Permanent(
        "bad_remote",
        f"The forge's address begins with {scheme[:20]!r}; only http and https are spoken.",
        hint="Correct ORCH_GITEA_URL.",
    )


@contextmanager
def _input(told: bytes | IO[bytes] | None) -> Iterator[int | IO[bytes]]:
    """A file in memory for bytes: a pipe would have to be written and read at once."""
    if not isinstance(told, bytes):
        yield subprocess.DEVNULL if told is None else told
        return
    fd = os.memfd_create("git-input")
    with os.fdopen(fd, "w+b") as file:
        file.write(told)
        file.seek(0)
        yield file


@contextmanager
def _config(text: str) -> Iterator[int]:
    """The only configuration, in anonymous memory that git's children inherit: the token in it is in no
    argument, no environment and no file.
    """
    fd = os.memfd_create("git-config")
    try:
        os.write(fd, text.encode())
        yield fd
    finally:
        os.close(fd)


def _config_text(remote: GitRemote | None, trusted: Sequence[Path], *, check_objects: bool) -> str:
    sections = [
        "[core]\n hooksPath = /dev/null\n fsmonitor = false\n logAllRefUpdates = false",
        "[gc]\n auto = 0\n[maintenance]\n auto = false",
        f"[fetch]\n recurseSubmodules = false\n fsckObjects = {str(check_objects).lower()}",
        '[fetch "fsck"]\n' + "\n".join(f" {one} = ignore" for one in OLD_FAULTS),
        "[http]\n followRedirects = false\n lowSpeedLimit = 1\n lowSpeedTime = 60",
        *(f"[safe]\n directory = {_quoted(str(path))}" for path in trusted),
    ]
    if remote and remote.token:
        credential = base64.b64encode(f"{remote.user}:{remote.token}".encode()).decode()
        header = _quoted(f"Authorization: Basic {credential}")
        sections.append(f"[http {_quoted(remote.url)}]\n extraHeader = {header}")
    return "\n".join(sections) + "\n"


def _quoted(value: str) -> str:
    if any(ord(char) < 0x20 for char in value):
        raise Permanent("bad_git_value", "A path or address for git holds a control character.")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _tail(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _STDERR_MAX_BYTES))
    return errors.read().decode(errors="replace")


_REFUSED, _MISSING = "forge_refused", "repository_missing"
MENDED_BY_OTHERS = {_REFUSED: REFUSED_PAUSE_S, _MISSING: None}
"""Refusals of the forge as a whole, and how long to leave it alone then: a person gives a token or a right, and a
proxy's 404 passes by itself.
"""
_MEANINGS: tuple[tuple[str, str, str, str], ...] = (
    (  # first: what a hook says besides may look like another's refusal
        r"\[remote rejected\]",
        "push_declined",
        "The forge declined the push (a protected branch or a hook)",
        "Allow the orchestrator's user to push to the task branches.",
    ),
    (
        r"Authentication failed|could not read (Username|Password)|error: 40[13]|HTTP 40[13]|Access denied",
        _REFUSED,
        "The forge refused our token for this repository",
        "Check that the token is valid and that its user may read and write the repository.",
    ),
    (
        r"\[rejected\]|non-fast-forward|fetch first",
        "not_fast_forward",
        "The branch on the forge has commits that this run does not have, so nothing was pushed",
        "Someone else pushed. Look at both; then retry the run from the branch's new head.",
    ),
    (
        r"[Rr]epository .*not found|error: 404|does not appear to be a git repository|does not exist$",
        _MISSING,
        "There is no such repository, or our token may not see it",
        "Check the repository's name in orchestrator.yaml and the token's access.",
    ),
    (
        r"fsck error|bad object|index-pack .*fail|fatal: (unpack|fsck)",
        "bad_objects",
        "The repository's objects are damaged or forged, so they were not taken over",
        "Look at the workspace; then retry the run.",
    ),
)


def _translate(stderr: str, action: str, remote: GitRemote | None) -> OrchestratorError:
    said = plain(stderr.replace(remote.token, "***") if remote and remote.token else stderr, 400)
    if re.search(SAID_BY_GIT, stderr):  # first: with it everything else breaks, and looks like another's fault
        return disk_full(f"git {action} said: {said}")
    for pattern, code, meaning, hint in _MEANINGS:
        if re.search(pattern, stderr, re.MULTILINE):
            return Permanent(code, f"{meaning}. git {action} said: {said}", hint=hint)
    return Transient("git_failed", f"git {action} failed: {said or 'no reason given'}", hint=_AGAIN)
