"""A task's page as a browser gets it: gates, documents, what happened, and what people can order."""

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection, select

from desk import NOW, Page, add_run, add_task, page, served, submit
from green import ANNA, ASKED, GREEN, HEAD, ITEM, PROJECT, TASK, remark
from hostile import HOSTILE, RAW
from orchestrator.configfile import Directory
from orchestrator.domain.model import Person, Sha, Stage, TaskId, UserId, WorkItemId
from orchestrator.domain.roles import DocumentName
from orchestrator.domain.tracker import Comment, CommentId
from orchestrator.main import Orchestrator
from orchestrator.qg.facts import Document, Facts
from orchestrator.qg.verdict import Item
from orchestrator.sim.gitea import WRITE, GiteaSim
from orchestrator.sim.gitea_people import People
from orchestrator.sim.server import LoopbackServer
from orchestrator.store import approvals, canonical, decisions, sightings
from orchestrator.store import tasks as task_rows
from orchestrator.store.decisions import Basis
from orchestrator.store.schema import events, tasks
from orchestrator.web.signin.sessions import By
from orchestrator.workflow.decide import decide
from web.test_pages_board import only_ours

KEY, REPO = TASK.key, "acme/enduro-trails"
CRASHED = Item("run_crashed", (("role", "developer"), ("detail", "dead")), (), "operator", "retry")
PEOPLE = (Person(ANNA, "anna", approver=True), Person(UserId("u-guest"), "guest", admin=True))
DIRECTORY = Directory((replace(PROJECT, approvers=(ANNA,)),), PEOPLE)
SETTINGS = {
    "ORCH_PUBLIC_URL": "http://127.0.0.1",
    "ORCH_GITEA_PUBLIC_URL": "https://git.example",
    "ORCH_PLANE_PUBLIC_URL": "https://plane.example",
    "ORCH_PLANE_WORKSPACE_SLUG": "acme",
    "ORCH_GITEA_OAUTH_CLIENT_ID": "an-id",
    "ORCH_GITEA_OAUTH_CLIENT_SECRET": "a-secret",
}
ANALYSIS = replace(TASK, stage=Stage.ANALYSIS)
BRD = "# Import\n\n## Goal\n\nTracks.\n\n## Functional requirements\n\n- GPX\n\n## Acceptance criteria\n\n- Done\n"


@dataclass
class Desk:
    """The service with a real (simulated) forge behind it, and people who are signed in."""

    orchestrator: Orchestrator
    client: httpx.AsyncClient
    sim: GiteaSim
    folder: Path

    def sign_in(self, login: str) -> None:
        sessions = self.orchestrator.identity.sessions
        self.client.cookies.set("orch_session", sessions.sealed(sessions.begin(By.PERSON, login)))

    def commit(self, **files: str) -> tuple[Sha, dict[str, str]]:
        """The head, and the blobs of the documents there."""
        there = {f"tasks/{KEY}/{name}.md": text for name, text in files.items()}
        head = People(self.sim).commit(REPO, TASK.branch, there, "dev")
        listed = self.sim.repos[REPO].git.run("ls-tree", "-r", head).decode()
        blobs = {line.split("/")[-1].removesuffix(".md"): line.split()[2] for line in listed.splitlines()}
        return Sha(head), blobs

    def mirror(self) -> None:
        """As a run leaves it behind."""
        place = self.folder / "data" / "mirrors" / f"{REPO}.git"
        source = self.sim.root / f"{REPO}.git"
        subprocess.run(["git", "clone", "--quiet", "--mirror", source, place], check=True)

    async def seen(self, head: Sha, blobs: dict[str, str]) -> Facts:
        """The task waits for a word on the BRD, which was seen with this blob."""

        def work(connection: Connection) -> Facts:
            if task_rows.by_key(connection, KEY) is None:
                add_task(
                    connection,
                    KEY,
                    Stage.ANALYSIS,
                    plane_id="w1",
                    plane_project_id="p1",
                    branch=TASK.branch,
                    base_branch="develop",
                )
            known = sightings.record(connection, TaskId(1), (), [(DocumentName.BRD, blobs["BRD"])], NOW)
            blob, order = known.documents[DocumentName.BRD]
            headings = ("Goal", "Functional requirements", "Acceptance criteria")
            document = Document(DocumentName.BRD, blob, order, is_blank=False, headings=headings)
            facts = replace(GREEN, documents=(document,), remarks=())
            self._decided(connection, facts, head)
            return facts

        return await self.orchestrator.database.write(work)

    async def approved(self, facts: Facts, head: Sha) -> None:
        """Anna comments, and the gate opens."""

        def work(connection: Connection) -> None:
            ident = CommentId("6f1b7f0e-5c5a-4a36-9d1c-0a1b2c3d4e5f")
            comment = Comment(ident, ANNA, False, (":approved:",), "d", "", NOW)
            known = sightings.record(connection, TaskId(1), (comment,), (), NOW)
            order = known.comments[comment.id].order
            said = replace(remark(order), comment=comment.id)
            self._decided(connection, replace(facts, remarks=(said,)), head)

        await self.orchestrator.database.write(work)

    def _decided(self, connection: Connection, facts: Facts, head: Sha) -> None:
        task = task_rows.get(connection, TaskId(1))
        basis = Basis(DIRECTORY.projects[0], task, facts)
        made = decisions.made(basis, decide(basis.project, task, facts))
        decisions.record(connection, [made], NOW)
        decisions.observe(connection, task.id, canonical.encode(facts), NOW)
        approvals.record(connection, basis, made.decision, NOW)
        task_rows.apply(connection, (made,), NOW)
        connection.execute(tasks.update().values(head_sha=head))


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    with GiteaSim(folder / "forge") as sim, LoopbackServer(sim.app) as server:
        sim.create_repo("acme", "enduro-trails", {"README.md": "x\n"})
        for login in ("orchestrator", "dev"):
            sim.add_user(login)
            sim.grant(REPO, login, WRITE)
        token = sim.add_token("orchestrator")
        forge = {"ORCH_GITEA_URL": server.url, "ORCH_GITEA_TOKEN": token}
        async with served(folder, DIRECTORY, **SETTINGS, **forge) as (orchestrator, client):
            found = Desk(orchestrator, client, sim, folder)
            found.sign_in("guest")
            yield found


# --- gates, evidence, what happened


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            ("Gates", "requirements", "checks", "open", "is green", "all gates are open", "merge pull request 7"),
        ),
        ("ru", ("Шлюзы", "бизнес-требования", "проверки CI", "открыт", "зелёная", "слейте пул-реквест 7")),
    ],
)
async def test_each_gate_says_what_holds_with_evidence_and_who_goes_on(
    tmp_path: Path, language: str, words: tuple[str, ...]
) -> None:
    async with desk(tmp_path) as here:

        def fill(connection: Connection) -> None:
            add_task(
                connection,
                KEY,
                Stage.READY,
                plane_id="w1",
                plane_project_id="p1",
                branch=TASK.branch,
                base_branch="develop",
                switches=canonical.encode(ASKED),
            )
            here._decided(connection, GREEN, HEAD)

        await here.orchestrator.database.write(fill)
        found = await page(here.client, f"/tasks/{KEY}", language)
        for one in words:
            assert one in found.text, one
        for link in (
            "https://git.example/acme/enduro-trails",
            f"https://git.example/acme/enduro-trails/src/branch/{TASK.branch}",
            f"https://git.example/acme/enduro-trails/commit/{HEAD}",
            "https://git.example/acme/enduro-trails/pulls/7",
            f"https://plane.example/acme/browse/{KEY}/",
        ):
            assert link in found.links(), link
        assert len(found.all("li", class_="gate-open")) == 7


async def test_the_first_gate_rests_on_the_work_item_and_on_no_comment(tmp_path: Path) -> None:
    item = replace(ITEM, id=WorkItemId(str(uuid.uuid4())))
    async with desk(tmp_path) as here:

        def fill(connection: Connection) -> None:
            add_task(connection, KEY, Stage.CREATED, plane_id="w1", plane_project_id="p1")
            here._decided(connection, replace(GREEN, item=item, since=item.created_at), HEAD)

        await here.orchestrator.database.write(fill)
        found = await page(here.client, f"/tasks/{KEY}")
        assert "the work item is new · work item in Plane" in found.text


async def test_what_is_missing_is_told_with_who_and_what_and_the_story_in_words(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        head, blobs = here.commit(BRD=BRD)
        await here.seen(head, blobs)
        found = await page(here.client, f"/tasks/{KEY}")
        assert f"tasks/{KEY}/BRD.md waits for approval, 0 of 1" in found.text
        assert "approver read tasks/" in found.text
        assert "A document was seen in a new version" in found.text
        assert len(found.all("li", class_="gate-closed")) == 1
        assert "/journal/1" in found.links()


async def test_runs_are_a_table_with_outcome_turns_tokens_cost_and_sandbox(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):

        def fill(connection: Connection) -> None:
            task = add_task(connection, "E-1")
            add_run(
                connection, task, "analyst", Stage.ANALYSIS, outcome="turn_cap", reason="cap", turns=50,
                input_tokens=1_234_567, output_tokens=4321, cost_usd=1.5, sandbox="landlock",
            )  # fmt: skip

        await orchestrator.database.write(fill)
        found = await page(client, "/tasks/E-1")
        for one in ("analyst 1", "out of turns", "50", "1.2M", "4\u202f321", "$1.50", "landlock"):
            assert " ".join(one.split()) in found.text, one
        assert "/runs/1" in found.links()


async def test_the_story_is_bounded_and_deliveries_in_a_row_are_one_entry(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):

        def fill(connection: Connection) -> None:
            add_task(connection, "E-1")
            for number in range(200):
                connection.execute(
                    events.insert().values(
                        timestamp=NOW,
                        source="gitea",
                        event_type="push",
                        payload="{}",
                        body_sha256=str(number),
                        task_id=1,
                    )
                )

        await orchestrator.database.write(fill)
        found = await page(client, "/tasks/E-1")
        assert "60 deliveries and sightings" in found.text
        assert found.text.count("Commits were pushed") == 60


# --- documents


async def test_documents_are_rendered_as_they_are_at_the_head(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        head, blobs = here.commit(BRD=f"{BRD}\n<script>alert(1)</script>\n\n![x](http://evil.example/p.png)\n")
        await here.seen(head, blobs)
        found = await page(here.client, f"/tasks/{KEY}")
        assert "Functional requirements" in found.text
        assert "<script>alert(1)</script>" in found.text, "HTML in it stays text"
        assert "not approved" in found.text
        only_ours_and_links(found)


async def test_what_changed_since_an_approval_is_shown_line_by_line(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        head, blobs = here.commit(BRD=BRD)
        facts = await here.seen(head, blobs)
        await here.approved(facts, head)
        same = await page(here.client, f"/tasks/{KEY}")
        assert "approved as it is" in same.text
        assert "Approved by anna" in same.text
        assert not same.all("pre", class_="diff")
        newer, _ = here.commit(BRD=BRD.replace("Tracks.", "Tracks and routes."))
        here.mirror()
        await here.orchestrator.database.write(
            lambda connection: connection.execute(tasks.update().values(head_sha=newer))
        )
        changed = await page(here.client, f"/tasks/{KEY}")
        assert "changed since it was approved" in changed.text
        assert "-Tracks. +Tracks and routes." in changed.text
        assert len(changed.all("span", class_="add")) == 1


async def test_an_approved_text_that_is_nowhere_any_more_is_said(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        head, blobs = here.commit(BRD=BRD)
        await here.approved(await here.seen(head, blobs), head)
        newer, _ = here.commit(BRD=f"{BRD}\nMore.\n")
        await here.orchestrator.database.write(
            lambda connection: connection.execute(tasks.update().values(head_sha=newer))
        )
        found = await page(here.client, f"/tasks/{KEY}")
        assert f"Could not be read: {blobs['BRD'][:10]} is not there." in found.text
        russian = await page(here.client, f"/tasks/{KEY}", "ru")
        assert f"Не удалось прочитать: {blobs['BRD'][:10]} там нет." in russian.text
        assert "More." in found.text


async def test_a_forge_that_is_down_spoils_no_page(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        head, blobs = here.commit(BRD=BRD)
        await here.seen(head, blobs)
        here.sim.down = True
        found = await page(here.client, f"/tasks/{KEY}")
        assert "Could not be read:" in found.text
        assert "waits for approval" in found.text


# --- orders


async def test_an_approver_approves_what_the_page_shows(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        head, blobs = here.commit(BRD=BRD)
        await here.seen(head, blobs)
        here.sign_in("Anna")
        found = await page(here.client, f"/tasks/{KEY}")
        answer = await submit(here.client, found, f"/actions/tasks/{KEY}/approve")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/tasks/{KEY}")
        assert await _remarks(here) == ['[":approved:"]']


async def test_an_approver_rejects_with_a_reason(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        head, blobs = here.commit(BRD=BRD)
        await here.seen(head, blobs)
        here.sign_in("anna")
        found = await page(here.client, f"/tasks/{KEY}")
        action = f"/actions/tasks/{KEY}/reject"
        empty = await submit(here.client, found, action, why="  ")
        assert (empty.status_code, "Say why" in empty.text) == (422, True)
        assert (await submit(here.client, found, action, why="No limits.\nSay some.")).status_code == 303
        assert await _remarks(here) == ['[":rejected: No limits.","Say some."]']


async def test_documents_that_changed_meanwhile_are_not_approved_by_an_old_page(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        head, blobs = here.commit(BRD=BRD)
        await here.seen(head, blobs)
        here.sign_in("anna")
        old = await page(here.client, f"/tasks/{KEY}")
        await here.seen(*here.commit(BRD=f"{BRD}\nAnd a back door.\n"))
        answer = await submit(here.client, old, f"/actions/tasks/{KEY}/approve")
        assert answer.status_code == 409
        assert "have changed since you opened them" in answer.text
        assert f"/tasks/{KEY}" in Page(answer.text).links()
        assert await _remarks(here) == []


async def test_what_we_have_not_seen_yet_is_not_approved_though_the_page_shows_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        head, blobs = here.commit(BRD=BRD)
        await here.seen(head, blobs)
        newer, _ = here.commit(BRD=f"{BRD}\nNewer.\n")
        await here.orchestrator.database.write(
            lambda connection: connection.execute(tasks.update().values(head_sha=newer))
        )
        here.sign_in("anna")
        found = await page(here.client, f"/tasks/{KEY}")
        assert "Newer." in found.text
        assert (await submit(here.client, found, f"/actions/tasks/{KEY}/approve")).status_code == 409
        assert await _remarks(here) == []


@pytest.mark.parametrize(
    ("login", "says"),
    [("guest", "guest is not on the list of approvers"), ("", "this machine is nobody")],
)
async def test_who_may_not_approve_sees_why_and_gets_no_form(tmp_path: Path, login: str, says: str) -> None:
    async with desk(tmp_path) as here:
        head, blobs = here.commit(BRD=BRD)
        await here.seen(head, blobs)
        found = await page(here.client, f"/tasks/{KEY}") if login else await _as_token(here)
        assert says in found.text
        assert not [one for one in found.forms() if "approve" in one or "reject" in one]


async def _as_token(here: Desk) -> Page:
    from orchestrator.store import tokens  # noqa: PLC0415 - of this test alone
    from orchestrator.web.signin.tokens import digest  # noqa: PLC0415

    await here.orchestrator.database.write(
        lambda connection: tokens.create(connection, "ops", "operate", digest("orch_ops"), NOW)
    )
    here.client.cookies.clear()
    headers = {"authorization": "Bearer orch_ops", "accept": "text/html"}
    return Page((await here.client.get(f"/tasks/{KEY}", headers=headers)).text)


async def _remarks(here: Desk) -> list[str]:
    def work(connection: Connection) -> list[str]:
        rows = connection.execute(select(events.c.payload).where(events.c.event_type == "remark"))
        return [row.payload.split('"lines":')[1].split(',"task"')[0] for row in rows]

    return await here.orchestrator.database.read(work)


async def test_a_task_is_paused_resumed_and_cancelled_by_buttons(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        await orchestrator.database.write(lambda connection: add_task(connection, "E-1"))

        async def switches() -> tuple[bool, bool]:
            found = await orchestrator.database.read(lambda connection: task_rows.by_key(connection, "E-1"))
            assert found is not None
            return found.switches.is_paused, found.switches.is_cancelled

        for order, expected in (
            ("pause", (True, False)),
            ("cancel", (True, True)),
        ):
            answer = await submit(client, await page(client, "/tasks/E-1"), f"/actions/tasks/E-1/{order}")
            assert (answer.status_code, answer.headers["location"]) == (303, "/tasks/E-1")
            assert await switches() == expected


@pytest.mark.parametrize(("language", "says"), [("en", "there is nothing to retry"), ("ru", "повторять нечего")])
async def test_what_cannot_be_done_is_said_in_words_and_leads_back(
    tmp_path: Path, language: str, says: str
) -> None:
    async with served(tmp_path) as (orchestrator, client):
        await orchestrator.database.write(lambda connection: add_task(connection, "E-1"))
        client.cookies.set("orch_language", language)
        answer = await submit(client, await page(client, "/tasks/E-1"), "/actions/tasks/E-1/retry")
        found = Page(answer.text)
        assert (answer.status_code, says in found.text) == (409, True)
        assert "/tasks/E-1" in found.links()


async def test_a_task_that_is_not_there_is_a_page_with_a_way_out(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        found = await page(client, "/tasks/NO-1", status=404)
        assert "There is no task NO-1." in found.text
        assert "/" in found.links()
        plain = await client.get("/tasks/NO-1")
        assert plain.headers["content-type"] == "application/problem+json"


# --- hostile texts


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_what_comes_from_outside_stays_text(tmp_path: Path, hostile: str) -> None:
    async with served(tmp_path) as (orchestrator, client):

        def fill(connection: Connection) -> None:
            said = Item(hostile, (("detail", hostile),), (hostile,), hostile, hostile)
            task = add_task(
                connection,
                "E-1",
                title=hostile,
                waiting=(said, CRASHED),
                branch=hostile[:100],
                head_sha=hostile[:60],
            )
            add_run(
                connection, task, hostile[:20], Stage.ANALYSIS, outcome=hostile[:20], reason=hostile[:60],
                sandbox=hostile[:40], model=hostile[:100],
            )  # fmt: skip
            connection.execute(
                events.insert().values(
                    timestamp=NOW, source=hostile[:20], event_type=hostile[:80], action=hostile[:80], payload="{}",
                    body_sha256="x", task_id=task,
                )
            )  # fmt: skip

        await orchestrator.database.write(fill)
        for language in ("en", "ru"):
            answer = await client.get("/tasks/E-1", headers={"accept": "text/html", "accept-language": language})
            assert answer.status_code == 200, answer.text
            assert not RAW & set(answer.text)
            only_ours(Page(answer.text))


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_a_document_is_text_whatever_it_says(tmp_path: Path, hostile: str) -> None:
    async with desk(tmp_path) as here:
        html = "<a href='javascript:alert(1)'>x</a>"
        text = f"{BRD}\n{hostile}\n\n[a link]({hostile})\n\n{html}\n\n```\n{hostile}\n```\n"
        head, blobs = here.commit(BRD=text.replace("\x00", ""))
        await here.seen(head, blobs)
        answer = await here.client.get(f"/tasks/{KEY}", headers={"accept": "text/html"})
        assert not RAW & set(answer.text)
        only_ours_and_links(Page(answer.text))


def only_ours_and_links(found: Page) -> None:
    """Documents may link to other places; nothing else leads out, and nothing is loaded from there."""
    for tag, attrs in found.elements:
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
        assert (
            attrs.get("href", "/").split(":")[0] in {"http", "https", "mailto"}
            or attrs.get("href", "/")[0] in "/#"
        )
        assert attrs.get("src", "/").startswith("/")
    assert len(found.all("script")) == 4
    assert not found.all("img")


# --- live


async def test_a_change_of_the_task_is_told_and_one_of_another_is_not(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        await orchestrator.database.write(lambda connection: add_task(connection, "E-1"))
        found = await page(client, "/tasks/E-1")
        part, live = (found.all("div", id=name)[0] for name in ("task", "live"))
        mark = live["sse-connect"].partition("seen=")[2]
        async with client.stream("GET", live["sse-connect"]) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            heard = asyncio.create_task(_until_event(lines))
            await orchestrator.database.write(lambda connection: add_task(connection, "E-2"))
            await _a_look(orchestrator)
            await orchestrator.database.write(_add_analyst)
            assert mark not in await asyncio.wait_for(heard, 20), "of the other task nothing was told"
        again = await client.get(part["hx-get"])
        assert "analyst 1" in again.text
        assert "<html" not in again.text
        assert "sse-connect" not in again.text, "as on the board"


async def _a_look(orchestrator: Orchestrator) -> None:
    """Until whoever follows has looked at what is stored now."""
    number = await orchestrator.changes.wait(0)
    await orchestrator.database.write(lambda connection: add_task(connection, "E-3"))
    await asyncio.wait_for(orchestrator.changes.wait(number), 20)


def _add_analyst(connection: Connection) -> None:
    add_run(connection, TaskId(1), "analyst", Stage.ANALYSIS)


async def _until_event(lines: AsyncIterator[str]) -> str:
    async for line in lines:
        if line.startswith("data:"):
            return line
    raise AssertionError("the stream ended")
