"""`orch demo`: from a recorded Plane delivery to a commit in the forge, told as it happens."""

import contextlib
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from orchestrator.agents.version import cli_version
from orchestrator.cli.setup import CONFIGURATION, read, say
from orchestrator.sim.claude import write_wrapper
from orchestrator.sim.world import API_TOKEN, PROJECT, REPO, Service, World

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "tests" / "fixtures"
TOOL = ROOT / ".tools" / "claude"
DELIVERIES = ("project__created", "issue__created__rest", "issue__created__rest", "issue__updated__priority")
"""The second of the two is a retry: the journal knows its content and adds nothing."""
KEY = "ENDURO-1"
SCRIPTED_LIMIT_S = 180.0
LIVE_LIMIT_S = 1800.0
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Cli:
    """Which program plays the agent."""

    path: Path
    version: str
    is_real: bool

    def __str__(self) -> str:
        return f"{'the real Claude Code CLI' if self.is_real else 'the scripted stand-in'}, {self.version}"


def run(*, live: bool, keep: bool, scripted: bool) -> int:
    if not (FIXTURES / "plane").is_dir():
        say("The demo needs the recorded deliveries of a checkout (tests/fixtures): run `make demo` there.")
        return CONFIGURATION
    credential = _credential() if live else {}
    if live and not credential:
        say(
            "LIVE=1 needs an account: set ORCH_CLAUDE_OAUTH_TOKEN (from `claude setup-token`) "
            "or ORCH_ANTHROPIC_API_KEY."
        )
        return CONFIGURATION
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that whoever ends us finds nothing left
    root = Path(tempfile.mkdtemp(prefix="orchestrator-demo-"))
    try:
        return _told(root, live=live, keep=keep, scripted=scripted, credential=credential)
    except KeyboardInterrupt:
        return 0
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _told(root: Path, *, live: bool, keep: bool, scripted: bool, credential: Mapping[str, str]) -> int:
    story = _Story(Console(highlight=False, soft_wrap=True))
    cli = _choose_cli(root, scripted=scripted)
    story.tell(f"Agent: {cli}.")
    with World(root, FIXTURES) as world:
        environ = world.settings(cli.path)
        if live:
            environ = {k: v for k, v in environ.items() if "CLAUDE_BASE_URL" not in k and "ANTHROPIC" not in k}
            environ |= _by_file(root, credential)
        with Service(root, environ) as service, service.client() as client:
            world.connect(service)
            story.tell(f"Orchestrator: {service.url} (its data and log are in {root})")
            for name in DELIVERIES:
                answer = world.post_recorded(service, name)
                story.tell(f"Plane → {name}: {answer.status_code} {answer.json()['status']}")
            task = story.follow(client, LIVE_LIMIT_S if live else SCRIPTED_LIMIT_S)
            done = story.sum_up(world, task, cli)
            if keep:
                story.stay(service)
            return 0 if done else 1


def _choose_cli(root: Path, *, scripted: bool) -> Cli:
    version = None if scripted else cli_version(str(TOOL))
    if version:
        return Cli(TOOL, version, is_real=True)
    if not scripted:
        say(f"The Claude Code CLI is not at {TOOL} or does not run there; `make setup` says why.")
    wrapper = write_wrapper(root / "claude")
    return Cli(wrapper, cli_version(str(wrapper)) or "unknown version", is_real=False)


def _credential() -> dict[str, str]:
    settings, _ = read()
    if settings.claude_oauth_token:
        return {"ORCH_CLAUDE_OAUTH_TOKEN": settings.claude_oauth_token[0].get_secret_value()}
    if settings.anthropic_api_key:
        return {"ORCH_ANTHROPIC_API_KEY": settings.anthropic_api_key[0].get_secret_value()}
    return {}


def _by_file(root: Path, credential: Mapping[str, str]) -> dict[str, str]:
    named = {}
    for name, value in credential.items():
        path = root / "secrets" / name.lower()
        path.touch(0o600)
        path.write_text(value, encoding="utf-8")
        named[f"{name}_FILE"] = str(path)
    return named


@dataclass(slots=True)
class _Story:
    """Tells each change once, with the time since the start."""

    console: Console
    began: float = 0.0
    told: int = 0
    last: str = ""

    def __post_init__(self) -> None:
        self.began = time.monotonic()

    def tell(self, text: str) -> None:
        self.console.print(f"{time.monotonic() - self.began:6.1f} s  {text}", markup=False)

    def follow(self, client: httpx.Client, limit_s: float) -> dict[str, Any]:
        """Until the task rests after a run, or the time is over. Returns the task as it is then."""
        offset = 0
        while True:
            task = _task(client)
            run = task["runs"][-1] if task.get("runs") else None
            if run:
                offset = self._tell_log(client, run, offset)
            self._tell_change(task, run)
            if (run and _is_at_rest(task)) or time.monotonic() > self.began + limit_s:
                return task
            time.sleep(POLL_S)

    def _tell_change(self, task: Mapping[str, Any], run: Mapping[str, Any] | None) -> None:
        if not task:
            return
        waits = "; ".join(item["text"] for item in task["waiting"])
        parts = [f"{task['key'] or 'the work item'} at {task['stage']}"]
        parts += [f"branch {task['branch']}"] if task["branch"] else []
        parts += [f"{run['role']} {run['outcome'] or run['state']}, {run['turns']} turns"] if run else []
        text = ", ".join(parts) + (f" — waits: {waits}" if waits else "")
        if text != self.last:
            self.last = text
            self.tell(text)

    def _tell_log(self, client: httpx.Client, run: Mapping[str, Any], offset: int) -> int:
        answer = client.get(run["log"], params={"offset": offset})
        whole, newline, _ = answer.content.rpartition(b"\n")
        for line in whole.splitlines():
            for said in _said(line):
                self.tell(f"    {run['role']}: {said}")
        return offset + len(whole) + len(newline)

    def sum_up(self, world: World, task: Mapping[str, Any], cli: Cli) -> bool:
        """True when the forge really has the document at the commit that the run is said to have published."""
        run = task["runs"][-1] if task.get("runs") else {}
        head = world.gitea.head(REPO, task["branch"]) if run else None
        document = world.gitea.file_at(REPO, head, f"tasks/{KEY}/BRD.md") if head else None
        table = Table(title="Summary", show_header=False, title_justify="left")
        for name, value in _rows(task, run, cli, head, document):
            table.add_row(name, value)
        self.console.print(table)
        if run.get("outcome") == "succeeded" and document is not None and head == run["head_sha"]:
            return True
        self.tell(
            "The demo did not reach its end. What the task waits for stands above, the orchestrator's log below."
        )
        self.console.print((world.root / "orchestrator.log").read_text()[-4000:], markup=False)
        return False

    def stay(self, service: Service) -> None:
        self.tell(f"Staying up at {service.url}; token: {API_TOKEN}. For instance:")
        self.tell(f"    curl -H 'Authorization: Bearer {API_TOKEN}' {service.url}/status")
        self.tell("Ctrl-C ends it.")
        with contextlib.suppress(KeyboardInterrupt):
            while service.process and service.process.poll() is None:
                time.sleep(1)


def _task(client: httpx.Client) -> dict[str, Any]:
    for task in client.get("/status").json()["active_tasks"]:
        if task["plane_project_id"] == PROJECT:
            return dict(task)
    return {}


def _is_at_rest(task: Mapping[str, Any]) -> bool:
    return not task["agent_running"] and all(item["code"] != "to_be_decided" for item in task["waiting"])


def _rows(
    task: Mapping[str, Any], run: Mapping[str, Any], cli: Cli, head: str | None, document: bytes | None
) -> Iterator[tuple[str, str]]:
    yield "agent", str(cli)
    if not run:
        yield "task", "no run was started"
        return
    yield "task", f"{task['key']}: {task['title']}".replace("[", "\\[")
    yield "branch in the forge", f"{REPO} {task['branch']} at {(head or 'nothing')[:12]}"
    yield "document", f"tasks/{KEY}/BRD.md, {len(document)} bytes" if document else "missing"
    yield "run", f"{run['role']}, {run['outcome']}, exit code {run['exit_code']}"
    yield (
        "used",
        f"{run['turns']} turns, {run['input_tokens']} + {run['output_tokens']} tokens, ${run['cost_usd']:.4f}",
    )
    yield "next", "; ".join(item["text"] for item in task["waiting"])


def _said(line: bytes) -> Iterator[str]:
    """What a person wants to see of a record: texts and tool calls, one line each."""
    try:
        record = json.loads(line)
    except ValueError:
        return
    if record.get("type") != "assistant":
        return
    for block in record["message"]["content"]:
        if block["type"] == "text":
            yield " ".join(block["text"].split())[:160]
        elif block["type"] == "tool_use":
            known = block["input"]
            yield f"[{block['name']}] {known.get('file_path') or known.get('command') or ''}"[:160]
