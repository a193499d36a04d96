"""The installer with a tiny package and a stand-in npm: what is refused, and that nothing half-made stays."""

import base64
import hashlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "install_claude.py"
VERSION = "2.1.330"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install_claude", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["install_claude"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


installer = load()
GOOD = f"#!/bin/sh\necho '{VERSION} (Claude Code)'\n".encode()


def packed(path: Path, name: str = "package/claude", content: bytes = GOOD, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.mode, member.linkname = kind, 0o600, "/etc/passwd"
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content) if kind == tarfile.REGTYPE else None)
    return path


def integrity(path: Path) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def stand_in_npm(folder: Path, body: str) -> str:
    """A program in npm's place; it runs in the staging folder, where npm leaves the tarball."""
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{body}\n")
    npm.chmod(0o755)
    return str(npm)


def pin(path: Path) -> object:
    return installer.Pin("@example/claude", integrity(path))


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    return folder


def contents(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_right_package_is_installed_executable_with_its_record(tmp_path: Path, into: Path) -> None:
    package = packed(tmp_path / "p.tgz")
    installer.install(into, pin(package), stand_in_npm(tmp_path, f"cp '{package}' ."))
    assert contents(into) == ["claude", "claude.version"]
    assert (into / "claude").read_bytes() == GOOD
    assert (into / "claude").stat().st_mode & 0o777 == 0o755
    assert (into / "claude.version").read_text().splitlines()[0] == VERSION
    assert installer.is_installed(into)


@pytest.mark.parametrize("spoil", ["binary", "record", "mode", "version", "missing"])
def test_a_spoiled_installation_is_noticed(tmp_path: Path, into: Path, spoil: str) -> None:
    package = packed(tmp_path / "p.tgz")
    installer.install(into, pin(package), stand_in_npm(tmp_path, f"cp '{package}' ."))
    match spoil:
        case "binary":
            (into / "claude").write_bytes(GOOD + b"\n")
        case "record":
            (into / "claude.version").unlink()
        case "mode":
            (into / "claude").chmod(0o644)
        case "version":
            record = (into / "claude.version").read_text()
            (into / "claude.version").write_text(record.replace(VERSION, "2.1.197"))
        case _:
            (into / "claude").unlink()
    assert not installer.is_installed(into)


def test_a_package_with_another_digest_is_refused_and_the_old_one_stays(tmp_path: Path, into: Path) -> None:
    (into / "claude").write_bytes(b"old")
    wanted, forged = packed(tmp_path / "p.tgz"), packed(tmp_path / "q.tgz", content=GOOD + b"#")
    with pytest.raises(installer.InstallError, match="not the one we pinned"):
        installer.install(into, pin(wanted), stand_in_npm(tmp_path, f"cp '{forged}' ."))
    assert contents(into) == ["claude"]
    assert (into / "claude").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("../claude", GOOD, tarfile.REGTYPE),
        ("package/../../claude", GOOD, tarfile.REGTYPE),
        ("/package/claude", GOOD, tarfile.REGTYPE),
        ("package/claude", GOOD, tarfile.SYMTYPE),
        ("package/claude", GOOD, tarfile.LNKTYPE),
        ("package/claude", GOOD, tarfile.FIFOTYPE),
        ("package/claude", b"", tarfile.REGTYPE),
        ("package/other", GOOD, tarfile.REGTYPE),
    ],
)
def test_only_the_one_regular_file_is_taken(
    tmp_path: Path, into: Path, name: str, content: bytes, kind: bytes
) -> None:
    package = packed(tmp_path / "p.tgz", name, content, kind)
    before = contents(tmp_path)
    with pytest.raises(installer.InstallError, match="no usable file"):
        installer.extract(package, into / "claude")
    assert contents(into) == []
    assert contents(tmp_path) == before


@pytest.mark.parametrize("content", [b"not an executable", b"#!/bin/sh\necho 2.1.197\n", b"#!/bin/sh\nexit 1\n"])
def test_a_binary_that_does_not_run_here_is_not_installed(tmp_path: Path, into: Path, content: bytes) -> None:
    package = packed(tmp_path / "p.tgz", content=content)
    with pytest.raises(installer.InstallError, match="does not run on this machine"):
        installer.install(into, pin(package), stand_in_npm(tmp_path, f"cp '{package}' ."))
    assert contents(into) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo 'npm error code ENOTFOUND at the address x.example' >&2; exit 1", r"\(ENOTFOUND\)"),
        ("echo 'npm error code E404' >&2; exit 1", r"\(E404\)"),
        ("echo 'npm error code ENOSPC' >&2; exit 1", "the disk is full"),
        ("exit 3", "exit code 3"),
        ("true", "exit code 0"),
    ],
)
def test_a_failing_npm_is_named_by_its_code_only(tmp_path: Path, into: Path, body: str, reason: str) -> None:
    with pytest.raises(installer.InstallError, match=reason) as caught:
        installer.install(into, installer.Pin("@example/claude", "sha512-"), stand_in_npm(tmp_path, body))
    assert "x.example" not in str(caught.value)
    assert contents(into) == []


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "riscv64"), ("Linux", "")])
def test_another_machine_is_told_what_is_supported(system: str, machine: str) -> None:
    with pytest.raises(installer.InstallError, match="x86_64 and aarch64"):
        installer.pin_for(system, machine)


def test_both_pins_are_whole_sha512_values() -> None:
    for one in installer.PINS.values():
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", one.integrity)
        assert one.package.startswith("@anthropic-ai/claude-code-linux-")
    assert len({one.integrity for one in installer.PINS.values()}) == 2


def test_what_a_killed_install_left_is_swept_away(into: Path) -> None:
    (into / ".install-abc").mkdir()
    (into / ".install-abc" / "half.tgz").write_bytes(b"half")
    with installer.only_one(into):
        assert contents(into) == [".install-lock"]


def test_a_second_install_waits_for_the_first(into: Path) -> None:
    entered = threading.Event()

    def second() -> None:
        with installer.only_one(into):
            entered.set()

    with installer.only_one(into):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not entered.wait(0.3)
    assert entered.wait(30)
    waiting.join()


def test_the_script_says_one_line_and_exits_1_without_npm(tmp_path: Path) -> None:
    command = [sys.executable, "-I", str(SCRIPT), "--into", str(tmp_path / "new" / "tools")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The Claude Code CLI was not installed: npm was not found on PATH.")
    assert done.stderr.count("\n") == 1


def test_an_installed_cli_is_not_fetched_again(tmp_path: Path, into: Path) -> None:
    package = packed(tmp_path / "p.tgz")
    installer.install(into, pin(package), stand_in_npm(tmp_path, f"cp '{package}' ."))
    os.utime(into / "claude", (0, 0))
    command = [sys.executable, "-I", str(SCRIPT), "--into", str(into)]
    done = subprocess.run(command, env={"PATH": "/nonexistent"}, capture_output=True, text=True, check=True)
    assert done.stdout == f"Claude Code CLI {VERSION} is already in {into}\n"
    assert (into / "claude").stat().st_mtime > SCRIPT.stat().st_mtime  # or make would run it every time


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-I", str(SCRIPT), "--into", str(tmp_path / "file" / "tools")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("The Claude Code CLI was not installed: a file could not be written")
    assert done.stderr.count("\n") == 1
