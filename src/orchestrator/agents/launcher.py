"""Starts a run's shim: what the agent's process gets, and nothing more."""

import os
import subprocess  # noqa: TID251  # the home of child processes
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from orchestrator.agents import shim
from orchestrator.agents.rundir import RunPaths
from orchestrator.domain.errors import Permanent
from orchestrator.domain.model import Role

_SHIM = "import sys; sys.path.append(sys.argv[2]); from orchestrator.agents import shim; sys.exit(shim.main())"
"""Imported, not run as a script: so its compiled form is kept, which saves a tenth of the start."""

_PACKAGES = str(Path(shim.__file__).parents[2])

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
    interrupt_s: float = 3.0
    terminate_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """How the CLI reaches the model. None: its own default, and no proxy."""

    base_url: str | None = None
    proxy: str | None = None


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
        **_identity(role),
        **_QUIET,
    }
    if variable := _DESCRIPTOR_VARIABLE.get(credential):
        env[variable] = str(shim.CREDENTIAL_FD)
    if route.base_url:
        env["ANTHROPIC_BASE_URL"] = route.base_url
    if route.proxy:
        env |= {"HTTPS_PROXY": route.proxy, "NO_PROXY": "127.0.0.1,localhost"}
    return env


def _identity(role: Role) -> dict[str, str]:
    who = {"NAME": f"orchestrator {role}", "EMAIL": f"{role}@orchestrator.invalid"}
    return {f"GIT_{part}_{key}": value for part in ("AUTHOR", "COMMITTER") for key, value in who.items()}


def spec_bytes(
    cwd: Path, argv: Sequence[str], env: Mapping[str, str], timeout_s: float, limits: ProcessLimits
) -> bytes:
    """What `shim.Spec` reads. Free of secrets. NUL separates, so no value may hold one."""
    fields = [
        str(timeout_s),
        str(limits.interrupt_s),
        str(limits.terminate_s),
        str(limits.log_max_bytes),
        str(limits.file_max_bytes),
        str(limits.open_files),
        str(cwd),
        str(len(argv)),
        *argv,
        *(f"{name}={value}" for name, value in env.items()),
    ]
    if any("\0" in entry for entry in fields):
        raise Permanent("nul_in_command", "A NUL byte stands in the agent's command or environment.")
    return b"\0".join(os.fsencode(entry) for entry in fields)


def start_shim(paths: RunPaths, spec: bytes, credential: Credential) -> subprocess.Popen[bytes]:
    """The shim outlives us: a session of its own, no pipe of ours but the credential's, which is full already."""
    fresh = paths.root / f"{shim.SPEC}.tmp"
    fresh.write_bytes(spec)
    fresh.replace(paths.spec)
    errors = os.open(paths.errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    source = _credential_pipe(credential)
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-E", "-c", _SHIM, str(paths.root), _PACKAGES],
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd="/",
            env={"LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
    finally:
        os.close(source)
        os.close(errors)


def _credential_pipe(credential: Credential) -> int:
    """Read once by the CLI; who opens it later finds it empty."""
    secret = credential.secret.encode()
    if len(secret) > _SECRET_MAX_BYTES:
        raise Permanent("credential_too_long", "The model's credential is longer than any real one.")
    reader, writer = os.pipe()
    os.write(writer, secret)
    os.close(writer)
    return reader
