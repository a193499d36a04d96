"""A session is a signed cookie: nobody makes or changes one, and it ends with what it rests on."""

import base64
import json
import os
import stat
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from http.cookies import SimpleCookie
from pathlib import Path

import httpx
import pytest
from itsdangerous import URLSafeSerializer

from conftest import FakeClock
from doors import ALONE, API_TOKEN, FORM, KEY, ORIGIN, PEOPLE, House, house, signed_in
from orchestrator.domain.errors import Permanent
from orchestrator.web.signin import secret
from orchestrator.web.signin.sessions import By, Sessions

OWN = {"origin": ORIGIN, "content-type": FORM}


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as one:
        yield one


def cookies(answer: httpx.Response) -> dict[str, str]:
    """Name → the whole of each Set-Cookie."""
    return {line.partition("=")[0]: line for line in answer.headers.get_list("set-cookie")}


def value(line: str) -> str:
    return next(iter(SimpleCookie(line).values())).value


def own_origin(home: House) -> dict[str, str]:
    return OWN | {"origin": ORIGIN if home.orchestrator.settings.public_url else "http://localhost"}


# -- the cookie


async def test_the_cookie_is_ours_alone_behind_https(home: House) -> None:
    line = cookies(await signed_in(home, home.client()))["__Secure-orch_session"]
    parts = [part.strip() for part in line.split(";")][1:]
    assert sorted(parts) == ["HttpOnly", "Max-Age=43200", "Path=/orchestrator", "SameSite=Lax", "Secure"]


async def test_without_a_prefix_no_other_host_can_set_it(tmp_path: Path) -> None:
    async with house(tmp_path, ORCH_PUBLIC_URL="https://orch.example") as home:
        line = cookies(await signed_in(home, home.client()))["__Host-orch_session"]
        assert "Path=/;" in line
        assert "Secure" in line
        assert "Domain" not in line


async def test_without_https_it_is_not_marked_for_it(tmp_path: Path) -> None:
    async with house(tmp_path, ORCH_PUBLIC_URL="http://orch.example") as home:
        client = home.client()
        page = await client.get("/sign-in")
        csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
        sent = {"csrf": csrf, "token": API_TOKEN}
        answer = await client.post("/sign-in", data=sent, headers={"origin": "http://orch.example"})
        assert "Secure" not in cookies(answer)["orch_session"]


async def test_two_cookies_of_the_same_name_are_none(home: House) -> None:
    """A neighbouring host may have set one of them; which is ours nobody can tell."""
    cookie = home.cookie(home.session())["cookie"]
    assert (await home.client().get("/status", headers={"cookie": cookie})).status_code == 200
    assert (await home.client().get("/status", headers={"cookie": f"{cookie}; {cookie}"})).status_code == 401


# -- forged, changed, over


def sealed_otherwise(home: House) -> Iterator[str]:
    sessions, session = home.identity.sessions, home.session("root")
    said = {"id": session.id, "by": "person", "of": "root", "until": int(session.until.timestamp())}
    yield ""
    yield "x" * 5000
    yield base64.urlsafe_b64encode(json.dumps(said).encode()).decode()
    yield base64.urlsafe_b64encode(json.dumps(said).encode()).decode() + "."
    yield URLSafeSerializer("another key", salt="orchestrator.session").dumps(said)
    yield URLSafeSerializer("", salt="orchestrator.session").dumps(said)
    yield sessions.seal("orch_flow", said)
    yield sessions.seal("orch_form", said)
    yield sessions.seal("session", ["person", "root"])
    yield sessions.seal("session", said | {"by": "nobody"})
    yield sessions.seal("session", said | {"until": "for ever"})
    yield sessions.seal("session", said | {"until": 10**30})
    yield sessions.seal("session", {name: value for name, value in said.items() if name != "until"})


async def test_no_other_cookie_opens(home: House) -> None:
    name, client = home.identity.cookies.name("orch_session"), home.client()
    for sealed in sealed_otherwise(home):
        answer = await client.get("/status", headers={"cookie": f"{name}={sealed}"})
        assert answer.status_code == 401, sealed[:80]


async def test_no_changed_cookie_opens(home: House) -> None:
    """Every character in turn. The last of a digest's text has bits that mean nothing, so it is left out."""
    whole = home.cookie(home.session("reader"))["cookie"]
    start, client = whole.index("=") + 1, home.client()
    for place in range(start, len(whole) - 1):
        other = "A" if whole[place] != "A" else "B"
        changed = whole[:place] + other + whole[place + 1 :]
        assert (await client.get("/status", headers={"cookie": changed})).status_code == 401, place


async def test_a_session_is_over_after_its_hours(tmp_path: Path) -> None:
    async with house(tmp_path, ORCH_SESSION_HOURS="2") as home:
        client, cookie = home.client(), home.cookie(home.session())
        home.clock.advance(2 * 3600 - 1)
        assert (await client.get("/status", headers=cookie)).status_code == 200
        home.clock.advance(1)
        assert (await client.get("/status", headers=cookie)).status_code == 401


# -- begins and ends


async def test_each_sign_in_is_a_new_session_and_ends_the_one_before(home: House) -> None:
    client = home.client()
    first = value(cookies(await signed_in(home, client))["__Secure-orch_session"])
    name = home.identity.cookies.name("orch_session")
    planted = {"cookie": f"{name}={first}"}
    assert (await home.client().get("/status", headers=planted)).status_code == 200
    session = home.identity.sessions.opened(first)
    assert session is not None
    page = await home.client().get("/sign-in")
    flow = "; ".join(f"{one}={value(line)}" for one, line in cookies(page).items())
    csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
    again = await home.client().post(
        "/sign-in",
        data={"csrf": csrf, "token": API_TOKEN},
        headers={"origin": ORIGIN, "cookie": f"{flow}; {name}={first}"},
    )
    second = value(cookies(again)["__Secure-orch_session"])
    assert second != first
    assert (await home.client().get("/status", headers=planted)).status_code == 401
    assert (await home.client().get("/status", headers={"cookie": f"{name}={second}"})).status_code == 200


async def test_signing_out_ends_every_copy_of_the_cookie(home: House) -> None:
    session = home.session("reader")
    cookie, copy = home.cookie(session), home.client()
    assert (await copy.get("/status", headers=cookie)).status_code == 200
    form = f"csrf={home.csrf(session)}".encode()
    answer = await home.client().post("/sign-out", headers=cookie | OWN, content=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/orchestrator/sign-in")
    assert "Max-Age=0" in cookies(answer)["__Secure-orch_session"]
    assert (await copy.get("/status", headers=cookie)).status_code == 401
    again = await copy.post("/api/v1/pause", headers=cookie | OWN | {"x-csrf-token": home.csrf(session)})
    assert again.status_code == 401


async def test_a_sign_out_outlives_a_restart_and_is_forgotten_when_the_session_is_over(tmp_path: Path) -> None:
    clock = FakeClock()
    async with house(tmp_path, clock=clock) as home:
        session = home.session("reader")
        cookie = home.cookie(session)
        form = f"csrf={home.csrf(session)}".encode()
        await home.client().post("/sign-out", headers=cookie | OWN, content=form)
    async with house(tmp_path, clock=clock) as home:
        assert (await home.client().get("/status", headers=cookie)).status_code == 401
        clock.advance(13 * 3600)
        other = home.session("reader")
        form = f"csrf={home.csrf(other)}".encode()
        await home.client().post("/sign-out", headers=home.cookie(other) | OWN, content=form)
        count = home.orchestrator.database.read_now(
            lambda connection: connection.exec_driver_sql("SELECT count(*) FROM ended_sessions").scalar()
        )
        assert count == 1


async def test_who_left_the_people_is_out_although_the_cookie_is_good(tmp_path: Path) -> None:
    clock = FakeClock()
    async with house(tmp_path, clock=clock) as home:
        cookie = home.cookie(home.session("boss"))
        assert (await home.client().get("/status", headers=cookie)).status_code == 200
    left = tuple(one for one in PEOPLE if one.gitea_login != "boss")
    async with house(tmp_path, clock=clock, people=left) as home:
        assert (await home.client().get("/status", headers=cookie)).status_code == 401
    async with house(tmp_path, clock=clock, people=left, ORCH_SIGN_IN_FOR="everyone") as home:
        assert (await home.client().get("/status", headers=cookie)).status_code == 200
        csrf = {"x-csrf-token": home.identity.sessions.csrf("any")}
        assert (await home.client().post("/api/v1/pause", headers=cookie | OWN | csrf)).status_code == 403


async def test_nobody_is_signed_in_by_gitea_any_more_when_that_is_switched_off(tmp_path: Path) -> None:
    clock = FakeClock()
    async with house(tmp_path, clock=clock) as home:
        cookie = home.cookie(home.session("boss"))
    off = {"ORCH_GITEA_OAUTH_CLIENT_ID": "", "ORCH_GITEA_OAUTH_CLIENT_SECRET": ""}
    async with house(tmp_path, clock=clock, **off) as home:
        assert (await home.client().get("/status", headers=cookie)).status_code == 401


async def test_a_session_by_a_token_ends_with_the_token(home: House) -> None:
    client = home.client()
    await signed_in(home, client, await home.token("ci", "operate"))
    assert (await client.get("/status")).status_code == 200
    await home.revoke("ci")
    assert (await client.get("/status")).status_code == 401
    await home.token("ci", "operate")
    assert (await client.get("/status")).status_code == 401, "a new token of the same name is another one"


async def test_a_session_by_the_setting_ends_when_the_setting_has_another_token(tmp_path: Path) -> None:
    clock = FakeClock()
    async with house(tmp_path, clock=clock, ORCH_API_TOKEN="first-token") as home:
        line = cookies(await signed_in(home, home.client(), "first-token"))["__Secure-orch_session"]
        cookie = {"cookie": f"__Secure-orch_session={value(line)}"}
        assert "first-token" not in line
    async with house(tmp_path, clock=clock, ORCH_API_TOKEN="other\nfirst-token") as home:
        assert (await home.client().get("/status", headers=cookie)).status_code == 200
    async with house(tmp_path, clock=clock, ORCH_API_TOKEN="other") as home:
        assert (await home.client().get("/status", headers=cookie)).status_code == 401


# -- what each may


@pytest.mark.parametrize(
    ("login", "reads", "pauses"),
    [("reader", 200, 403), ("boss", 200, 202), ("BOSS", 200, 202), ("root", 200, 202)],
)
async def test_people_may_what_orchestrator_yaml_says(home: House, login: str, reads: int, pauses: int) -> None:
    session, client = home.session(login), home.client()
    headers = home.cookie(session) | OWN | {"x-csrf-token": home.csrf(session)}
    assert (await client.get("/status", headers=headers)).status_code == reads
    assert (await client.post("/api/v1/pause", headers=headers)).status_code == pauses


@pytest.mark.parametrize("login", ["", "stranger", "reader ", "reade", "orchestrator"])
async def test_nobody_else_has_a_session(home: House, login: str) -> None:
    assert (await home.client().get("/status", headers=home.cookie(home.session(login)))).status_code == 401


# -- the key


async def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    clock = FakeClock()
    before = os.umask(0)
    try:
        async with house(tmp_path, clock=clock) as home:
            cookie = home.cookie(home.session())
    finally:
        os.umask(before)
    path = tmp_path / "data" / "session-secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().strip()) == 64
    assert [one.name for one in path.parent.glob("session-secret*")] == ["session-secret"]
    async with house(tmp_path, clock=clock) as home:
        assert (await home.client().get("/status", headers=cookie)).status_code == 200
    path.unlink()
    async with house(tmp_path, clock=clock) as home:
        assert (await home.client().get("/status", headers=cookie)).status_code == 401


def test_a_key_that_is_none_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "session-secret").write_text("short\n")
    with pytest.raises(Permanent, match="does not hold a key"):
        secret.kept(tmp_path)
    with pytest.raises(Permanent, match="cannot be made"):
        secret.kept(tmp_path / "session-secret")


async def test_the_key_can_be_changed_without_a_gap(tmp_path: Path) -> None:
    clock, old, new = FakeClock(), "o" * 32, "n" * 32
    async with house(tmp_path, clock=clock, ORCH_SESSION_SECRET=old) as home:
        session = home.session()
        cookie, csrf = home.cookie(session), {"x-csrf-token": home.csrf(session)}
        assert not (tmp_path / "data" / "session-secret").exists()
    async with house(tmp_path, clock=clock, ORCH_SESSION_SECRET=f"{new}\n{old}") as home:
        assert (await home.client().post("/api/v1/pause", headers=cookie | csrf | OWN)).status_code == 202
        signed = home.cookie(home.session())
    async with house(tmp_path, clock=clock, ORCH_SESSION_SECRET=new) as home:
        assert (await home.client().get("/status", headers=cookie)).status_code == 401
        assert (await home.client().get("/status", headers=signed)).status_code == 200


def test_what_is_derived_for_one_purpose_is_good_for_no_other() -> None:
    sessions = Sessions(lambda: [KEY], timedelta(hours=1), FakeClock())
    made = {sessions.derived(purpose, of) for purpose in ("csrf", "verifier", "token") for of in ("a", "b", "")}
    assert len(made) == 9
    assert all(len(one) == 43 for one in made)
    one, other = sessions.begin(By.PERSON, "x"), sessions.begin(By.PERSON, "x")
    assert one.id != other.id
    assert not sessions.is_csrf(other.id, sessions.csrf(one.id))
    assert not sessions.is_csrf(one.id, "")
    assert not sessions.is_csrf(one.id, "ключ")


# -- without any sign-in


async def test_without_any_sign_in_this_machines_pages_can_change_something(tmp_path: Path) -> None:
    async with house(tmp_path, **ALONE) as home:
        client = home.client("127.0.0.1")
        answer = await client.get("/sign-in", headers={"accept": "text/html"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "set-cookie" not in answer.headers
