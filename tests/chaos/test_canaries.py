"""Twenty secrets of ours in a whole run, with agents that look at all they may see, say it and commit it."""

import base64
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from pydantic import SecretStr
from starlette.routing import Route

import counted
from chaos.canaries import Canary, Search, Watch, write_nosy
from chaos.points import Order
from chaos.storm import NOWHERE
from chaos.sweep import CONTEXT, Story, Telling
from chaos.worker import VERDICTS, documents
from orchestrator import config, main
from orchestrator.agents.probe import landlock_abi
from orchestrator.agents.sandbox import LANDLOCK_TCP_ABI
from orchestrator.config import Settings
from orchestrator.configfile import Directory
from orchestrator.sim.gitea_people import People
from orchestrator.sim.world import HOOK_EVENTS, REPO, Service, executed
from support import ROOT

VALUES = {
    "api_token": 3,
    "plane_api_token": 2,
    "plane_webhook_secret": 3,
    "gitea_token": 2,
    "gitea_token_developer": 2,
    "gitea_token_reviewer": 2,
    "gitea_webhook_secret": 3,
    "gitea_oauth_client_secret": 1,
    "session_secret": 2,
    "token": 1,
    "model": 3,
}
"""How many of each: all but the first are there to be rotated to."""
MODEL = ("anthropic_api_key", "claude_oauth_token")
WHOLE = Story("the whole way", "ready", "merge", is_written=False)
LIMIT_S = 300
ENDLESS = ("/api/v1/events/stream", "/live/")
"""What they tell stands in the lists and pages as well."""
BROKEN = partial(executed, module="chaos.composed")


class Started(Service):
    """The real thing, in a process of its own."""

    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None


@dataclass(slots=True)
class Nosy(Telling):
    """A telling with secrets that can be recognised."""

    model: str = MODEL[0]
    fault: str = ""
    is_sandboxed: bool = False
    canaries: tuple[Canary, ...] = ()
    watch: Watch = field(default_factory=Watch)
    search: Search = field(init=False)

    def _environ(self) -> dict[str, str]:
        agent = write_nosy(self.root / "nosy", documents(), VERDICTS, is_sandboxed=self.is_sandboxed)
        environ = {
            name: value
            for name, value in self.world.settings(agent).items()
            if name != "ORCH_ANTHROPIC_API_KEY_FILE"
        }
        for name in VALUES:
            environ[f"ORCH_{(self.model if name == 'model' else name).upper()}_FILE"] = self._written(name)
        environ |= {"ORCH_GITEA_OAUTH_CLIENT_ID": "a-client", "ORCH_PUBLIC_URL": "http://127.0.0.1:8500"}
        environ |= {"ORCH_WAKE_MERGE_S": "0.05", "ORCH_PLANE_CALLS_PER_MINUTE": "6000", "ORCH_LOG_LEVEL": "debug"}
        if self.fault == "token_on_a_page":
            address = f"{self.world.gitea_url}/{quote(self.first('gitea_token'), safe='')}"
            environ["ORCH_GITEA_PUBLIC_URL"] = address
        order = Order(fault=self.fault)
        return environ | ({"PYTHONPATH": str(ROOT / "tests"), **order.environ()} if self.fault else {})

    def _written(self, name: str) -> str:
        path = self.root / "secrets" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(one.value for one in self.canaries if one.name.startswith(f"{name}[")))
        return str(path)

    def _served(self, environ: Mapping[str, str]) -> Started:
        return Started(self.world.root, environ, starter=BROKEN if self.fault else executed)

    def first(self, name: str) -> str:
        return next(one.value for one in self.canaries if one.name == f"{name}[0]")

    def _prepare(self) -> None:
        """The neighbours know our secrets before we come."""
        self.canaries = tuple(
            Canary(f"{name}[{number}]", f"Kq+/{secrets.token_hex(14)}=&%")
            for name, count in VALUES.items()
            for number in range(count)
        )
        world = self.world
        world.is_sandboxed = self.is_sandboxed
        world.plane.lose_deliveries = world.gitea.lose_deliveries = True
        world.plane.add_webhook(f"{NOWHERE}/webhook/plane", self.first("plane_webhook_secret"))
        world.gitea.add_hook(REPO, f"{NOWHERE}/webhook/gitea", self.first("gitea_webhook_secret"), HOOK_EVENTS)
        People(world.gitea).protect(REPO, (CONTEXT,))
        me = world.plane.user("orchestrator")
        world.plane.users[me.id] = replace(me, api_key=self.first("plane_api_token"))
        for name, login in (("", "orchestrator"), ("_developer", "developer"), ("_reviewer", "reviewer")):
            world.gitea.add_token(login, self.first(f"gitea_token{name}"))

    def run(self) -> Search:
        """Tells the story, then looks everywhere."""
        with self.watch.watching():
            self.tell()
        return self.search

    def shown(self) -> dict[str, object]:
        """The end of the story, while all is still there."""
        shown = super(Nosy, self).shown()
        self.search = Search(self.canaries)
        self._ask()
        self.service.stop()
        self._look()
        return shown

    def _ask(self) -> None:
        """Every answer and every page, for those who may ask, and for those who may not."""
        known = {"key": [self.key, "NONE-1"]}
        for name, table in (("run", "agent_runs"), ("event", "events"), ("decision", "decisions")):
            known[name] = [*(str(row[0]) for row in self._rows(f"SELECT id FROM {table}")), "99999"]
        may = {"Authorization": f"Bearer {self.first('api_token')}"}
        with httpx.Client(base_url=self.service.url, timeout=30, trust_env=False) as client:
            for kind, paths in asked(self.root / "nowhere").items():
                answered = 0
                addresses = [address for path in paths for address in _filled(path, known)]
                for address, headers in product(addresses, (may, {})):
                    answer = client.get(address, headers=headers)
                    answered += answer.status_code == 200
                    self.search.look(kind, address, answer.content + str(answer.headers).encode())
                assert answered > len(paths) / 2, (kind, answered, paths)

    def _look(self) -> None:
        search, data = self.search, self.world.root / "data"
        search.look("log", "orchestrator.log", self.service.log.read_bytes())
        for line in list(self.watch.seen):
            search.look("command lines", line.decode(errors="replace")[:200], line)
        search.database(data / "orchestrator.db")
        hidden = self.world.root / "secrets"
        search.files("files", self.world.root, but=hidden.glob("*"))
        for git_dir in (*data.glob("mirrors/*/*.git"), *data.glob("runs/*/workspace/.git")):
            search.objects("git objects", git_dir)
        search.objects("git objects", self.world.gitea.repos[REPO].git.path)
        for row in self._seen_by_people():
            search.look("texts for people", "", row.encode())

    def _seen_by_people(self) -> list[str]:
        repo = self.world.gitea.repos[REPO]
        rows = [str(one) for one in (*repo.pulls.values(), *repo.statuses)]
        projects = [one for home in self.world.plane.workspaces.values() for one in home.projects.values()]
        return [*rows, *(str((one.comments, one.links, one.activities)) for one in projects)]


def asked(folder: Path) -> dict[str, list[str]]:
    """Every path that is read, by the kind of what is found there: pages stand in no description of the API."""
    app = main.build(config.load({"ORCH_DATA_DIR": str(folder)}, None), Directory()).api()
    found: dict[str, list[str]] = {"answers": ["/health", "/openapi.json"], "pages": []}
    for one in app.routes:
        if isinstance(one, Route) and "GET" in (one.methods or ()) and not one.path.startswith(ENDLESS):
            kind = "answers" if one.include_in_schema or one.path.startswith("/api/") else "pages"
            found[kind].append(one.path)
    return found


def _filled(path: str, known: Mapping[str, list[str]]) -> list[str]:
    name = path.partition("{")[2].partition("}")[0]
    return [path.replace(f"{{{name}}}", value) for value in known[name]] if name else [path]


def told(root: Path, **how: Any) -> Search:
    search = Nosy(WHOLE, root / "story", **how).run()
    counted.said(search.said())
    return search


@pytest.fixture
def open_root() -> Iterator[Path]:
    """pytest's own folders are closed to the uids of sandboxed agents."""
    with tempfile.TemporaryDirectory(prefix="orch-canaries-") as name:
        root = Path(name)
        root.chmod(0o711)
        yield root


def test_every_secret_setting_has_some() -> None:
    secret = {name for name, one in Settings.model_fields.items() if one.annotation == tuple[SecretStr, ...]}
    assert secret - set(MODEL) | {"model"} == VALUES.keys()
    assert sum(VALUES.values()) >= 20


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize(
    "is_sandboxed",
    [pytest.param(True, id="sandboxed"), pytest.param(False, id="without a sandbox", marks=pytest.mark.nightly)],
)
@pytest.mark.parametrize("model", [MODEL[1], pytest.param(MODEL[0], marks=pytest.mark.nightly)])
def test_no_secret_turns_up_anywhere_in_any_form(open_root: Path, model: str, *, is_sandboxed: bool) -> None:
    if is_sandboxed and landlock_abi() < LANDLOCK_TCP_ABI:
        pytest.skip(f"this kernel's Landlock (ABI {landlock_abi()}) does not know TCP")
    search = told(open_root, model=model, is_sandboxed=is_sandboxed)
    logs = [path.read_bytes() for path in open_root.glob("story/world/data/runs/*/stdout.jsonl")]
    assert logs
    assert [is_sandboxed] * len(logs) == [b"MEMORY " in log for log in logs], "its parent's memory is closed to it"
    assert len(search.canaries) == sum(VALUES.values())
    assert {
        "log",
        "answers",
        "pages",
        "command lines",
        "database",
        "values",
        "files",
        "git objects",
    } <= search.places.keys()
    assert search.found == set()


@pytest.mark.nightly
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [("token_in_address", "command lines"), ("leaks_in_the_log", "log"), ("token_on_a_page", "pages")],
)
def test_a_leak_is_found(tmp_path: Path, fault: str, kind: str) -> None:
    found = told(tmp_path, fault=fault).found
    assert any(f"in {kind}" in one for one in found), found


DISGUISES: tuple[Callable[[str], str], ...] = (
    str,
    lambda value: f'"{value[:9]}",\n "{value[9:]}"',
    lambda value: value.encode().hex(),
    lambda value: base64.b64encode(f"user:{value}".encode()).decode(),
    lambda value: base64.urlsafe_b64encode(f"x{value}y".encode()).decode(),
    quote,
    quote_plus,
    lambda value: "".join(f"%{byte:02X}" for byte in value.encode()),
    lambda value: value[::-1],
)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguise_does_not_help(disguise: Callable[[str], str]) -> None:
    canary = Canary("token", "Kq+/0123456789abcdef0123456789=&%")
    search = Search((canary,))
    search.look("log", "here", b"before " + disguise(canary.value).encode() + b" after")
    assert search.found
