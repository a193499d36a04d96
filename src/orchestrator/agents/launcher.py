"""Starts a run's shim: what the agent's process gets, and nothing more."""

import hashlib
import os
import re
import socket
import subprocess  # noqa: TID251  # the home of child processes
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from orchestrator.agents import confine, shim
from orchestrator.agents.rundir import RunPaths, place
from orchestrator.domain.errors import Permanent
from orchestrator.domain.roles import Role
from orchestrator.domain.run import RunLimits

_LOAD = "import sys; sys.path.append(sys.argv[2]); from orchestrator.agents import shim; "
"""Imported, not run as a script: so its compiled form is kept, which saves a tenth of the start."""
_SHIM = _LOAD + "sys.exit(shim.main(sys.argv[1]))"
_WAITING_SHIM = _LOAD + "sys.exit(shim.wait())"

PACKAGES = str(Path(shim.__file__).parents[2])

_DIGEST = re.compile(r"[0-9a-f]{64}")

_SECRET_MAX_BYTES = 4096
"""Fits into a pipe, so that writing it never waits for a reader."""

_QUIET = {
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",
    "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1",
    "CLAUDE_CODE_MAX_RETRIES": "6",
}
"""No connection but the model's API, no prompt text from the checkout, no task that outlives the answer."""


class CredentialKind(StrEnum):
    """How the CLI signs in."""

    NONE = "none"
    API_KEY = "api_key"
    OAUTH = "oauth"


_DESCRIPTOR_VARIABLE = {
    CredentialKind.API_KEY: "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR",
    CredentialKind.OAUTH: "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR",
}


@dataclass(frozen=True, slots=True)
class Credential:
    """The model's credential. It travels through a pipe: no argv, no environment, no file."""

    kind: CredentialKind = CredentialKind.NONE
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What one agent's process may use, and how long each step of the stop ladder waits."""

    log_max_bytes: int = 64 * 1024 * 1024
    file_max_bytes: int = 2 * 1024 * 1024 * 1024
    open_files: int = 4096
    disk_max_bytes: int = 0
    """Of the whole folder of the run; 0: no limit."""
    memory_max_bytes: int = 8 * 1024 * 1024 * 1024
    interrupt_s: float = 3.0
    terminate_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """How the CLI reaches the model. None: its own default, no proxy, and the authorities that it knows itself."""

    base_url: str | None = None
    proxy: str | None = None
    authorities: Path | None = None
    """A file of certificates in PEM."""


def child_env(
    paths: RunPaths, role: Role, search_path: str, credential: CredentialKind, route: ApiRoute
) -> dict[str, str]:
    """The agent's whole environment, built from nothing: our own never reaches it."""
    env = {
        "PATH": search_path,
        "HOME": str(paths.home),
        "TMPDIR": str(paths.tmp),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        # The machine's git settings are no part of a run, and may be unreadable inside a sandbox.
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        **_identity_variables(role),
        **_QUIET,
    }
    if variable := _DESCRIPTOR_VARIABLE.get(credential):
        env[variable] = str(shim.CREDENTIAL_FD)
    if route.base_url:
        env["ANTHROPIC_BASE_URL"] = route.base_url
    if route.authorities:
        env["NODE_EXTRA_CA_CERTS"] = str(paths.authorities)
    if route.proxy:
        env |= {"HTTPS_PROXY": route.proxy, "NO_PROXY": "127.0.0.1,localhost"}
    return env


def give_authorities(paths: RunPaths, route: ApiRoute) -> None:
    """A copy for the run: where the operator's file lies no sandbox lets an agent look. Raises Permanent."""
    if route.authorities is None:
        return
    try:
        place(paths.authorities, route.authorities.read_bytes())
    except OSError as error:
        raise Permanent(
            "ca_certs_unreadable",
            f"The certificates of ORCH_CLAUDE_CA_CERTS cannot be copied for the run: {error}.",
            hint="See that the file is there and may be read, then retry.",
        ) from error


def identity(role: Role) -> tuple[str, str]:
    """Name and address of a role's commits."""
    return f"orchestrator {role}", f"{role}@orchestrator.invalid"


def _identity_variables(role: Role) -> dict[str, str]:
    who = dict(zip(("NAME", "EMAIL"), identity(role), strict=True))
    return {f"GIT_{part}_{key}": value for part in ("AUTHOR", "COMMITTER") for key, value in who.items()}


def digest(*parts: bytes) -> str:
    """Of all that an agent is told, part by part, so that no two tellings look alike."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d\0" % len(part) + part)
    return whole.hexdigest()


def read_digest(paths: RunPaths) -> str | None:
    """As it was when the run was launched; None when it was not."""
    try:
        found = paths.digest.read_text(encoding="ascii", errors="replace")[:64]
    except OSError:
        return None
    return found if _DIGEST.fullmatch(found) else None


def spec_bytes(
    cwd: Path, argv: Sequence[str], env: Mapping[str, str], watched: RunLimits, limits: ProcessLimits
) -> bytes:
    """What `shim.Spec` reads. Free of secrets. NUL separates, so no value may hold one."""
    fields = [
        str(watched.timeout_s),
        str(limits.interrupt_s),
        str(limits.terminate_s),
        str(limits.log_max_bytes),
        str(limits.file_max_bytes),
        str(limits.open_files),
        str(limits.disk_max_bytes),
        str(watched.silence_s),
        str(limits.memory_max_bytes),
        str(cwd),
        str(len(argv)),
        *argv,
        *(f"{name}={value}" for name, value in env.items()),
    ]
    if any("\0" in entry for entry in fields):
        raise Permanent("nul_in_command", "A NUL byte stands in the agent's command or environment.")
    return b"\0".join(os.fsencode(entry) for entry in fields)


class Reserve:
    """One shim in advance: its interpreter has started before there is a run, which is most of a launch's time.

    `folder` is where the runs' folders are. It knows nothing of a run and holds no secret; whatever goes wrong
    with it costs time only, since `start_shim` then starts another.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changing = threading.Lock()
        self._waiting: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    @property
    def is_waiting(self) -> bool:
        return self._waiting is not None

    def renew(self) -> None:
        """Starts one unless one waits. Takes a millisecond; it is ready a moment later."""
        with self._changing:
            if self._waiting is None:
                self._waiting = self._started()

    def order(self, run: Path, descriptors: Sequence[int]) -> subprocess.Popen[bytes] | None:
        """Gives the run to the one that waits; None when there is none, or it is not alive any more."""
        if run.parent != self._folder:
            return None
        with self._changing:
            waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        shim, orders = waiting
        with orders:
            try:
                socket.send_fds(orders, [os.fsencode(run.name)], descriptors)
            except OSError:
                shim.kill()
                shim.wait()
                return None
        return shim

    def close(self) -> None:
        """The one that waits ends."""
        with self._changing:
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting[1].close()
            waiting[0].wait()

    def _started(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            return _popen(_WAITING_SHIM, self._folder, theirs.fileno(), subprocess.DEVNULL), ours


def start_shim(
    paths: RunPaths,
    spec: bytes,
    credential: Credential,
    policy: bytes = confine.OPEN,
    kept: Sequence[int] = (),
    reserve: Reserve | None = None,
) -> subprocess.Popen[bytes]:
    """The shim outlives us: a session of its own, no pipe of ours but the credential's, which is full already.

    `kept` are descriptors that it holds until it ends. It is the one of `reserve`, when one waits there.
    """
    place(paths.policy, policy)
    place(paths.spec, spec)
    errors = os.open(paths.errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    source = _credential_pipe(credential)
    try:
        ready = reserve.order(paths.root, (source, errors, *kept)) if reserve else None
        return ready or _popen(_SHIM, paths.root, source, errors, kept)
    finally:
        os.close(source)
        os.close(errors)


def _popen(code: str, place: Path, source: int, errors: int, kept: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-E", "-c", code, str(place), PACKAGES],
        stdin=source,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        cwd="/",
        env={"LC_ALL": "C.UTF-8"},
        start_new_session=True,
        pass_fds=kept,
    )


def _credential_pipe(credential: Credential) -> int:
    """Read once by the CLI; who opens it later finds it empty."""
    secret = credential.secret.encode()
    if len(secret) > _SECRET_MAX_BYTES:
        raise Permanent("credential_too_long", "The model's credential is longer than any real one.")
    reader, writer = os.pipe()
    os.write(writer, secret)
    os.close(writer)
    return reader
