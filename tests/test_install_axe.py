"""The installer of axe-core with a tiny package and a stand-in npm: what it takes, and what it refuses."""

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from support import ROOT

SCRIPTS = ROOT / "scripts"
SCRIPT = SCRIPTS / "install_axe.py"
sys.path.insert(0, str(SCRIPTS))
import install_axe  # noqa: E402 - scripts are no package
import install_claude  # noqa: E402

sys.path.remove(str(SCRIPTS))


def packed(path: Path, content: bytes) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(install_axe.MEMBER)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return path


def pin(path: Path) -> install_claude.Pin:
    digest = hashlib.sha512(path.read_bytes()).digest()
    return install_claude.Pin("axe-core", "sha512-" + base64.b64encode(digest).decode(), "0.0.0")


def npm_with(folder: Path, package: Path) -> str:
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\ncp '{package}' .\n")
    npm.chmod(0o755)
    return str(npm)


def test_the_one_file_of_a_right_package_is_installed(tmp_path: Path) -> None:
    package, file = packed(tmp_path / "p.tgz", b"axe"), tmp_path / "axe.min.js"
    install_axe.install(file, pin(package), npm_with(tmp_path, package))
    assert file.read_bytes() == b"axe"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["axe.min.js", "npm", "p.tgz"]


def test_a_package_with_another_digest_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "axe.min.js"
    file.write_bytes(b"old")
    wanted, forged = packed(tmp_path / "p.tgz", b"axe"), packed(tmp_path / "q.tgz", b"forged")
    with pytest.raises(install_claude.InstallError, match="not the one we pinned"):
        install_axe.install(file, pin(wanted), npm_with(tmp_path, forged))
    assert file.read_bytes() == b"old"


def test_a_file_that_is_not_the_pinned_one_is_no_installation(tmp_path: Path) -> None:
    file = tmp_path / "axe.min.js"
    assert not install_axe.is_installed(file)
    file.write_bytes(b"axe")
    assert not install_axe.is_installed(file)


def test_without_npm_it_says_so_and_ends_with_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--into", str(tmp_path)], env={"PATH": ""}, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"npm was not found" in done.stderr
