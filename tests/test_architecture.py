"""The house keeps its shape: layers, the closed list of requests, and the size of functions."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support import ROOT

SOURCE = ROOT / "src" / "orchestrator"
LONGEST_FUNCTION = 50
WORDS_OF_MERGING = re.compile(r"/merge\b|\"DELETE\"|'DELETE'|\.delete\(")


def test_the_layers_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def imported(path: Path) -> set[str]:
    """Top names of what a module imports absolutely, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_every_package_that_is_imported_is_declared() -> None:
    """Not only what another one happens to bring along: its next version may not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    foreign = {name for path in SOURCE.rglob("*.py") for name in imported(path)} - sys.stdlib_module_names
    owners = packages_distributions()
    wanted = {canonicalize_name(owners[name][0]) for name in foreign - {"orchestrator"}}
    assert wanted - declared == set()


ADAPTERS = [SOURCE / "rest.py", *(SOURCE / "forges").glob("*.py"), *(SOURCE / "trackers").glob("*.py")]


@pytest.mark.parametrize("path", sorted(ADAPTERS), ids=lambda path: path.name)
def test_no_adapter_can_merge_or_delete(path: Path) -> None:
    assert not WORDS_OF_MERGING.search(path.read_text())


SHORT = [path for path in sorted(SOURCE.rglob("*.py")) if "versions" not in path.parts]  # migrations are lists


@pytest.mark.parametrize("path", SHORT, ids=lambda path: str(path.relative_to(SOURCE)))
def test_functions_fit_on_a_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, f"{path}:{node.lineno} {node.name}"


def test_no_shell_and_no_command_string() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(f"{path}:{node.value.lineno} passes shell=")
