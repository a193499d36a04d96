"""What an earlier attempt left becomes the next uid's: all of it, and nothing that lies elsewhere as well."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agents import bubblewrap, sandbox
from orchestrator.agents.sandbox import Confinement, Places, Sandbox

OLD, NEW = 64361, 64362
HAND_OVER = (
    "import sys; sys.path.append(sys.argv[1]); from orchestrator.agents import confine, shim;"
    " shim._hand_over(confine.Policy(sys.stdin.buffer.read()))"
)


@pytest.fixture
def root() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    with tempfile.TemporaryDirectory(prefix="orch-hand-over-") as made:
        for name in ("workspace", "home", "tmp"):
            (Path(made) / name).mkdir()
        yield Path(made)


def hand_over(root: Path) -> None:
    """In a bare interpreter, as the shim does it."""
    places = Places(*(str(root / name) for name in ("workspace", "home", "tmp")))
    policy = sandbox.policy_bytes(Confinement(Sandbox(has_user=True), places), NEW)
    subprocess.run(bubblewrap.python(HAND_OVER), input=policy, check=True, cwd=root, timeout=60, env={})


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    path.chmod(0o600)
    os.chown(path, OLD, OLD)
    return path


def test_a_file_of_several_names_within_the_run_is_given_away(root: Path) -> None:
    """As uv and pnpm make them: the store in HOME, the other names in the checkout."""
    stored = made(root / "home/.cache/store/file")
    (root / "workspace/a/b").mkdir(parents=True)
    for name in ("workspace/a/file", "workspace/a/b/file", "workspace/a/again"):
        os.link(stored, root / name)
    alone = made(root / "workspace/alone")
    hand_over(root)
    assert stored.stat().st_uid == alone.stat().st_uid == NEW
    assert (root / "workspace/a/b").stat().st_uid == NEW


@pytest.mark.parametrize("inside", [1, 2])
def test_a_file_that_has_a_name_elsewhere_keeps_its_owner(root: Path, inside: int) -> None:
    outside = made(root / "outside/file")
    for number in range(inside):
        os.link(outside, root / "workspace" / str(number))
    (root / "workspace" / "link").symlink_to(outside)
    hand_over(root)
    assert outside.stat().st_uid == OLD
    assert (root / "workspace" / "link").lstat().st_uid == NEW
