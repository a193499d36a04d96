"""CI must not go green because something was missing: there a skip is a failure, wherever it happens."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

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


def test_a_skip_of_any_kind_fails_where_none_is_allowed_and_says_why(tmp_path: Path) -> None:
    for name in ("conftest.py", "support.py", "warm.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path)
    for kind, text in SKIPS.items():
        (tmp_path / f"test_{kind}.py").write_text(text)
    (tmp_path / "test_fine.py").write_text("def test_x():\n    pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    env = {"PATH": os.environ["PATH"], "TESTS_MAY_NOT_SKIP": "1"}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert "1 failed, 1 passed, 4 errors" in done.stdout
    assert done.returncode == 1
    says = r"was skipped, which is not allowed here: .*no such tool"
    assert [kind for kind in SKIPS if not re.search(rf"test_{kind}\.py\S* {says}", done.stdout)] == []
