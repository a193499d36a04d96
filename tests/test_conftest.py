"""CI must not go green because something was missing: there a skip is a failure, wherever it happens."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

SKIPS = {
    "test": "import pytest\n\ndef test_x():\n    pytest.skip('no such tool')\n",
    "mark": "import pytest\n\n@pytest.mark.skipif(True, reason='no such tool')\ndef test_x():\n    pass\n",
    "fixture": "import pytest\n\n@pytest.fixture\ndef x():\n    pytest.skip('no such tool')\n\n"
    "def test_x(x):\n    pass\n",
    "file": "import pytest\n\npytest.skip('no such tool', allow_module_level=True)\n",
    "import": "import pytest\n\npytest.importorskip('nosuchmodule', reason='no such tool')\n",
}
"""Ways to skip, each in a file of its own."""


def ended(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A run of its own over the tests of this folder, with our conftest.py.

    Its temporary folders are its own, too: else pytest clears away at its end what three runs before it left, and
    on a slow disk that takes minutes.
    """
    for name in ("conftest.py", "counted.py", "support.py", "warm.py"):
        shutil.copy(ROOT / "tests" / name, folder)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]
    own = folder / "temporary"
    own.mkdir()
    env |= {"PATH": os.environ["PATH"], "PYTEST_DEBUG_TEMPROOT": str(own)}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False)


def test_a_skip_of_any_kind_fails_where_none_is_allowed_and_says_why(tmp_path: Path) -> None:
    for kind, text in SKIPS.items():
        (tmp_path / f"test_{kind}.py").write_text(text)
    (tmp_path / "test_fine.py").write_text("def test_x():\n    pass\n")
    done = ended(tmp_path, "--continue-on-collection-errors", TESTS_MAY_NOT_SKIP="1")
    assert "1 failed, 1 passed, 4 errors" in done.stdout
    assert done.returncode == 1
    says = r"was skipped, which is not allowed here: .*no such tool"
    assert [kind for kind in SKIPS if not re.search(rf"test_{kind}\.py\S* {says}", done.stdout)] == []


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_a_proof_counted_is_shown_at_the_end_also_of_a_test_that_passed(tmp_path: Path, workers: str) -> None:
    folder = tmp_path / "tests"  # where workers look for what takes long
    folder.mkdir()
    for name in ("one", "two"):
        text = f"import counted\n\ndef test_x():\n    counted.said('0 lost of {name}')\n"
        (folder / f"test_{name}.py").write_text(text + ("    raise KeyError\n" if name == "two" else ""))
    done = ended(folder, "-n", workers)
    _, _, end = done.stdout.partition("what was counted")
    assert end.splitlines()[1:3] == ["test_one.py: 0 lost of one", "FAILED test_two.py: 0 lost of two"], (
        done.stdout
    )
