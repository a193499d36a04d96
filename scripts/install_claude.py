#!/usr/bin/env python3
"""Install the pinned Claude Code CLI into a folder: `install_claude.py --into .tools`.

Runs before anything else is installed, so it needs only Python 3.11 and npm. The package is fetched by npm,
but trusted only after its sha512 has been compared here with the value pinned below; a new version is therefore
a change of this file. The binary needs no Node at run time.
"""

from __future__ import annotations

import argparse
import base64
import errno
import fcntl
import hashlib
import hmac
import os
import platform
import re
import shutil
import subprocess  # noqa: TID251  (npm is started here: this script runs before the package exists)
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VERSION = "2.1.330"
MEMBER = "package/claude"
MAX_BINARY_BYTES = 1 << 30
NPM_TIMEOUT_S = 900
FIRST_START_TIMEOUT_S = 60
STAGING_PREFIX = ".install-"


@dataclass(frozen=True)
class Pin:
    """One exact package; `integrity` is npm's `dist.integrity` of it."""

    package: str
    integrity: str
    version: str = VERSION


PINS = {
    "x86_64": Pin(
        "@anthropic-ai/claude-code-linux-x64",
        "sha512-9Gn+V7DtJ8M1nztP9CeDVl9g3RtrepI7rOFTyPRRnZe8D6zebIHKmC7OvBauucuAP0X0k85SDN/LPVZyjsGezQ==",
    ),
    "aarch64": Pin(
        "@anthropic-ai/claude-code-linux-arm64",
        "sha512-V4yanAY5EA5UpwwRPtjSfqDbNqAlUJeVn3NYZw2AgmRHjdpSsLtHAzbxRXfkAnbjwTXzE0uedjQxUY02ARPcsA==",
    ),
}


class InstallError(Exception):
    """Its text says what happened, what it means and what to do."""


def pin_for(system: str, machine: str) -> Pin:
    pin = PINS.get(machine) if system == "Linux" else None
    if pin is None:
        raise InstallError(
            f"there is no pinned CLI for {system} {machine}, only for Linux on {' and '.join(PINS)}. "
            "Use such a machine; demo and tests also work with the scripted stand-in."
        )
    return pin


def find_npm() -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise InstallError("npm was not found on PATH. Install Node.js with npm (any version: it only downloads).")
    return npm


def download(npm: str, pin: Pin, folder: Path) -> Path:
    """The packed tarball, still untrusted. npm's own text is not repeated: it holds addresses and paths."""
    spec = f"{pin.package}@{pin.version}"
    argv = [
        npm,
        "pack",
        "--ignore-scripts",
        "--loglevel=error",
        "--pack-destination",
        str(folder),
        "--",
        spec,
    ]
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=NPM_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InstallError(
            f"npm did not finish within {NPM_TIMEOUT_S} s. Check the network, then run again."
        ) from None
    tarballs = sorted(folder.glob("*.tgz"))
    if done.returncode != 0 or len(tarballs) != 1:
        raise InstallError(npm_failure(spec, done.returncode, done.stdout + done.stderr))
    return tarballs[0]


def npm_failure(spec: str, exit_code: int, output: bytes) -> str:
    found = re.search(rb"\b(E[A-Z]{3,20}|E4\d\d|E5\d\d)\b", output)
    code = found[1].decode() if found else f"exit code {exit_code}"
    if code == "ENOSPC":
        return disk_full()
    return (
        f"npm could not fetch {spec} ({code}). Nothing was installed. "
        f"Check the network and npm's settings with: npm view {spec} version"
    )


def disk_full() -> str:
    return "the disk is full. Nothing was changed. Free about 1 GB here and in npm's cache, then run again."


def verify(tarball: Path, integrity: str) -> None:
    """Refuse a tarball whose sha512 is not the pinned one, whatever npm said about it."""
    with tarball.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    found = "sha512-" + base64.b64encode(digest).decode("ascii")
    if not hmac.compare_digest(found.encode(), integrity.encode()):
        raise InstallError(
            f"the downloaded package is not the one we pinned. Expected {integrity}, got {found}. "
            "It was deleted and nothing was installed: it may be damaged or forged. Run `npm cache verify` and "
            "try again; if it happens twice, suspect the mirror or proxy that npm uses. Do not edit the pin."
        )


def extract(tarball: Path, target: Path, name: str = MEMBER) -> None:
    """Copy the one member we want to `target`; nothing in the archive decides where anything is written."""
    with tarfile.open(tarball, "r:gz") as archive:
        member = next((one for one in archive if one.name == name), None)
        if member is None or not member.isreg() or not 0 < member.size <= MAX_BINARY_BYTES:
            raise InstallError(
                f"the package holds no usable file {name}: its layout changed. Nothing was installed."
            )
        source = archive.extractfile(member)
        if source is None:  # pragma: no cover  (only links and devices have no content, refused above)
            raise InstallError(f"{name} could not be read from the package. Nothing was installed.")
        with source, target.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
    target.chmod(0o755)


def prove_it_runs(binary: Path) -> None:
    """A right file on the wrong machine (musl, an old kernel) is found here, not by the first run."""
    env = {
        "PATH": os.defpath,
        "HOME": str(binary.parent),
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
    }
    try:
        done = subprocess.run(
            [str(binary), "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FIRST_START_TIMEOUT_S,
            env=env,
            check=False,
        )
        said = done.stdout.decode(errors="replace").split()
    except (OSError, subprocess.TimeoutExpired):
        said = []
    if said[:1] != [VERSION]:
        raise InstallError(
            "the CLI was downloaded and is genuine, but it does not run on this machine (it needs glibc and a "
            "recent Linux). Nothing was installed. Use a glibc system or the container image."
        )


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_text(binary: Path) -> str:
    return f"{VERSION}\nsha256:{sha256_of(binary)}\n"


def is_installed(into: Path) -> bool:
    """True when the binary is, byte for byte, the one that an earlier run of this version verified."""
    binary, record = into / "claude", into / "claude.version"
    if not (binary.is_file() and os.access(binary, os.X_OK) and record.is_file()):
        return False
    with record.open("rb") as file:
        recorded = file.read(1000)
    return recorded.startswith(f"{VERSION}\n".encode()) and recorded == record_text(binary).encode()


@contextmanager
def only_one(into: Path) -> Iterator[None]:
    """Two installs at once would download twice and clean each other's staging away; the second one waits."""
    with (into / f"{STAGING_PREFIX}lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in into.glob(f"{STAGING_PREFIX}*/"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def install(into: Path, pin: Pin, npm: str) -> None:
    """Leave `claude` and `claude.version` in `into`, whole or as they were."""
    print(f"Downloading {pin.package} {VERSION} (about 175 MB) ...", flush=True)
    with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=into) as staging:
        folder = Path(staging)
        tarball = download(npm, pin, folder)
        verify(tarball, pin.integrity)
        extract(tarball, folder / "claude")
        prove_it_runs(folder / "claude")
        (folder / "claude.version").write_text(record_text(folder / "claude"), encoding="ascii")
        # The record goes last: after a crash in between it does not fit the binary, and the next run mends it.
        for name in ("claude", "claude.version"):
            (folder / name).replace(into / name)


def run(into: Path) -> str:
    """Install unless it is already right; answers with the line to print."""
    into = into.resolve()  # npm runs in another folder
    into.mkdir(parents=True, exist_ok=True)
    with only_one(into):
        if is_installed(into):
            os.utime(into / "claude")  # make compares its age with this script's
            return f"Claude Code CLI {VERSION} is already in {into}"
        install(into, pin_for(platform.system(), platform.machine()), find_npm())
    return f"Claude Code CLI {VERSION} installed in {into}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Install the pinned Claude Code CLI.")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder for the file `claude`")
    try:
        print(run(parser.parse_args(argv).into))
    except InstallError as error:
        reason = str(error)
    except (tarfile.TarError, EOFError) as error:
        reason = f"the package could not be unpacked ({error}). Nothing was installed."
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        reason = disk_full() if full else f"a file could not be written ({error}). Nothing was changed."
    except KeyboardInterrupt:
        reason = "interrupted. Nothing was changed; run again when you like."
    else:
        return 0
    print(f"The Claude Code CLI was not installed: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
