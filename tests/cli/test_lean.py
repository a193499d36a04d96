"""What a start leaves out is left out, and is there for whoever asks for it later."""

import subprocess
import sys

LOADED = """
import sys
from orchestrator.cli import lean
lean.load_structlog()
import structlog
assert structlog.dev.rich is None, "it was loaded with rich"
assert not any(name.split(".")[0] == "rich" for name in sys.modules), "something is left of it"
structlog.get_logger().info("said", number=1)
import rich
print(rich.__name__)
"""


def test_structlog_is_loaded_without_rich_which_can_be_loaded_after_it() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "rich"


def test_what_is_loaded_already_stays() -> None:
    loaded = LOADED.replace("import sys\n", "import sys, rich\n", 1).partition("assert")[0]
    code = loaded + "assert sys.modules['rich'] is rich"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


ASKING = """
import sys
from orchestrator.cli import app, ask, events, explain, runs, status, task, transcripts
heavy = set("aiohttp alembic fastapi httpx jinja2 sqlalchemy starlette structlog uvicorn yaml".split())
assert not heavy & {name.split(".")[0] for name in sys.modules}, heavy & set(sys.modules)
assert "orchestrator.main" not in sys.modules
"""


def test_who_asks_a_server_loads_none_of_what_a_server_needs() -> None:
    done = subprocess.run([sys.executable, "-c", ASKING], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


LISTENING = """
import sys
from orchestrator.cli import serve
heavy = {"aiohttp", "alembic", "fastapi", "httpx", "jinja2", "starlette"}
ours = ("main", "ports", "agents", "engines", "reconcile", "store", "web.front")
heavy |= {f"orchestrator.{name}" for name in ours}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""


def test_a_server_listens_before_it_loads_what_only_works_behind() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTENING], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
