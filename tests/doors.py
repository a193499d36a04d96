"""Who may ask, as tests set it up: one Identity by itself, and the whole app in this process with people in it."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx

from conftest import FakeClock
from orchestrator import config, main
from orchestrator.configfile import Directory
from orchestrator.db import Database
from orchestrator.domain.model import Person, UserId
from orchestrator.main import Orchestrator
from orchestrator.ports import Clock
from orchestrator.store import tokens as rows
from orchestrator.web.front import Front
from orchestrator.web.signin.cookies import Cookies
from orchestrator.web.signin.hosts import Hosts
from orchestrator.web.signin.identity import Identity
from orchestrator.web.signin.people import People
from orchestrator.web.signin.sessions import By, Session, Sessions
from orchestrator.web.signin.tokens import Tokens, digest, new

KEY = "k" * 32
API_TOKEN = "the-bootstrap-token"
PEOPLE = (
    Person(UserId("1"), "reader"),
    Person(UserId("2"), "boss", approver=True),
    Person(UserId("3"), "root", admin=True),
    Person(UserId("4")),
)
PUBLIC_URL = "https://orch.example/orchestrator"
ORIGIN = "https://orch.example"
FORM = "application/x-www-form-urlencoded"
GITEA = {"ORCH_GITEA_OAUTH_CLIENT_ID": "client", "ORCH_GITEA_OAUTH_CLIENT_SECRET": "hidden"}


def identity(
    database: Database, clock: Clock, tokens: Iterable[str] = (), *, public_url: str = "", prefix: str = ""
) -> Identity:
    sessions, people = Sessions(lambda: [KEY], timedelta(hours=12), clock), People(PEOPLE)
    return Identity(
        tokens=Tokens(tokens, database, clock, sessions, people),
        people=people,
        sessions=sessions,
        cookies=Cookies(prefix, is_secure=public_url.startswith("https:")),
        hosts=Hosts((), public_url),
    )


@dataclass(slots=True)
class House:
    """A running app without neighbours. `client` comes through the proxy, from anywhere; it keeps cookies."""

    orchestrator: Orchestrator
    front: Front
    clock: FakeClock
    base_url: str
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def identity(self) -> Identity:
        return self.orchestrator.identity

    def client(self, peer: str = "10.0.0.9", base_url: str = "", **headers: str) -> httpx.AsyncClient:
        """Another browser, or another program, which follows nothing by itself."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        transport = httpx.ASGITransport(self.front, client=(peer, 4321), raise_app_exceptions=True)
        made = httpx.AsyncClient(transport=transport, base_url=base_url or self.base_url, headers=named)
        self.clients.append(made)
        return made

    def session(self, login: str = "boss") -> Session:
        return self.identity.sessions.begin(By.PERSON, login)

    def cookie(self, session: Session) -> dict[str, str]:
        """The header of a browser that is signed in."""
        sealed = self.identity.sessions.sealed(session)
        return {"cookie": f"{self.identity.cookies.name('orch_session')}={sealed}"}

    def csrf(self, session: Session) -> str:
        return self.identity.sessions.csrf(session.id)

    async def token(self, name: str, scope: str, login: str = "") -> str:
        made, now = new(), self.clock.now()
        is_new = await self.orchestrator.database.write(
            lambda connection: rows.create(connection, name, scope, digest(made), now, login)
        )
        assert is_new
        return made

    async def revoke(self, name: str) -> None:
        now = self.clock.now()
        await self.orchestrator.database.write(lambda connection: rows.revoke(connection, name, now))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in self.clients:
            await one.aclose()


@contextlib.asynccontextmanager
async def house(
    folder: Path, *, people: tuple[Person, ...] = PEOPLE, clock: FakeClock | None = None, **environ: str
) -> AsyncIterator[House]:
    """With ORCH_API_TOKEN, a public address behind https and sign-in by Gitea, unless `environ` says otherwise."""
    given: Mapping[str, Any] = {
        "ORCH_DATA_DIR": str(folder / "data"),
        "ORCH_PLANE_WEBHOOK_SECRET": "a-secret",
        "ORCH_GITEA_WEBHOOK_SECRET": "a-secret",
        "ORCH_API_TOKEN": API_TOKEN,
        "ORCH_PUBLIC_URL": PUBLIC_URL,
        **GITEA,
        **environ,
    }
    settings = config.load({name: value for name, value in given.items() if value}, None)
    clock = clock or FakeClock()
    orchestrator = main.build(settings, Directory(people=people), clock)
    front = main.asgi(orchestrator)
    async with (
        orchestrator.lifespan(),
        House(orchestrator, front, clock, settings.public_url or "http://localhost") as one,
    ):
        yield one


ALONE = {"ORCH_API_TOKEN": "", "ORCH_PUBLIC_URL": "", **dict.fromkeys(GITEA, "")}
"""No sign-in at all: this machine is let in as it is."""


async def signed_in(home: House, client: httpx.AsyncClient, token: str = API_TOKEN) -> httpx.Response:
    """As the form of the sign-in page does it."""
    page = await client.get("/sign-in")
    assert page.status_code == 200, page.text
    csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
    return await client.post(
        "/sign-in", data={"csrf": csrf, "token": token, "next": "/"}, headers={"origin": ORIGIN}
    )
