"""The house keeps its shape: layers, the closed list of requests, and the size of functions."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
