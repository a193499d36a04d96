#!/usr/bin/env python3
"""Install the pinned axe-core, which looks for what bars people from a page: `install_axe.py --into .tools`.

Only the browser tests need it, so it is fetched and not kept in the tree: half a megabyte of somebody else's
minified code under another licence (MPL-2.0) would be ours to carry. As with the CLI, npm fetches and the hash
below decides.
"""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from install_claude import InstallError, Pin, download, extract, find_npm, sha256_of, verify

PIN = Pin(
    "axe-core",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    "4.14.1",
)
STAGING_PREFIX = ".axe-"
"""Not the CLI's: its installer clears what begins like its own."""
MEMBER = "package/axe.min.js"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
"""Of that file: who uses it can tell without npm that it is still the one."""


def is_installed(file: Path) -> bool:
    return file.is_file() and sha256_of(file) == SHA256


def install(file: Path, pin: Pin, npm: str) -> None:
    """Whole, or as it was."""
    with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=file.parent) as staging:
        tarball = download(npm, pin, Path(staging))
        verify(tarball, pin.integrity)
        extract(tarball, Path(staging) / file.name, MEMBER)
        (Path(staging) / file.name).chmod(0o644)
        (Path(staging) / file.name).replace(file)


def run(into: Path) -> str:
    """Install unless it is already right; answers with the line to print."""
    file = into.resolve() / "axe.min.js"
    file.parent.mkdir(parents=True, exist_ok=True)
    if is_installed(file):
        os.utime(file)  # make compares its age with this script's
        return f"axe-core {PIN.version} is already in {file.parent}"
    install(file, PIN, find_npm())
    return f"axe-core {PIN.version} installed in {file.parent}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Install the pinned axe-core.")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder for axe.min.js")
    try:
        print(run(parser.parse_args(argv).into))
    except (InstallError, tarfile.TarError, EOFError, OSError) as error:
        print(f"axe-core was not installed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
