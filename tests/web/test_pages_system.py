"""System over real HTTP: findings, queue, pauses, deliveries that did not come or were turned away."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, insert

from desk import HOSTILE, NOW, Page, add_run, add_task, harmless, served
from green import PROJECT
from orchestrator.configfile import Directory
from orchestrator.domain.errors import Permanent
from orchestrator.domain.finding import Level
from orchestrator.domain.model import Source, Stage
from orchestrator.domain.roles import Language
from orchestrator.forges.gitea import Gitea
from orchestrator.qg.verdict import Item
from orchestrator.store.pulse import Pulse
from orchestrator.store.schema import events, pauses, watermarks
from orchestrator.words.findings import in_words


def event(number: int, source: str, at: datetime) -> dict[str, Any]:
    row = {"id": number, "source": source, "event_type": "push", "timestamp": at, "payload": "{}"}
    return row | {"body_sha256": f"{number:064}"}


async def test_findings_say_what_is_missing_and_how_to_mend_it_in_both_languages(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        english = harmless((await client.get("/system")).text)
        russian = harmless((await client.get("/system", headers={"Accept-Language": "ru"})).text)
    for words in ("no_gitea_token", "Set ORCH_GITEA_TOKEN", "The database can be written", "Versions", "SQLite"):
        assert words in english.text
    for words in ("Нужно исправить", "no_gitea_token", "Очередь", "Никто не работает"):
        assert words in russian.text
    assert "ORCH_RUN_TIMEOUT_S" in english.text


async def test_on_a_russian_page_no_finding_is_in_english(tmp_path: Path) -> None:
    environ = {"ORCH_CLAUDE_BIN": str(tmp_path / "claude"), "ORCH_GITEA_TOKEN": "g", "ORCH_SANDBOX": "none"}
    people = Directory((replace(PROJECT, approvers=()),))
    async with served(tmp_path, people, **environ, ORCH_MIN_SANDBOX="none") as (orchestrator, client):
        forge = orchestrator.forges.orchestrator
        assert isinstance(forge, Gitea)
        forge.circuit.refused("", Permanent("gitea_refused", "GET /user: 401.", hint="Check ORCH_GITEA_TOKEN: x."))
        until = {"kind": "account", "since": NOW, "until": NOW + timedelta(days=9999), "guesses": 1}
        await orchestrator.database.write(lambda c: c.execute(insert(pauses).values(until)))
        await orchestrator.dispatch.pause_all(is_paused=True)
        found = [one for one in await orchestrator.look() if one.level is not Level.FINE]
        pages = {
            language: harmless((await client.get("/system", headers={"Accept-Language": language})).text)
            for language in Language
        }
    wanted = {
        "no_sandbox",
        "no_approvers",
        "no_reviewer_user",
        "dispatch_paused",
        "account_paused",
        "gitea_refused",
    }
    assert {*wanted, "gitea_refused"} <= {one.code for one in found}
    for language, other in ((Language.EN, Language.RU), (Language.RU, Language.EN)):
        for one in found:
            told, not_told = in_words(one, language), in_words(one, other)
            assert told.message in pages[language].text
            assert told.mend in pages[language].text
            assert not_told.mend not in pages[language].text
    assert "Gitea нам отказывает: GET /user: 401." in pages[Language.RU].text
    for sentence in ("Agents run without", "Nobody may approve", "is paused by an operator", "usage limit is"):
        assert sentence in pages[Language.EN].text
        assert sentence not in pages[Language.RU].text


async def test_no_secret_is_told(tmp_path: Path) -> None:
    secrets = {"ORCH_GITEA_TOKEN": "gitea-secret-1", "ORCH_PLANE_API_TOKEN": "plane-secret-2"}
    async with served(tmp_path, **secrets, ORCH_ANTHROPIC_API_KEY="model-secret-3") as (_, client):
        text = (await client.get("/system")).text
    assert "-secret-" not in text


async def test_the_queue_tells_who_works_and_why_others_wait(tmp_path: Path) -> None:
    reason = msgspec.json.encode(Item("slots_full", (("limit", "2"),), who="agent", action="wait")).decode()
    async with served(tmp_path) as (orchestrator, client):

        def commit(connection: Connection) -> None:
            one, other = add_task(connection, "ENDURO-1"), add_task(connection, "ENDURO-2")
            at = {"outcome": None, "started_at": NOW}
            add_run(connection, one, "analyst", Stage.ANALYSIS, state="running", admitted_at=NOW, **at)
            add_run(connection, other, "tester", Stage.TESTING, state="intended", waits_for=reason, outcome=None)

        await orchestrator.database.write(commit)
        page = harmless((await client.get("/system")).text)
    assert {"/runs/1", "/runs/2", "/tasks/ENDURO-1", "/tasks/ENDURO-2"} <= set(page.links())
    assert "1 of 2 slots in use" in page.text
    assert page.text.count("at work") >= 1


async def test_a_pause_of_the_account_says_until_when_and_one_by_an_operator_can_be_ended(tmp_path: Path) -> None:
    until = datetime.now(UTC) + timedelta(hours=2)
    async with served(tmp_path) as (orchestrator, client):
        before = Page((await client.get("/system")).text)
        assert before.forms() == ["/actions/pause"]
        rows = [
            {"kind": "account", "since": NOW, "until": until, "guesses": 1},
            {"kind": "operator", "since": NOW},
        ]

        def commit(connection: Connection) -> None:
            for row in rows:
                connection.execute(insert(pauses).values(row))

        await orchestrator.database.write(commit)
        page = harmless((await client.get("/system")).text)
        assert page.forms() == ["/actions/resume"]
        assert f"until about {until:%Y-%m-%d %H:%M:%S} UTC" in page.text
        [csrf] = page.all("input", name="csrf")
        resumed = await client.post("/actions/resume", data={"csrf": csrf["value"], "back": "/system"})
        assert (resumed.status_code, resumed.headers["location"]) == (303, "/system")
        assert Page((await client.get("/system")).text).forms() == ["/actions/pause"]


async def test_refused_deliveries_are_counted(tmp_path: Path) -> None:
    async with served(tmp_path, ORCH_MAX_BODY_BYTES="2000", ORCH_GITEA_WEBHOOK_SECRET="s") as (_, client):
        headers = {"Content-Type": "application/json", "X-Gitea-Signature": "0" * 64}
        for _ in range(3):
            assert (await client.post("/webhook/gitea", content=b"{}", headers=headers)).status_code == 401
        assert (await client.post("/webhook/plane", content=b"x" * 5000, headers=headers)).status_code == 413
        page = harmless((await client.get("/system")).text)
    assert "gitea 401 bad_signature 3" in page.text
    assert "plane 413 body_too_large 1" in page.text


@pytest.mark.parametrize(
    ("told", "saw", "deaf"),
    [
        (None, None, False),
        (NOW, None, False),
        (None, NOW, True),
        (NOW, NOW, False),
        (NOW, NOW + timedelta(minutes=9), False),
        (NOW, NOW + timedelta(minutes=11), True),
    ],
)
def test_a_source_is_silent_when_a_change_is_newer_than_its_last_delivery(
    told: datetime | None, saw: datetime | None, deaf: bool
) -> None:
    assert Pulse(Source.PLANE, told, saw).is_silent is deaf


async def test_a_webhook_that_does_not_come_is_told(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):

        def commit(connection: Connection) -> None:
            connection.execute(
                insert(events), [event(1, "plane", NOW - timedelta(hours=3)), event(2, "gitea", NOW)]
            )
            seen = {"project_id": "p", "since": NOW - timedelta(days=9), "seen_until": NOW}
            connection.execute(insert(watermarks).values(seen))

        await orchestrator.database.write(commit)
        page = harmless((await client.get("/system")).text)
    assert "silent" in page.text
    assert "A change was seen that no delivery told of" in page.text


async def test_hostile_text_stays_text(tmp_path: Path) -> None:
    reason = msgspec.json.encode(Item(HOSTILE, (("detail", HOSTILE),))).decode()
    async with served(tmp_path) as (orchestrator, client):

        def commit(connection: Connection) -> None:
            more = {"waits_for": reason, "outcome": None, "cli_version": HOSTILE}
            task = add_task(connection, HOSTILE, repo="acme/trails")
            add_run(connection, task, "tester", Stage.TESTING, state="intended", **more)

        await orchestrator.database.write(commit)
        page = harmless((await client.get("/system")).text)
    assert page.text.count("alert(1)") >= 3
