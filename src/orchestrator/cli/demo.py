"""`orch demo`: from a recorded Plane delivery to "ready to merge", told as it happens."""

import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from orchestrator.agents.version import cli_version
from orchestrator.cli.demo_tale import Tale, returns
from orchestrator.cli.setup import CONFIGURATION, read, say
from orchestrator.domain.model import Person, Stage, UserId
from orchestrator.domain.roles import Language
from orchestrator.sim.gitea_people import People
from orchestrator.sim.team import (
    CONTEXT,
    Approver,
    BuildServer,
    Onlooker,
    comments_of,
    project_of,
    pulls_of,
    text_of,
)
from orchestrator.sim.world import API_TOKEN, APPROVER, ITEM, REPO, Service, World
from orchestrator.sim.wrapper import write_wrapper
from orchestrator.words.standing import PARKED

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "tests" / "fixtures"
TOOL = ROOT / ".tools" / "claude"
DELIVERIES = ("project__created", "issue__created__rest", "issue__created__rest", "issue__updated__priority")
"""The second of the two is a retry: the journal knows its content and adds nothing."""
KEY = "ENDURO-1"
ORCHESTRATOR, REVIEWER, BOSS = "orchestrator", "reviewer", "boss"
STUMBLES = "Scenario: review_rejects_once, test_fails_once"
"""A line of the work item, which tells the scripted agents to stumble."""
STATES = {
    Stage.ANALYSIS: "Analysis",
    Stage.ARCHITECTURE: "Architecture",
    Stage.DEVELOPMENT: "Development",
    Stage.REVIEW: "Review",
    Stage.TESTING: "Testing",
    Stage.READY: "Ready to merge",
}
DOCUMENTS = ("BRD.md", "ARCHITECTURE.md", "DEV_TASK.md", "DEV_REPORT.md")
GATE_CONTEXT = "orchestrator/gate"
SCRIPTED_LIMIT_S = 240.0
LIVE_LIMIT_S = 3600.0
POLL_S = 0.2
PLANE_CALLS_PER_MINUTE = 600
"""More than Plane's default of 60, as its API_KEY_RATE_LIMIT may say: the demo is not to wait for that."""
WIDTH = 120


@dataclass(frozen=True, slots=True)
class Cli:
    """Which program plays the agents."""

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
    tale = Tale(Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH))
    cli = _choose_cli(root, scripted=scripted)
    pace, english = PLANE_CALLS_PER_MINUTE, Language.EN
    boss = Person(UserId(APPROVER), BOSS, approver=True, admin=True)
    with World(root, FIXTURES, pace, language=english, states=STATES, is_sandboxed=True, people=(boss,)) as world:
        _introduce(tale, cli, live=live)
        story = _Story(tale, world, is_live=live)
        story.prepare()
        environ = world.settings(cli.path) | world.sign_in()
        environ |= {"ORCH_PLANE_CALLS_PER_MINUTE": str(PLANE_CALLS_PER_MINUTE)}
        if live:
            environ = {k: v for k, v in environ.items() if "CLAUDE_BASE_URL" not in k and "ANTHROPIC" not in k}
            environ |= _by_file(root, credential)
        with Service(root, environ) as service, service.client() as client:
            world.connect(service, plane=True)
            tale.tell(f"Orchestrator: {service.url} (its data and log are in {root})")
            story.deliver(service)
            task = story.follow(client)
            is_done = story.sum_up(task, cli)
            if keep:
                story.stay(service)
            return 0 if is_done else 1


def _introduce(tale: Tale, cli: Cli, *, live: bool) -> None:
    tale.tell(f"All five agents: {cli}.")
    if live:
        tale.tell("Their model is your account's. People and CI are played: documents are approved, CI is green.")
        return
    tale.tell("Their model plays a script, and people and CI are played, too. So that you see the task sent back:")
    tale.tell("  CI is told to fail its first build, the reviewer and the tester to refuse once each.")


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


@dataclass(frozen=True, slots=True)
class Proof:
    """Something that the forge or the tracker itself shows, or does not."""

    what: str
    is_so: bool


class _Story:
    """The world, its people, and what is told of them."""

    def __init__(self, tale: Tale, world: World, *, is_live: bool) -> None:
        self._tale, self._world, self._is_live = tale, world, is_live
        plane, gitea = world.plane, world.gitea
        self._approver = Approver(plane, gitea, REPO, ITEM, APPROVER, ORCHESTRATOR)
        self._builds = BuildServer(gitea, REPO, red_builds=0 if is_live else 1)
        self._onlooker = Onlooker(plane, gitea, REPO, ITEM, ORCHESTRATOR)
        self._main = gitea.head(REPO, "main")
        tale.people = {user.id: user.display_name for user in plane.users.values()}

    def prepare(self) -> None:
        """What an administrator sets up; and the line in the work item that tells agents to stumble."""
        People(self._world.gitea).protect(REPO, (CONTEXT,))
        self._tale.tell(f"Gitea: main requires the check {CONTEXT}.")
        if self._is_live:
            return
        item = project_of(self._world.plane, ITEM).items[ITEM]
        text = f"{item['description_html']}<p>{STUMBLES}</p>"
        self._world.plane.change_work_item(ITEM, {"description_html": text}, APPROVER)
        self._tale.tell(f"{self._name()} adds to the work item in Plane: “{STUMBLES}”")

    def deliver(self, service: Service) -> None:
        for name in DELIVERIES:
            answer = self._world.post_recorded(service, name)
            self._tale.tell(f"Plane → {name}: {answer.status_code} {answer.json()['status']}")

    def follow(self, client: httpx.Client) -> dict[str, Any]:
        """Until all is proved, the task is parked or the time is over. Returns the task as it is then."""
        limit = self._tale.began + (LIVE_LIMIT_S if self._is_live else SCRIPTED_LIMIT_S)
        while True:
            task = _task(client)
            self._tale.task(client, task)
            self._look_around()
            if self._is_over(task) or time.monotonic() > limit:
                return task
            time.sleep(POLL_S)

    def _look_around(self) -> None:
        for where, said in self._onlooker.news():
            self._tale.tell(f"    {where} ← {said}")
        for said in self._approver.react():
            self._tale.tell(f"    {self._name()} {said}")
        for said in self._builds.react():
            self._tale.tell(f"    CI → {said}")

    def _is_over(self, task: Mapping[str, Any]) -> bool:
        codes = {item["code"] for item in task.get("waiting", ())}
        is_parked = bool(codes & PARKED) and not task["agent_running"]
        return is_parked or (task.get("stage") == Stage.READY and all(one.is_so for one in self._proofs(task)))

    def _proofs(self, task: Mapping[str, Any]) -> Iterator[Proof]:
        """Seen on the forge and the tracker, not in what we say of them."""
        gitea, plane = self._world.gitea, self._world.plane
        head = gitea.head(REPO, task.get("branch", "")) or ""
        pull = next(iter(pulls_of(gitea, REPO, task.get("branch", ""))[-1:]), None)
        yield Proof("the pull request is open", pull is not None and pull.state == "open")
        reviews = [row for row in pull.reviews if row["user"]["login"] == REVIEWER] if pull else []
        is_approved = any(
            (row["state"], row["commit_id"], row["dismissed"]) == ("APPROVED", head, False) for row in reviews[-1:]
        )
        yield Proof(f"its head is approved by the Gitea user {REVIEWER}", is_approved)
        rows = [one["row"] for one in list(gitea.repos[REPO].statuses) if one["sha"] == head]
        for context in (CONTEXT, GATE_CONTEXT):
            last = [row["status"] for row in rows if row["context"] == context][-1:]
            yield Proof(f"status {context} at the head is success", last == ["success"])
        paths = [f"tasks/{KEY}/{name}" for name in DOCUMENTS]
        is_whole = all(gitea.file_at(REPO, head, path) for path in paths) if head else False
        yield Proof(f"at the head are {', '.join(DOCUMENTS)}", is_whole)
        yield Proof("nothing is merged: main is where it was", gitea.head(REPO, "main") == self._main)
        said = [text_of(row["comment_html"]) for row in comments_of(plane, ITEM, ORCHESTRATOR)]
        yield Proof("our comment in Plane says: ready to merge", any("Ready to merge" in text for text in said))
        state = project_of(plane, ITEM).states[project_of(plane, ITEM).items[ITEM]["state"]]["name"]
        yield Proof(f"the work item stands in {STATES[Stage.READY]}", state == STATES[Stage.READY])

    def sum_up(self, task: Mapping[str, Any], cli: Cli) -> bool:
        """True when the forge and the tracker really show a task that is ready to merge."""
        proofs = list(self._proofs(task))
        is_done = task.get("stage") == Stage.READY and all(one.is_so for one in proofs)
        if is_done:
            self._tale.tell(f"{KEY} is ready to merge. A person merges; neither orchestrator nor demo does.")
        self._tale.gates(task)
        self._tale.runs(task)
        self._tale.table("Summary", (), list(self._rows(task, cli)))
        self._tale.table("Seen on Plane and Gitea", (), [("yes" if p.is_so else "NO", p.what) for p in proofs])
        if not is_done:
            self._tale.tell("The demo did not reach its end. What is missing stands above, the log below.")
            self._tale.console.print((self._world.root / "orchestrator.log").read_text()[-4000:], markup=False)
        return is_done

    def _rows(self, task: Mapping[str, Any], cli: Cli) -> Iterator[tuple[str, str]]:
        yield "agents", str(cli)
        yield (
            "sandbox",
            ", ".join(sorted({run["sandbox"] for run in task.get("runs", ())})) or "no agent has started",
        )
        if not task:
            yield "task", "there is none"
            return
        head = self._world.gitea.head(REPO, task["branch"]) or "nothing"
        yield "task", f"{task['key']}: {task['title']}"
        yield "stage", "ready to merge" if task["stage"] == Stage.READY else task["stage"]
        yield "sent back", returns(task)
        yield "branch", f"{REPO} {task['branch']} at {head[:10]}"
        for pull in pulls_of(self._world.gitea, REPO, task["branch"]):
            yield "pull request", f"{pull.number}, {pull.state}, by {pull.user.login}: {pull.title}"
        yield "next", "; ".join(f"{item['who']}: {item['text']}" for item in task["waiting"])

    def stay(self, service: Service) -> None:
        tell = self._tale.tell
        tell(f"Staying up at {service.url}: open it in a browser, and sign in with Gitea as {BOSS} (no password).")
        tell(f"Programs send the token {API_TOKEN}. For instance:")
        tell(f"    export ORCH_SERVER={service.url} ORCH_TOKEN={API_TOKEN}")
        tell(f"    orch status; orch task {KEY}; orch logs {KEY}")
        tell("Ctrl-C ends it.")
        with contextlib.suppress(KeyboardInterrupt):
            while service.process and service.process.poll() is None:
                time.sleep(1)

    def _name(self) -> str:
        return self._world.plane.user(APPROVER).display_name


def _task(client: httpx.Client) -> dict[str, Any]:
    """Empty as long as it has no key."""
    answer = client.get(f"/api/v1/tasks/{KEY}")
    return dict(answer.json()) if answer.status_code == 200 else {}
