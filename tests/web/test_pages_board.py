"""The board as a browser gets it: from the real service, over HTTP, without a script."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from sqlalchemy import text

from desk import NOW, Page, add_run, add_task, page, served, submit
from green import GREEN, TASK, run
from hostile import HOSTILE, RAW
from orchestrator.configfile import Directory
from orchestrator.db import Database
from orchestrator.domain.model import Project, ProjectId, RepoName, Stage
from orchestrator.domain.roles import Role
from orchestrator.qg.facts import SpendingLimits
from orchestrator.qg.verdict import Item
from orchestrator.store import board, tokens
from orchestrator.store.board import COLUMN, STAGES, Filter
from orchestrator.store.schema import NEEDS_A_PERSON
from orchestrator.web.pages import following
from orchestrator.web.pages.board import remedy
from orchestrator.web.signin.tokens import digest
from orchestrator.workflow.admission import dispatch_paused
from orchestrator.workflow.halts import pause_of_task
from orchestrator.workflow.money import overspent

APPROVAL = Item(
    "approval", (("documents", "tasks/E-1/BRD.md"), ("have", "0"), ("needed", "1")), (), "approver", ":approved:"
)
CRASHED = Item("run_crashed", (("role", "developer"), ("detail", "dead")), (), "operator", "retry")
GREENING = Item("check_not_green", (("context", "ci/test"), ("state", "pending")), (), "ci", "run_ci")
FULL = dispatch_paused()
PROJECTS = Directory((Project(ProjectId("p1"), RepoName("acme", "enduro-trails")),))
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Needs you", "waits for approval", "Read and decide", "developer", "12 turns", "Done lately")),
        ("ru", ("Нужны вы", "ждёт одобрения", "Прочитать и решить", "разработчик", "ходов: 12", "Недавно")),
    ],
)
async def test_it_shows_who_is_needed_what_is_at_work_and_what_is_done(
    tmp_path: Path, language: str, words: tuple[str, ...]
) -> None:
    async with served(tmp_path) as (orchestrator, client):

        def fill(connection: board.Connection) -> None:
            add_task(connection, "E-1", title="Import tracks", waiting=(APPROVAL,))
            working = add_task(connection, "E-2", Stage.DEVELOPMENT, title="Fix the map")
            add_run(connection, working, "analyst", Stage.ANALYSIS, turns=5, cost_usd=0.5)
            add_run(connection, working, "developer", Stage.DEVELOPMENT, state="running", outcome=None, turns=7)
            add_task(connection, "E-3", Stage.DONE, title="An old one")

        await orchestrator.database.write(fill)
        found = await page(client, "/", language)
        for one in (*words, "Import tracks", "Fix the map", "An old one", "$0.50"):
            assert one in found.text, one
        assert {f"column-{stage}" for stage in STAGES} <= {
            one["id"] for one in found.all("section") if "id" in one
        }
        assert "/tasks/E-1#documents" in found.links()
        assert len(found.all("span", class_="dot")) == 1
        assert found.text.index("Import tracks") < found.text.index("Fix the map")


async def test_only_what_a_person_can_supply_is_in_the_list_of_needs(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):

        def fill(connection: board.Connection) -> None:
            add_task(connection, "E-1", Stage.CI, waiting=(GREENING,))
            add_task(connection, "E-2", Stage.ANALYSIS, waiting=(FULL,))
            add_task(connection, "E-3", Stage.DEVELOPMENT, waiting=(GREENING, CRASHED))
            add_task(connection, "E-4", Stage.ANALYSIS, waiting=(APPROVAL,), moved=NOW - timedelta(hours=3))

        await orchestrator.database.write(fill)
        found = await page(client, "/")
        needs = [one["id"] for one in found.all("li") if one.get("id", "").startswith("need-")]
        assert needs == ["need-4", "need-3"], "the longest without a change first"
        assert found.forms().count("/actions/tasks/E-3/retry") == 1


async def test_nobody_is_needed_is_said(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        assert "Nothing waits for a person" in (await page(client, "/")).text
        assert "Людей ничто не ждёт" in (await page(client, "/", "ru")).text


async def test_a_column_is_bounded_and_says_how_many_more_there_are(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):

        def fill(connection: board.Connection) -> None:
            for number in range(COLUMN + 7):
                add_task(connection, f"E-{number}", moved=NOW + timedelta(minutes=number))

        await orchestrator.database.write(fill)
        found = await page(client, "/")
        assert len(found.all("li", class_="card")) == COLUMN
        assert "and 7 more" in found.text
        assert f"/tasks/E-{COLUMN + 6}" in found.links()
        assert "/tasks/E-6" not in found.links(), "those that moved last are shown"


async def test_it_is_filtered_by_project_and_by_text_in_any_case_of_letters(tmp_path: Path) -> None:
    async with served(tmp_path, PROJECTS) as (orchestrator, client):

        def fill(connection: board.Connection) -> None:
            add_task(connection, "E-1", title="Карта участков")
            add_task(connection, "E-2", title="100% of riders")
            add_task(connection, "E-3", title="1000 riders", repo="acme/timing")

        await orchestrator.database.write(fill)
        asked = {"карта": ["E-1"], "e-2": ["E-2"], "100%": ["E-2"], "RIDERS": ["E-2", "E-3"], "nothing": []}
        for sought, keys in asked.items():
            found = await page(client, f"/?q={quote(sought)}")
            assert sorted(one.removeprefix("/tasks/") for one in found.links() if "/tasks/" in one) == keys, sought
        of_project = await page(client, "/?repo=acme/enduro-trails")
        assert "/tasks/E-3" not in of_project.links()
        assert [one["value"] for one in of_project.all("option", selected="")][-1:] == ["acme/enduro-trails"]


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_what_comes_from_outside_stays_text(tmp_path: Path, hostile: str) -> None:
    async with served(tmp_path) as (orchestrator, client):

        def fill(connection: board.Connection) -> None:
            said = Item(hostile, (("detail", hostile), ("documents", hostile)), (hostile,), hostile, hostile)
            asked = Item("approval", (("documents", hostile),), (), "approver", ":approved:")
            for stage in (*STAGES, Stage.DONE):
                task = add_task(
                    connection,
                    f"{hostile}{stage}",
                    stage,
                    title=hostile,
                    waiting=(asked, said),
                    repo=hostile[:200],
                )
                add_run(connection, task, hostile[:20], stage, state="running", outcome=None)

        await orchestrator.database.write(fill)
        for language in ("en", "ru"):
            answer = await client.get(f"/?q={quote(hostile[:90])}", headers={"accept-language": language})
            assert answer.status_code == 200
            assert not RAW & set(answer.text)
            only_ours(Page(answer.text))
            everything = await page(client, "/", language)
            only_ours(everything)
            assert len(everything.all("li", class_="card")) == len(STAGES)


def only_ours(found: Page) -> None:
    """No script but our files, no handler, no style, no address that is none of ours."""
    assert [one["src"].split("?")[0] for one in found.all("script")] == [
        "/static/vendor/htmx.min.js",
        "/static/vendor/idiomorph-ext.min.js",
        "/static/vendor/sse.min.js",
        "/static/orchestrator.js",
    ]
    assert not found.all("img")
    assert not found.all("style")
    for tag, attrs in found.elements:
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
        for name in ("href", "src", "action", "hx-get", "sse-connect"):
            assert attrs.get(name, "/").startswith(("/", "#")), (tag, attrs)
            assert not attrs.get(name, "/").startswith("//"), (tag, attrs)


async def test_every_address_is_under_the_path_prefix(tmp_path: Path) -> None:
    async with served(tmp_path, ORCH_PUBLIC_URL="https://host.example/orchestrator") as (orchestrator, client):
        await orchestrator.database.write(
            lambda connection: add_task(connection, "E-1", waiting=(APPROVAL, CRASHED))
        )
        for path in ("/orchestrator/", "/orchestrator/tasks/E-1", "/orchestrator/nothing"):
            answer = await client.get(path, headers={"accept": "text/html"})
            for tag, attrs in Page(answer.text).elements:
                for name in ("href", "src", "action", "hx-get", "sse-connect"):
                    assert attrs.get(name, "/orchestrator/").startswith(("/orchestrator/", "#")), (tag, attrs)


async def test_the_headers_are_exact_and_nothing_is_kept(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        for path in ("/", "/?part=live", "/tasks/NO-1", "/nothing"):
            headers = (await client.get(path, headers={"accept": "text/html"})).headers
            assert headers["content-security-policy"] == CSP
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"


async def test_language_and_theme_are_switched_by_links_alone(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        found = await page(client, "/?q=a%26b")
        to_russian = next(one for one in found.links() if "language=ru" in one)
        to_dark = next(one for one in found.links() if "theme=dark" in one)
        for link in (to_russian, to_dark):
            answer = await client.get(link)
            assert (answer.status_code, answer.headers["location"]) == (303, "/?q=a%26b")
        after = await page(client, "/")
        assert "Нужны вы" in after.text
        assert after.all("html") == [{"lang": "ru", "data-theme": "dark"}]


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example/", "/\\evil.example", "\\\\evil", "/a\nb", "javascript:1", ""]
)
async def test_no_link_leads_elsewhere_by_way_of_us(tmp_path: Path, back: str) -> None:
    async with served(tmp_path) as (_, client):
        answer = await client.get("/preferences", params={"theme": "dark", "language": "xx", "back": back})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert list(answer.cookies) == ["orch_theme"], "an unknown language is not kept"


async def test_everything_is_paused_and_resumed_by_a_button(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        answer = await submit(client, await page(client, "/"), "/actions/pause")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        paused = await page(client, "/")
        assert "Everything is paused by an operator since" in paused.text
        assert "поставил всё на паузу" in (await page(client, "/", "ru")).text
        assert "/actions/pause" not in paused.forms()
        await submit(client, paused, "/actions/resume")
        assert "Everything is paused" not in (await page(client, "/")).text


async def test_a_form_without_its_token_changes_nothing_and_says_so(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        headers = {"origin": str(client.base_url), "accept": "text/html", "accept-language": "ru"}
        answer = await client.post("/actions/pause", data={"csrf": "x"}, headers=headers)
        assert answer.status_code == 403
        assert "Вам это нельзя" in Page(answer.text).text
        assert answer.headers["content-security-policy"] == CSP
        assert "/actions/pause" in (await page(client, "/")).forms()
        plain = await client.post("/actions/pause", data={"csrf": "x"}, headers={"origin": str(client.base_url)})
        assert (plain.status_code, plain.headers["content-type"]) == (403, "application/problem+json")


async def test_nobody_reaches_the_page_of_refusals_by_its_address(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        await page(client, "/refused", status=404)


async def test_whoever_may_only_read_gets_no_buttons(tmp_path: Path) -> None:
    async with served(tmp_path, ORCH_API_TOKEN="secret") as (orchestrator, client):

        def fill(connection: board.Connection) -> None:
            add_task(connection, "E-1", waiting=(CRASHED,))
            tokens.create(connection, "reader", "read", digest("orch_reader"), NOW)

        await orchestrator.database.write(fill)
        reader = {"authorization": "Bearer orch_reader", "accept": "text/html"}
        admin = {"authorization": "Bearer secret", "accept": "text/html"}
        for path in ("/", "/tasks/E-1"):
            assert Page((await client.get(path, headers=reader)).text).forms() == []
            assert Page((await client.get(path, headers=admin)).text).forms() != []


# --- live


async def test_a_change_is_told_to_whoever_follows_and_only_then(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        found = await page(client, "/")
        part = found.all("div", id="board")[0]
        assert part["hx-trigger"] == "sse:changed"
        live = found.all("div", id="live")[0]["sse-connect"]
        async with client.stream("GET", live) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            assert (await anext(lines)) == "retry: 3000"
            quiet = asyncio.create_task(_next_event(lines))
            await orchestrator.database.write(
                lambda connection: connection.execute(text("DELETE FROM watermarks"))
            )
            await orchestrator.database.write(lambda connection: add_task(connection, "E-1", title="News"))
            assert await asyncio.wait_for(quiet, 20) == "event: changed"
        again = await client.get(part["hx-get"])
        assert "News" in again.text
        assert "<html" not in again.text, "only the part is fetched anew"
        assert "sse-connect" not in again.text, (
            "what is swapped would open a stream each time, and a browser has six"
        )


async def test_whoever_comes_late_is_told_at_once(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        stale = (await page(client, "/")).all("div", id="live")[0]["sse-connect"]
        await orchestrator.database.write(lambda connection: add_task(connection, "E-1"))
        async with client.stream("GET", stale) as stream:
            assert await asyncio.wait_for(_next_event(stream.aiter_lines()), 20) == "event: changed"


async def test_a_place_is_given_back_when_a_follower_leaves(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        async with client.stream("GET", "/live/board?seen=x") as stream:
            await asyncio.wait_for(_next_event(stream.aiter_lines()), 20)
            assert orchestrator.changes.followers == 1
        async with asyncio.timeout(20):
            while orchestrator.changes.followers:
                await orchestrator.database.write(lambda connection: add_task(connection, None, plane_id=None))
                await asyncio.sleep(0.05)


async def _next_event(lines: AsyncIterator[str]) -> str:
    async for line in lines:
        if line.startswith("event:"):
            return line
    raise AssertionError("the stream ended")


# --- the store


@pytest.mark.parametrize("wanted", [Filter(), Filter(text="a"), Filter(repo="acme/x")])
def test_a_column_is_read_from_its_end_of_the_index(database: Database, wanted: Filter) -> None:
    def plan(connection: board.Connection) -> list[str]:
        statement = board._OF_STAGE.where(*board._conditions(wanted)).limit(COLUMN)
        said = statement.params(stage="ci").compile(connection, compile_kwargs={"literal_binds": True})
        return [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}")]

    assert database.read_now(plan) == ["SEARCH tasks USING INDEX tasks_stage (stage=?)"]


def test_a_mark_is_another_one_after_each_change_that_shows(database: Database) -> None:
    marks = [database.read_now(board.mark)]

    async def written() -> None:
        for work in (
            lambda connection: add_task(connection, "E-1"),
            lambda connection: add_run(connection, 1, "analyst", Stage.ANALYSIS, state="running", outcome=None),
            lambda connection: connection.execute(text("UPDATE agent_runs SET turns = 9")),
            lambda connection: connection.execute(text("UPDATE agent_runs SET state = 'ended'")),
            lambda connection: connection.execute(
                text("INSERT INTO pauses (kind, since, guesses) VALUES ('operator', '2026-11-26 00:00:00', 0)")
            ),
        ):
            await database.write(work)
            marks.append(database.read_now(board.mark))

    asyncio.run(written())
    assert all(before != after for before, after in pairwise(marks)), marks


def test_what_unparks_a_posted_task_has_its_button_too() -> None:
    (spent,) = overspent(
        replace(TASK, role=Role.ANALYST),
        replace(GREEN, runs=(replace(run(Stage.ANALYSIS), cost_usd=9.0),), spending=SpendingLimits(5.0, 0.0)),
    )
    found = [remedy(one) for one in (pause_of_task(), pause_of_task(is_posted=True), spent)]
    assert found == ["resume", "resume", "retry"]


def test_the_least_time_between_two_words_is_a_second() -> None:
    assert following.LEAST_S >= 1


def test_what_waits_for_people_is_read_from_an_index_of_its_own(database: Database) -> None:
    def plan(connection: board.Connection) -> list[str]:
        said = board._NEEDS.compile(connection, compile_kwargs={"literal_binds": True})
        return [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}")]

    assert database.read_now(plan) == ["SCAN tasks USING INDEX tasks_needs"]


def test_open_runs_are_found_without_looking_at_those_that_are_over(database: Database) -> None:
    def plan(connection: board.Connection) -> list[str]:
        said = board._WORKING.compile(connection, compile_kwargs={"literal_binds": True})
        return [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}")]

    assert database.read_now(plan) == ["SCAN agent_runs USING INDEX agent_runs_one_open"]


def test_every_reason_of_admission_that_a_person_is_named_for_is_no_need_of_its_own() -> None:
    """The index leaves out `dispatch_paused` as it is written; another one would have to be left out, too."""
    written = msgspec.json.encode(dispatch_paused()).decode()
    assert '{"code":"dispatch_paused","params":[],"evidence":[],"who":"operator",' in written
    assert written.startswith(NEEDS_A_PERSON.split("'")[3])
