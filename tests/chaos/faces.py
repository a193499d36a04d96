"""Stories of programs that post tasks and of people at our pages; swept as the others are."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import httpx

from chaos.sweep import Shown, Story
from chaos.turns import Ordering
from orchestrator.domain.model import Person, UserId
from orchestrator.domain.roles import Role
from orchestrator.sim.world import API_TOKEN, APPROVER, ITEM, REPO
from orchestrator.workflow.names import posted_branch_name

POSTED = "TASK-1"
PAGES = (
    "/",
    "/tasks/{key}",
    "/runs/1",
    "/journal",
    "/insight",
    "/system",
    "/status",
    "/metrics",
    "/api/v1/tasks/{key}/explain",
    "/api/v1/tasks/{key}/decisions",
    "/api/v1/tasks/{key}/events",
    "/api/v1/decisions/1",
    "/api/v1/tasks",
    "/api/v1/runs/1/log",
    "/api/v1/events/1",
    "/api/v1/statistics",
)


@dataclass(slots=True)
class Posting(Ordering):
    """A program posts a task under a key of its own, and again until it is told that it is there."""

    def _begin(self) -> None:
        self.item, self.key = ITEM, POSTED

    @property
    def branch(self) -> str:
        return posted_branch_name(POSTED, Role.ANALYST)

    def _act(self, state: tuple[Any, ...]) -> None:
        if "post" not in self.given:
            self._post()
        super(Posting, self)._act(state)

    def _post(self) -> None:
        self.given |= {"post"} if self._posted({"Idempotency-Key": "the-only-order"}) else set()

    def _posted(self, named: dict[str, str]) -> bool:
        asked = {"repository": REPO, "role": "analyst", "task": "Describe the export."}
        headers = {"Authorization": f"Bearer {API_TOKEN}", **named}
        with suppress(httpx.HTTPError):
            url = f"{self.service.url}/api/v1/tasks"
            return httpx.post(url, json=asked, headers=headers, timeout=10, trust_env=False).status_code == 201
        return False

    def shown(self) -> Shown:
        return super(Posting, self).shown() | {"tasks": self._rows("SELECT key, order_key FROM tasks")}


@dataclass(slots=True)
class Unnamed(Posting):
    """As above without a key, and never again when it is there, whatever was answered: what was stored is not
    forgotten.
    """

    def _environ(self) -> dict[str, str]:
        return super(Unnamed, self)._environ() | {"ORCH_RESYNC_INTERVAL_S": "1"}

    def _post(self) -> None:
        if self._task()[0]:
            self.given.add("post")
        else:
            self._posted({})


@dataclass(slots=True)
class Looking(Ordering):
    """When all is done somebody looks at every page, and again until each is shown."""

    def _act(self, state: tuple[Any, ...]) -> None:
        if super(Looking, self)._is_there(state):
            self._look()
        super(Looking, self)._act(state)

    def _look(self) -> None:
        headers = {"Authorization": f"Bearer {API_TOKEN}"}
        with (
            suppress(httpx.HTTPError),
            httpx.Client(base_url=self.service.url, headers=headers, timeout=10, trust_env=False) as client,
        ):
            for page in PAGES:
                if page not in self.given:
                    answer = client.get(page.format(key=self.key))
                    assert answer.status_code in {200, 503}, (page, answer.status_code, answer.text[:500])
                    self.given |= {page} if answer.status_code == 200 else set()

    def _is_there(self, state: tuple[Any, ...]) -> bool:
        return super(Looking, self)._is_there(state) and self.given.issuperset(PAGES)


@dataclass(slots=True)
class Voting(Ordering):
    """A person signs in with Gitea and approves on our page, and again until that is taken."""

    csrf: str = ""
    browser: httpx.Client = field(default_factory=lambda: httpx.Client(follow_redirects=True, trust_env=False))

    def tell(self) -> Shown:
        with self.browser:
            return super(Voting, self).tell()

    def _environ(self) -> dict[str, str]:
        return super(Voting, self)._environ() | self.world.sign_in()

    def _prepare(self) -> None:
        self.world.people = (Person(UserId(APPROVER), "boss", approver=True),)
        super(Voting, self)._prepare()

    def _act(self, state: tuple[Any, ...]) -> None:
        stage, waiting, *_ = state
        if stage == "analysis" and '"approval"' in waiting and "vote" not in self.given:
            with suppress(httpx.HTTPError):
                self._vote()

    def shown(self) -> Shown:
        """Whatever the approver is called: by id where Plane's members were not read, until the text changes."""
        found, name = super(Voting, self).shown(), self.world.plane.users[APPROVER].display_name
        found["comments"] = [
            (key, text.replace(f"одобрение: {name}", "одобрение: #")) for key, text in found["comments"]
        ]
        return found

    def _vote(self) -> None:
        if not self.csrf:
            self._sign_in()
        task = self.browser.get(f"{self.service.url}/api/v1/tasks/{self.key}")
        if task.status_code == 200 and (asked := task.json()["asked"]):
            order = {"gate": asked["gate"], "digest": asked["digest"]}
            ours = {"Origin": self.service.url, "X-CSRF-Token": self.csrf}
            address = f"{self.service.url}/api/v1/tasks/{self.key}/approve"
            answer = self.browser.post(address, json=order, headers=ours)
            self.given |= {"vote"} if answer.status_code == 202 else set()

    def _sign_in(self) -> None:
        """Whoever was cut off on the way goes it again; Gitea asks nothing twice, and leads straight back."""
        page = self.browser.get(f"{self.service.url}/sign-in/gitea")
        if page.url.path == "/user/login":
            page = self.browser.post(page.url, data={"user_name": "boss"})
        if page.url.path == "/login/oauth/authorize":
            asked = dict(parse_qsl(page.url.query.decode()))
            page = self.browser.post(f"{self.world.gitea_url}/login/oauth/grant", data=asked | {"granted": "true"})
        if str(page.url) == f"{self.service.url}/":
            self.csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]


FACES = (
    Story("a task is posted", "done", "", is_written=False, told_by=Posting),
    Story("a task is posted without a key", "done", "", is_written=False, told_by=Unnamed),
    Story("people look at every page", "analysis", "approval", is_written=False, told_by=Looking),
    Story("a person approves on a page", "architecture", "approval", is_written=True, told_by=Voting),
)
