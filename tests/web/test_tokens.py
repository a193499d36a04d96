"""Named tokens: scoped, stored as digests, refused at once when they are revoked."""

import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doors import API_TOKEN, House, house, signed_in
from orchestrator.domain.model import Person, UserId
from orchestrator.store import tokens as rows
from orchestrator.store.tokens import Use
from orchestrator.web.signin import tokens
from warm import orch


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as one:
        yield one


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_token_is_known_for_one_and_has_256_bits() -> None:
    made = {tokens.new() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"orch_[A-Za-z0-9_-]{43}", one) for one in made)


@pytest.mark.parametrize(
    ("scope", "reads", "pauses", "administers"),
    [("read", 200, 403, 403), ("operate", 200, 202, 403), ("admin", 200, 202, 404)],
)
async def test_a_token_may_what_its_scope_says(
    home: House, scope: str, reads: int, pauses: int, administers: int
) -> None:
    headers, client = bearer(await home.token("one", scope)), home.client()
    assert (await client.get("/status", headers=headers)).status_code == reads
    assert (await client.post("/api/v1/pause", headers=headers)).status_code == pauses
    assert (await client.get("/api/v1/tokens", headers=headers)).status_code == administers


async def test_a_refusal_for_want_of_scope_says_whose_and_which(home: House) -> None:
    refused = await home.client().post("/api/v1/pause", headers=bearer(await home.token("watcher", "read")))
    assert refused.json()["detail"].count("watcher has the scope read, and it needs operate") == 1


async def test_a_revoked_token_is_refused_with_the_next_request(home: House) -> None:
    headers, client = bearer(await home.token("ci", "operate")), home.client()
    assert (await client.post("/api/v1/pause", headers=headers)).status_code == 202
    await home.revoke("ci")
    assert (await client.post("/api/v1/resume", headers=headers)).status_code == 401
    assert (await client.get("/status", headers=bearer(API_TOKEN))).status_code == 200


@pytest.mark.parametrize(
    ("login", "scope", "reads", "pauses", "administers"),
    [
        ("boss", "operate", 200, 202, 403),
        ("boss", "admin", 200, 202, 403),
        ("BOSS", "read", 200, 403, 403),
        ("root", "admin", 200, 202, 404),
        ("reader", "admin", 200, 403, 403),
        ("stranger", "admin", 401, 401, 401),
    ],
)
async def test_a_token_of_a_person_may_what_both_it_and_the_person_may(
    home: House, login: str, scope: str, reads: int, pauses: int, administers: int
) -> None:
    headers, client = bearer(await home.token("one", scope, login)), home.client()
    assert (await client.get("/status", headers=headers)).status_code == reads
    assert (await client.post("/api/v1/pause", headers=headers)).status_code == pauses
    assert (await client.get("/api/v1/tokens", headers=headers)).status_code == administers


async def test_a_token_speaks_for_its_person_and_others_for_nobody(home: House) -> None:
    vote = {"gate": "QG-1", "digest": "0" * 64}

    async def said(headers: dict[str, str]) -> str:
        answer = await home.client().post("/api/v1/tasks/NONE-1/approve", headers=headers, json=vote)
        title: str = answer.json()["title"]
        return title

    assert await said(bearer(await home.token("boss-laptop", "operate", "boss"))) == "not_found"
    assert await said(bearer(await home.token("root-laptop", "admin", "root"))) == "not_an_approver"
    assert await said(bearer(await home.token("ci", "operate"))) == "not_a_person"
    assert await said(bearer(API_TOKEN)) == "not_a_person"


async def test_a_session_by_a_persons_token_is_that_persons_and_ends_with_it(home: House) -> None:
    token, browser = await home.token("boss-laptop", "operate", "boss"), home.client()
    await signed_in(home, browser, token)
    assert ">boss</span>" in (await browser.get("/", headers={"accept": "text/html"})).text
    await home.revoke("boss-laptop")
    assert (await browser.get("/status")).status_code == 401


async def test_a_token_ends_when_its_person_is_no_longer_let_in(tmp_path: Path) -> None:
    async with house(tmp_path) as before:
        headers = bearer(await before.token("boss-laptop", "operate", "boss"))
        assert (await before.client().get("/status", headers=headers)).status_code == 200
    async with house(tmp_path, people=(Person(UserId("2"), "boss"),)) as fewer:
        assert (await fewer.client().post("/api/v1/pause", headers=headers)).status_code == 403
    async with house(tmp_path, people=()) as without:
        without.clock.advance(86_400)
        assert (await without.client().get("/status", headers=headers)).status_code == 401
        await without.orchestrator.database.write(lambda _: None)
        [token] = without.orchestrator.database.read_now(rows.listed)
        assert token.last_used_on < without.clock.now().date(), "to be refused is no use"


async def test_the_database_holds_no_token(home: House, tmp_path: Path) -> None:
    token = await home.token("ci", "admin")
    await home.client().get("/status", headers=bearer(token))
    held = b"".join(one.read_bytes() for one in (tmp_path / "data").glob("orchestrator.db*"))
    assert token.encode() not in held
    assert hashlib.sha256(token.encode()).hexdigest().encode() in held


async def test_a_digest_is_no_token(home: House) -> None:
    token = await home.token("ci", "admin")
    digest = hashlib.sha256(token.encode()).hexdigest()
    for given in (digest, f"orch_{digest}", token[:-1], f"{token}x", token.upper(), token.removeprefix("orch_")):
        assert (await home.client().get("/status", headers=bearer(given))).status_code == 401, given


@pytest.mark.parametrize("given", ["ключ", "orch_ключ", "orch_", "\x80\xff", "orch_" + "x" * 100_000])
async def test_odd_tokens_are_refused_and_break_nothing(home: House, given: str) -> None:
    sent = [(b"authorization", b"Bearer " + given.encode())]
    assert (await home.client().get("/status", headers=sent)).status_code == 401


async def test_the_day_of_the_last_use_is_noted_and_never_goes_back(home: House) -> None:
    headers, database = bearer(await home.token("ci", "read")), home.orchestrator.database

    def last() -> object:
        return database.read_now(rows.listed)[0].last_used_on

    assert last() is None
    await home.client().get("/status", headers=headers)
    await database.write(lambda _: None)  # committed after what was asked for before
    day = home.clock.now().date()
    assert last() == day
    home.clock.advance(86_400)
    await home.client().get("/status", headers=headers)
    await database.write(lambda _: None)
    assert last() == home.clock.now().date() != day
    await database.write(lambda connection: rows.mark_used(connection, [Use(1, day)]))
    assert last() != day


async def test_a_name_is_free_again_when_its_token_is_revoked(home: House) -> None:
    first = await home.token("ci", "read")
    with pytest.raises(AssertionError):
        await home.token("ci", "admin")
    await home.revoke("ci")
    second = await home.token("ci", "read")
    assert (await home.client().get("/status", headers=bearer(first))).status_code == 401
    assert (await home.client().get("/status", headers=bearer(second))).status_code == 200
    states = [(one.name, one.revoked_at is None) for one in home.orchestrator.database.read_now(rows.listed)]
    assert states == [("ci", True), ("ci", False)]


# -- orch token


async def test_orch_token_works_beside_a_running_server(home: House, tmp_path: Path) -> None:
    environ, client = {"ORCH_DATA_DIR": str(tmp_path / "data")}, home.client()
    made = orch("token", "create", "ci", "--scope", "operate", cwd=tmp_path, environ=environ)
    assert (made.returncode, made.stdout.count("\n")) == (0, 1)
    headers = bearer(made.stdout.strip())
    assert (await client.post("/api/v1/pause", headers=headers)).status_code == 202
    listed = json.loads(orch("token", "list", cwd=tmp_path, environ=environ).stdout)
    assert [(one["name"], one["scope"], one["revoked_at"]) for one in listed] == [("ci", "operate", None)]
    assert made.stdout.strip() not in str(listed)
    assert orch("token", "revoke", "ci", cwd=tmp_path, environ=environ).returncode == 0
    assert (await client.get("/status", headers=headers)).status_code == 401


def test_orch_token_needs_no_server_and_says_what_is_wrong(tmp_path: Path) -> None:
    environ = {"ORCH_DATA_DIR": str(tmp_path / "data")}
    assert orch("token", "list", cwd=tmp_path, environ=environ).stdout.strip() == "[]"
    assert not (tmp_path / "data").exists(), "to look makes nothing"
    made = json.loads(orch("token", "create", "a", "--json", cwd=tmp_path, environ=environ).stdout)
    assert (made["name"], made["scope"]) == ("a", "read"), "the least when nothing is said"
    twice = orch("token", "create", "a", cwd=tmp_path, environ=environ)
    assert (twice.returncode, twice.stdout) == (1, "")
    assert "orch token revoke a" in twice.stderr
    assert orch("token", "create", "a b", cwd=tmp_path, environ=environ).returncode == 2
    assert orch("token", "create", "b", "--scope", "all", cwd=tmp_path, environ=environ).returncode == 2
    assert orch("token", "revoke", "nobody", cwd=tmp_path, environ=environ).returncode == 4
