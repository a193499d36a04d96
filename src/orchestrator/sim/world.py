"""A whole world on loopback: Plane, Gitea and the Messages API around a real orchestrator process.

Demo, story tests and benchmarks live in it. The orchestrator is a child process that is spoken to over HTTP only.
"""

import contextlib
import functools
import json
import os
import signal
import subprocess  # noqa: TID251 - the orchestrator is started as a user would
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import httpx

from orchestrator.agents.rundir import RunPaths, forbid_start, is_held, order_stop
from orchestrator.domain.model import Person, Stage
from orchestrator.domain.roles import Language
from orchestrator.sim.gitea import Flavour, GiteaSim
from orchestrator.sim.messages_api import create_app
from orchestrator.sim.plane import PlaneSim
from orchestrator.sim.server import LoopbackServer, listening
from orchestrator.sim.webhook import TRUSTS_NOBODY, load_recorded, post_recorded

PROJECT = "df602150-b31b-4706-9b31-c91c962460d7"
"""The Plane project of the recorded deliveries."""
ITEM = "ab19bd34-ba7e-4b2d-81f2-b5d47f1a20da"
REPO = "acme/enduro-trails"
API_TOKEN = "demo-api-token"  # noqa: S105 - opens nothing but this process's own child
GITEA_SECRET = "demo-gitea-secret"  # noqa: S105 - as above
APPROVER = "97297c05-7c93-4464-85af-0019aae70f59"
USERS = {
    "orchestrator": "Orchestrator",
    "developer": "Developer agent",
    "reviewer": "Reviewer agent",
    "boss": "Boss",
}
"""Who may write; the last is a person."""
HOOK_EVENTS = ("push", "create", "delete", "pull_request", "pull_request_review", "pull_request_comment", "status")
START_S = 60.0
STOP_S = 15.0
_FILES = {
    "README.md": "# Enduro Trails\n\nTrails on a map.\n",
    "src/routes.py": '"""Routes."""\n\n\ndef names() -> list[str]:\n    return []\n',
}


def scripted_sandbox() -> dict[str, str]:
    """The default level, in which the scripted agent finds the Python that it runs on."""
    needed = {sys.prefix, sys.base_prefix, str(Path(__file__).parents[2])}
    return {"ORCH_SANDBOX_READ": ":".join(sorted(needed))}


@dataclass(slots=True)
class World:
    """The neighbours. `root` gets everything that is written."""

    root: Path
    fixtures: Path
    rate_per_minute: int = 60
    approvers: tuple[str, ...] = (APPROVER,)
    """Users of Plane, by id."""
    project_lines: tuple[str, ...] = ()
    """More of the project's entry in orchestrator.yaml, each line as it stands there without its margin."""
    forge: Flavour = "gitea"
    language: Language = Language.RU
    people: tuple[Person, ...] = ()
    """Who has a login or more rights. Approvers that are not among them have none."""
    states: Mapping[Stage, str] = field(default_factory=dict)
    """Names of Plane's states that show a stage; those that are not there are made."""
    is_sandboxed: bool = False
    """Whether the orchestrator sandboxes agents as it does for everybody. Not in most tests: their scripted agents
    write beside their run, so that tests see it."""
    plane: PlaneSim = field(init=False)
    gitea: GiteaSim = field(init=False)
    _ends: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    plane_url: str = ""
    gitea_url: str = ""
    model_url: str = ""
    servers: dict[str, LoopbackServer] = field(default_factory=dict)
    """By name, so that one may be stopped and started again: its callers are refused meanwhile."""

    def __enter__(self) -> Self:
        self.root.mkdir(parents=True, exist_ok=True)
        self.plane = PlaneSim.from_recording(self.fixtures / "plane", rate_per_minute=self.rate_per_minute)
        self.gitea = GiteaSim(self.root / "forge", flavour=self.forge)
        self._add_states()
        self._ends.enter_context(self.plane)
        self._ends.enter_context(self.gitea)
        self.plane_url = self._served("plane", self.plane.app)
        self.gitea_url = self._served("gitea", self.gitea.app)
        self.model_url = self._served("model", create_app())
        owner, _, name = REPO.partition("/")
        self.gitea.create_repo(owner, name, _FILES)
        for login, name in USERS.items():
            self.gitea.add_user(login, name)
            self.gitea.grant(REPO, login, 2)
        for person in self.people:
            if person.gitea_login not in {*USERS, ""}:
                self.gitea.add_user(person.gitea_login)
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the agents too, which by design outlive the orchestrator that launched them."""
        runs = [RunPaths(path) for path in (self.root / "data" / "runs").glob("*")]
        for run in runs:
            if not (order_stop(run) or forbid_start(run)):
                order_stop(run)  # its shim was on its way, and is there by now
        until = time.monotonic() + STOP_S
        while any(is_held(run.lock) for run in runs) and time.monotonic() < until:
            time.sleep(0.01)
        self._ends.close()

    def _add_states(self) -> None:
        project = next(home.projects[PROJECT] for home in self.plane.workspaces.values())
        known = {row["name"] for row in project.states.values()}
        for name in dict.fromkeys(self.states.values()):
            if name not in known:
                self.plane.new_state(project, name, "started", "#aabbcc")

    def _served(self, name: str, app: Any) -> str:
        self.servers[name] = self._ends.enter_context(LoopbackServer(app))
        return self.servers[name].url

    def settings(self, claude: Path) -> dict[str, str]:
        """The environment of an orchestrator that knows this world; secrets go by file."""
        self._write_config()
        return {
            "ORCH_PORT": "0",
            "ORCH_DATA_DIR": str(self.root / "data"),
            "ORCH_CONFIG": str(self.root / "orchestrator.yaml"),
            "ORCH_PLANE_API_URL": self.plane_url,
            "ORCH_PLANE_WORKSPACE_SLUG": "acme",
            "ORCH_GITEA_URL": self.gitea_url,
            "ORCH_CLAUDE_BIN": str(claude),
            "ORCH_CLAUDE_BASE_URL": self.model_url,
            "ORCH_ANTHROPIC_API_KEY_FILE": self._secret("model", "not-a-real-key"),
            "ORCH_API_TOKEN_FILE": self._secret("api", API_TOKEN),
            "ORCH_PLANE_API_TOKEN_FILE": self._secret("plane", self.plane.key_of("orchestrator")),
            "ORCH_PLANE_WEBHOOK_SECRET_FILE": self._secret(
                "plane-webhook", "\n".join(_recorded_secrets(self.fixtures))
            ),
            "ORCH_GITEA_TOKEN_FILE": self._secret("gitea", self.gitea.add_token("orchestrator")),
            "ORCH_GITEA_TOKEN_DEVELOPER_FILE": self._secret("developer", self.gitea.add_token("developer")),
            "ORCH_GITEA_TOKEN_REVIEWER_FILE": self._secret("reviewer", self.gitea.add_token("reviewer")),
            "ORCH_GITEA_WEBHOOK_SECRET_FILE": self._secret("gitea-webhook", GITEA_SECRET),
            **(scripted_sandbox() if self.is_sandboxed else {"ORCH_SANDBOX": "none", "ORCH_MIN_SANDBOX": "none"}),
        }

    def sign_in(self, prefix: str = "") -> dict[str, str]:
        """More of the environment: people sign in with this Gitea. That needs to know where they come back to, so
        the port is chosen here.
        """
        with listening(0) as free:
            port = free.getsockname()[1]
        public_url = f"http://127.0.0.1:{port}{prefix}"
        application = self.gitea.oauth.add(f"{public_url}/sign-in/callback")
        return {
            "ORCH_PORT": str(port),
            "ORCH_PUBLIC_URL": public_url,
            "ORCH_GITEA_PUBLIC_URL": self.gitea_url,
            "ORCH_GITEA_OAUTH_CLIENT_ID": application.client_id,
            "ORCH_GITEA_OAUTH_CLIENT_SECRET_FILE": self._secret("gitea-oauth", application.secret),
        }

    def connect(self, service: "Service", *, plane: bool = False) -> None:
        """Makes Gitea tell the orchestrator of what happens, as an operator would set it up; and Plane, too."""
        if plane:
            secret = load_recorded(self.fixtures / "plane" / "issue__created__rest.json").secret
            self.plane.add_webhook(f"{service.url}/webhook/plane", secret)
        self.gitea.add_hook(REPO, f"{service.url}/webhook/gitea", GITEA_SECRET, HOOK_EVENTS)

    def post_recorded(self, service: "Service", name: str) -> httpx.Response:
        """A recorded Plane delivery: its real headers, its real bytes."""
        return post_recorded(f"{service.url}/webhook/plane", self.fixtures / "plane" / f"{name}.json")

    def _nameless(self) -> list[str]:
        named = {one.plane_user for one in self.people}
        return [user for user in self.approvers if user not in named]

    def _secret(self, name: str, text: str) -> str:
        path = self.root / "secrets" / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(0o600)
        path.write_text(text, encoding="utf-8")
        return str(path)

    def _write_config(self) -> None:
        lines = [
            "projects:",
            f"  - plane_project: {PROJECT}",
            f"    repository: {REPO}",
            *(
                ()
                if any(one.startswith("language:") for one in self.project_lines)
                else (f"    language: {self.language}",)
            ),
            *(f"    {line}" for line in self.project_lines),
            *(["    states:"] if self.states else []),
            *(f"      {stage}: {name}" for stage, name in self.states.items()),
            "people:",
            *(line for user in self._nameless() for line in (f"  - plane_user: {user}", "    approver: true")),
            *(line for one in self.people for line in _entry(one)),
        ]
        (self.root / "orchestrator.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _entry(person: Person) -> list[str]:
    flags = [f"    {name}: true" for name in ("approver", "admin") if getattr(person, name)]
    return [f"  - plane_user: {person.plane_user}", f"    gitea_login: '{person.gitea_login}'", *flags]


@functools.cache
def _recorded_secrets(fixtures: Path) -> tuple[str, ...]:
    """Recordings do not change, and there are dozens of them."""
    paths = (path for path in (fixtures / "plane").glob("*.json") if _is_delivery(path))
    return tuple(sorted({load_recorded(path).secret for path in paths}))


def _is_delivery(path: Path) -> bool:
    return path.with_suffix(".body").exists()


class Process(Protocol):
    """What is needed of a `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


Starter = Callable[[Sequence[str], Mapping[str, str], Path, Path], Process]
"""Starts `orch` with these arguments, this whole environment, in this folder; what it says is added to the file.
The process leads a session of its own."""


def executed(
    arguments: Sequence[str], environ: Mapping[str, str], root: Path, log: Path, *, module: str = "orchestrator"
) -> Process:
    """As a user would. `module`: tests have other composition roots."""
    with log.open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environ,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


@dataclass(slots=True)
class Service:
    """A real `orch serve` in a process of its own."""

    root: Path
    environ: Mapping[str, str]
    arguments: tuple[str, ...] = ()
    url: str = ""
    process: Process | None = None
    starter: Starter = executed

    @property
    def log(self) -> Path:
        return self.root / "orchestrator.log"

    def start(self) -> Self:
        """Returns when it listens. Raises RuntimeError with the end of its log when it does not."""
        position = self.log.stat().st_size if self.log.exists() else 0
        environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self.environ}
        self.process = self.starter(("serve", *self.arguments), environ, self.root, self.log)
        until = time.monotonic() + START_S
        while not (url := self._said_url(position)):
            if self.process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"The orchestrator did not start. Its log ends:\n{self._log_end()}")
            time.sleep(0.01)
        self.url = url
        return self

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {API_TOKEN}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False, verify=TRUSTS_NOBODY)

    def stop(self) -> int:
        """As systemd or Docker would: asks, then insists. Returns the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """As a crash: no moment to tidy up."""
        return self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        assert self.process is not None  # noqa: S101 - start was called
        self.process.send_signal(how)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(STOP_S)

    def _said_url(self, position: int) -> str:
        with self.log.open("rb") as log:
            log.seek(position)
            for line in log:
                if b'"serving"' in line and line.endswith(b"\n"):
                    return str(json.loads(line)["url"])
        return ""

    def _log_end(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
