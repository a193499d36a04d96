"""The Plane adapter against the simulator that passes the contract tests."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from crossing import GARBAGE, Garbler
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import ProjectId, UserId, WorkItemId
from orchestrator.domain.tracker import CommentId, StateId, Written
from orchestrator.pace import Timing, in_background
from orchestrator.ports import Tracker
from orchestrator.sim.plane import PlaneSim
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.world import ITEM, PROJECT
from orchestrator.trackers.hearing import LONG_CHARS, MOST_KEPT, Hearing
from orchestrator.trackers.html import spoken
from orchestrator.trackers.plane import (
    LIST_PAGE,
    MAX_COMMENTS,
    MAX_LIST_PAGES,
    MAX_PAGES,
    PAGE,
    REQUESTS,
    Plane,
)
from support import FIXTURES

NOBODY = WorkItemId("00000000-0000-4000-8000-000000000000")
HERE, THIS = ProjectId(PROJECT), WorkItemId(ITEM)
ANALYSIS = StateId("bc04780c-0e85-4eec-83be-62b19aad4e2a")
OURS = "orchestrator"


@dataclass
class Time:
    """Moves when somebody sleeps: what takes minutes takes no time here."""

    at: float = 0.0
    under_way: int = 0

    def __post_init__(self) -> None:
        self.timing = Timing(lambda: self.at, self.sleep)

    async def sleep(self, seconds: float) -> None:
        """Not while a call is under way: it would arrive at another time than it was sent."""
        await asyncio.sleep(0)
        while self.under_way:  # noqa: ASYNC110 - nobody could set an event: the answers come from a real server
            await asyncio.sleep(0)
        self.at += seconds

    async def watch(self, plane: Plane) -> None:
        async def count(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            self.under_way += 1
            try:
                return await handler(request)
            finally:
                self.under_way -= 1

        (await plane._rest.wire.session())._middlewares = (count,)


@pytest.fixture
def sim() -> Iterator[PlaneSim]:
    with PlaneSim.from_recording(FIXTURES / "plane", rate_per_minute=1000) as one:
        yield one


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def plane(sim: PlaneSim, time: Time) -> AsyncIterator[Plane]:
    with LoopbackServer(sim.app) as server:
        adapter = Plane(server.url, sim.key_of(OURS), "acme", timeout_s=5, timing=time.timing)
        yield adapter
        await adapter.aclose()


Stub = Callable[[Callable[[Request], Response]], Plane]


@pytest.fixture
async def stub(time: Time) -> AsyncIterator[Stub]:
    """An adapter whose Plane answers what the test says."""
    async with AsyncExitStack() as ends:

        def made(answer: Callable[[Request], Response]) -> Plane:
            async def endpoint(request: Request) -> Response:
                return answer(request)

            routes = [Route("/{rest:path}", endpoint, methods=["GET", "POST", "PATCH", "PUT", "DELETE"])]
            url = ends.enter_context(LoopbackServer(Starlette(routes=routes))).url
            adapter = Plane(url, "x", "acme", timing=time.timing)
            ends.push_async_callback(adapter.aclose)
            return adapter

        yield made


def seen(sim: PlaneSim) -> list[tuple[str, str]]:
    """What the simulator was asked since the last time."""
    calls = [(call.method, call.path.removeprefix("/api/v1/")) for call in sim.calls]
    sim.calls.clear()
    return calls


async def test_it_knows_who_we_are(plane: Plane, sim: PlaneSim) -> None:
    assert await plane.whoami() == sim.user("orchestrator").id


async def test_an_item_is_read_with_key_plain_text_and_names(plane: Plane) -> None:
    item = await plane.work_item(ProjectId(PROJECT), WorkItemId(ITEM))
    assert item is not None
    assert (item.key, item.project, item.is_draft, item.is_archived) == ("ENDURO-1", PROJECT, False, False)
    assert item.title.startswith("Маршрут: импорт GPX")
    assert "импортировать GPX & показать карту" in item.description
    assert "<" not in item.description
    assert item.state
    assert item.created_at.tzinfo is not None


async def test_changes_are_listed_newest_first_down_to_the_watermark(plane: Plane, sim: PlaneSim) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    for number in range(3):
        sim.create_work_item(PROJECT, {"name": f"n{number}"}, by="alice")
    found = (await plane.changed_items(ProjectId(PROJECT), before)).items
    assert [item.title for item in found] == ["n2", "n1", "n0"]
    assert len((await plane.changed_items(ProjectId(PROJECT), None)).items) > 3


async def test_a_list_of_several_pages_is_read_whole(plane: Plane, sim: PlaneSim) -> None:
    for number in range(130):
        sim.create_work_item(PROJECT, {"name": f"n{number}"}, by="alice")
    found = await plane.changed_items(ProjectId(PROJECT), None)
    assert len({item.id for item in found.items}) == len(found.items) >= 130
    assert found.next_page is None


async def test_a_list_of_changes_that_is_too_long_goes_on_at_its_next_page(sim: PlaneSim, time: Time) -> None:
    for number in range(3 * PAGE):
        sim.create_work_item(PROJECT, {"name": f"n{number}"}, by="alice")
    with LoopbackServer(sim.app) as server:
        short = Plane(server.url, sim.key_of(OURS), "acme", timeout_s=5, changed_pages=2, timing=time.timing)
        whole = Plane(server.url, sim.key_of(OURS), "acme", timeout_s=5, timing=time.timing)
        first = await short.changed_items(HERE, None)
        then = await short.changed_items(HERE, None, 2)
        behind = await short.changed_items(HERE, None, 9)
        every = await whole.changed_items(HERE, None)
        await short.aclose()
        await whole.aclose()
    assert (len(first.items), first.next_page) == (2 * PAGE, 2)
    assert first.items + then.items == every.items
    assert (behind.items, behind.next_page) == ((), None)


async def test_all_that_is_there_is_listed_a_thousand_a_call(plane: Plane, sim: PlaneSim) -> None:
    gone, hidden, *_ = [sim.create_work_item(PROJECT, {"name": f"n{number}"}, by="alice") for number in range(5)]
    items = next(home.projects[PROJECT].items for home in sim.workspaces.values())
    sim.delete_work_item(gone["id"])
    sim.archive(hidden["id"])
    before = len(sim.calls)
    there = set(items) - {hidden["id"]}
    assert await plane.listed_items(HERE) == there
    assert len(sim.calls) - before == 1
    many = {str(uuid4()) for _ in range(LIST_PAGE)}
    items |= {ident: items[ITEM] | {"id": ident} for ident in many}
    assert await plane.listed_items(HERE) == there | many
    assert len(sim.calls) - before == 3


async def test_of_more_than_we_read_nothing_is_said(stub: Stub) -> None:
    count = 0

    def answer(_request: Request) -> Response:
        nonlocal count
        count += 1
        rows = [{"id": f"{count}-{number}"} for number in range(LIST_PAGE)]
        return JSONResponse({"results": rows, "next_page_results": True, "next_cursor": f"{count}"})

    assert await stub(answer).listed_items(HERE) is None
    assert count == MAX_LIST_PAGES + 1


@pytest.mark.parametrize(("rows", "is_said"), [(MAX_PAGES * PAGE, False), (MAX_PAGES * PAGE + 1, True)])
async def test_a_list_of_columns_that_is_cut_is_said(stub: Stub, rows: int, is_said: bool) -> None:
    def answer(request: Request) -> Response:
        page = int(request.query_params.get("cursor", "0"))
        numbers = range(page * PAGE, min(rows, (page + 1) * PAGE))
        found = [{"id": f"{number}", "name": "n", "group": "started"} for number in numbers]
        more = {"next_page_results": (page + 1) * PAGE < rows, "next_cursor": f"{page + 1}"}
        return JSONResponse({"results": found} | more)

    with capture_logs() as said:
        assert len(await stub(answer).states(HERE)) == MAX_PAGES * PAGE
    cut = [one for one in said if one["event"] == "list_cut"]
    assert [one["project"] for one in cut] == ([HERE] if is_said else [])


async def test_a_wrong_token_is_permanent_and_says_what_to_check(sim: PlaneSim) -> None:
    with LoopbackServer(sim.app) as server:
        stranger = Plane(server.url, "plane_api_wrong", "acme")
        with pytest.raises(Permanent) as refusal:
            await stranger.whoami()
        await stranger.aclose()
    assert refusal.value.code == "plane_refused"
    assert "ORCH_PLANE_API_TOKEN" in refusal.value.hint


async def test_too_many_calls_are_put_off_as_long_as_plane_asks() -> None:
    with PlaneSim.from_recording(FIXTURES / "plane", rate_per_minute=1) as sim, LoopbackServer(sim.app) as server:
        plane = Plane(server.url, sim.key_of("orchestrator"), "acme", timing=Time().timing)
        await plane.whoami()
        with pytest.raises(Transient) as refusal:
            await plane.whoami()
        await plane.aclose()
    assert refusal.value.retry_after_s is not None
    assert 0 < refusal.value.retry_after_s <= 60


async def test_a_down_and_an_unreachable_plane_are_transient(plane: Plane, sim: PlaneSim) -> None:
    sim.down = True
    with pytest.raises(Transient, match="503"):
        await plane.whoami()
    nobody = Plane("http://127.0.0.1:9", "x", "acme", timeout_s=1)
    with pytest.raises(Transient, match="reached"):
        await nobody.whoami()
    await nobody.aclose()


async def test_redirects_are_not_followed(sim: PlaneSim) -> None:
    async def elsewhere(_request: Request) -> Response:
        return Response(status_code=302, headers={"Location": "http://127.0.0.1:9/"})

    with LoopbackServer(Starlette(routes=[Route("/{rest:path}", elsewhere)])) as server:
        plane = Plane(server.url, "x", "acme")
        with pytest.raises(Permanent, match="302"):
            await plane.whoami()
        await plane.aclose()


# -- gone, and not gone


async def test_an_item_is_gone_after_two_answers_of_planes_own_while_its_project_is_there(
    plane: Plane, sim: PlaneSim
) -> None:
    assert await plane.work_item(HERE, NOBODY) is None
    item = f"workspaces/acme/projects/{PROJECT}/work-items/{NOBODY}/"
    project = f"workspaces/acme/projects/{PROJECT}/"
    assert seen(sim) == [("GET", item), ("GET", project), ("GET", item)]
    sim.archive(ITEM)
    assert await plane.work_item(HERE, THIS) is None


async def test_another_404_is_no_proof_that_an_item_is_gone(plane: Plane) -> None:
    with pytest.raises(Permanent, match="404") as error:
        await plane.work_item(HERE, WorkItemId("not-a-uuid"))
    assert error.value.code == "plane_not_found"
    with pytest.raises(Permanent):
        await plane.comments(HERE, WorkItemId("not-a-uuid"))


GONE = JSONResponse({"error": "The requested resource does not exist."}, 404)
PLACE = JSONResponse({"id": PROJECT, "identifier": "ENDURO"})


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([GONE, PLACE, GONE], None),
        ([GONE, PLACE, Response(status_code=503)], Transient),
        ([GONE, PLACE, Response("<html>", 404)], Transient),
        ([GONE, PLACE, JSONResponse({"error": "Page not found."}, 404)], Permanent),
        ([GONE, PLACE, Response("<html>")], Transient),
        ([GONE, GONE, GONE], Permanent),
        ([GONE, JSONResponse({"detail": "no"}, 403), GONE], Permanent),
        ([GONE, JSONResponse({"error": "maintenance"}), GONE], Transient),
        ([GONE, JSONResponse({"id": NOBODY, "identifier": "X"}), GONE], Transient),
        ([GONE, Response(status_code=502), GONE], Transient),
        ([GONE, Response("<html>", 404), GONE], Transient),
        ([Response("<html>", 404), PLACE, GONE], Transient),
        ([JSONResponse({"error": "The requested resource does not exist."}, 200), PLACE, GONE], Transient),
    ],
)
async def test_only_the_full_proof_makes_an_item_gone(
    stub: Stub, answers: list[Response], outcome: type[Exception] | None
) -> None:
    left = list(answers)
    plane = stub(lambda _request: left.pop(0))
    if outcome is None:
        assert await plane.work_item(HERE, THIS) is None
    else:
        with pytest.raises(outcome):
            await plane.work_item(HERE, THIS)


async def test_an_item_that_comes_back_in_between_is_not_gone(stub: Stub) -> None:
    row = {"id": ITEM, "name": "late", "sequence_id": 7, "project": PROJECT}
    row |= {"created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:00Z"}
    left: list[Response] = [GONE, PLACE, JSONResponse(row)]
    item = await stub(lambda _request: left.pop(0)).work_item(HERE, THIS)
    assert item is not None
    assert (item.key, item.title) == ("ENDURO-7", "late")


async def test_an_item_is_found_by_its_key(plane: Plane, sim: PlaneSim) -> None:
    item = await plane.work_item_by_key("ENDURO-1")
    assert item == await plane.work_item(HERE, THIS)
    assert await plane.work_item_by_key("ENDURO-999") is None
    seen(sim)
    assert await plane.work_item_by_key("../users/me") is None
    assert seen(sim) == []


async def test_an_id_of_another_shape_never_becomes_part_of_a_path(plane: Plane, sim: PlaneSim) -> None:
    for odd in ("../x", "a/b", "", "a?b", "%2e%2e", "a" * 200):
        with pytest.raises(Permanent, match="cannot be an id"):
            await plane.work_item(HERE, WorkItemId(odd))
    assert seen(sim) == []


# -- comments


async def test_comments_are_read_newest_first_with_what_was_said(plane: Plane, sim: PlaneSim) -> None:
    for text in ("<p>first</p>", "<blockquote>:approved:</blockquote><p>:approved:</p>"):
        sim.add_comment(ITEM, {"comment_html": text}, "alice")
    newest, first = await plane.comments(HERE, THIS)
    assert (newest.lines, first.lines) == ((":approved:",), ("first",))
    assert newest.author == sim.user("alice").id
    assert (newest.is_edited, newest.external_id) == (False, "")
    assert newest.created_at.tzinfo is not None
    assert newest.digest != first.digest
    assert len(newest.digest) == 64


async def test_a_forged_author_does_not_deceive(plane: Plane, sim: PlaneSim) -> None:
    forged = {"comment_html": "<p>:approved:</p>", "created_by": sim.user("alice").id}
    sim.add_comment(ITEM, forged, "bob")
    (comment,) = await plane.comments(HERE, THIS)
    assert comment.author == sim.user("bob").id


@pytest.mark.parametrize(
    ("who", "browser", "is_edited"),
    [("carol", False, True), ("carol", True, True), ("alice", True, True), ("alice", False, False)],
)
async def test_an_edit_shows(plane: Plane, sim: PlaneSim, who: str, browser: bool, is_edited: bool) -> None:
    """Plane does not tell when somebody edits his own comment through REST: the digest does."""
    row = sim.add_comment(ITEM, {"comment_html": "<p>no</p>"}, "alice")
    (before,) = await plane.comments(HERE, THIS)
    sim.change_comment(row["id"], {"comment_html": "<p>:approved:</p>"}, who, browser=browser)
    (after,) = await plane.comments(HERE, THIS)
    assert (before.is_edited, after.is_edited) == (False, is_edited)
    assert before.digest != after.digest
    assert after.author == sim.user("alice").id


async def test_very_many_comments_are_read_in_pages_and_not_without_end(plane: Plane, sim: PlaneSim) -> None:
    for number in range(MAX_COMMENTS):
        sim.add_comment(ITEM, {"comment_html": f"<p>{number}</p>"}, "alice")
    found = await plane.comments(HERE, THIS)
    assert len(found) == len({comment.id for comment in found}) == MAX_COMMENTS
    assert found[0].lines == (str(MAX_COMMENTS - 1),)
    sim.add_comment(ITEM, {"comment_html": "<p>one more</p>"}, "alice")
    with pytest.raises(Permanent) as refused:
        await plane.comments(HERE, THIS)
    assert refused.value.code == "plane_too_many_comments"


async def test_very_long_comments_are_too_many_when_they_fit_into_no_answer(plane: Plane, sim: PlaneSim) -> None:
    for _ in range(90):
        sim.add_comment(ITEM, {"comment_html": f"<p>{'x' * 195_000}</p>"}, "carol")
    with pytest.raises(Permanent) as refused:
        await plane.comments(HERE, THIS)
    assert (refused.value.code, "Delete" in refused.value.hint) == ("plane_too_many_comments", True)


async def test_two_hundred_comments_are_one_call(plane: Plane, sim: PlaneSim) -> None:
    for number in range(201):
        sim.add_comment(ITEM, {"comment_html": f"<p>{number}</p>"}, "alice")
    await plane.whoami()
    before = len(sim.calls)
    assert len(await plane.comments(HERE, THIS)) == 201
    assert len(sim.calls) - before == 1


async def test_a_long_comment_is_read_once(plane: Plane, sim: PlaneSim) -> None:
    for number in range(3):
        sim.add_comment(ITEM, {"comment_html": f"<p>{number}</p>" * 6_000}, "carol")
    first, again = await plane.comments(HERE, THIS), await plane.comments(HERE, THIS)
    assert again == first
    assert [one.lines is other.lines for one, other in zip(first, again, strict=True)] == [True] * 3


async def test_whoever_waits_has_a_turn_after_each_long_comment() -> None:
    """What takes long, for each of many, would keep deliveries waiting."""
    hearing, turns = Hearing(spoken), 0

    async def others() -> None:
        nonlocal turns
        while turns < 30:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(others())
    for number in range(30):
        await hearing.of("<p>x</p>" * 1_000, str(number))
    assert turns == 30
    await beside


async def test_a_long_description_is_read_once(plane: Plane, sim: PlaneSim) -> None:
    text = "<p>x</p>" * 6_000
    row = sim.create_work_item(PROJECT, {"name": "Long", "description_html": text}, "alice")
    (first, *_), (again, *_) = [(await plane.changed_items(HERE, None)).items for _ in range(2)]
    assert first.id == again.id == row["id"]
    assert first.description is again.description


async def test_what_long_comments_say_is_forgotten_again() -> None:
    hearing, long = Hearing(spoken), "x" * LONG_CHARS
    kept = [await hearing.of(long, str(number)) for number in range(MOST_KEPT + 1)]
    assert await hearing.of(long, str(MOST_KEPT)) is kept[-1]
    assert await hearing.of(long, "0") is not kept[0]


async def test_a_comment_without_an_author_is_nobodys(stub: Stub) -> None:
    row = {"id": str(NOBODY), "actor": None, "comment_html": None, "created_at": "2026-11-22T10:00:00Z"}

    def answer(request: Request) -> Response:
        is_me = request.url.path.endswith("users/me/")
        return JSONResponse({"id": "me"} if is_me else {"results": [row]})

    (comment,) = await stub(answer).comments(HERE, THIS)
    assert (comment.author, comment.lines, comment.is_edited) == ("", (), False)


async def test_comments_that_are_not_found_are_asked_for_again(stub: Stub) -> None:
    plane = stub(lambda request: JSONResponse({"id": "me"}) if request.url.path.endswith("me/") else GONE)
    with pytest.raises(Transient):
        await plane.comments(HERE, THIS)


async def test_a_404_of_a_proxy_is_waited_out_whatever_was_asked_for(stub: Stub) -> None:
    plane = stub(lambda _request: Response("404 page not found", 404))
    calls = (
        plane.whoami,
        lambda: plane.work_item(HERE, THIS),
        lambda: plane.changed_items(HERE, None),
        lambda: plane.states(HERE),
        lambda: plane.move(HERE, THIS, ANALYSIS),
        lambda: plane.comment(HERE, THIS, "k", "<p>x</p>"),
    )
    for call in calls:
        with pytest.raises(Transient) as error:
            await call()
        assert (error.value.code, error.value.retry_after_s) == ("plane_odd_answer", None)


async def test_a_comment_under_a_key_is_written_once_and_edited_in_place(plane: Plane, sim: PlaneSim) -> None:
    written = await plane.comment(HERE, THIS, "ENDURO-1/sticky", "<p>one</p>")
    first = written.id
    assert written == Written(first, is_new=True)
    assert await plane.comment(HERE, THIS, "ENDURO-1/sticky", "<p>two</p>") == Written(first, is_new=False)
    assert await plane.edit_comment(HERE, THIS, first, "<p>three</p>")
    (comment,) = await plane.comments(HERE, THIS)
    assert (comment.id, comment.external_id, comment.lines) == (first, "ENDURO-1/sticky", ("three",))
    assert comment.author == sim.user(OURS).id


async def test_a_key_counts_on_a_comment_of_ours_only(plane: Plane, sim: PlaneSim) -> None:
    copied = {"comment_html": "<p>x</p>", "external_source": OURS, "external_id": "ENDURO-1/sticky"}
    sim.add_comment(ITEM, copied, "bob")
    sim.add_comment(ITEM, copied | {"external_source": "other", "external_id": "k"}, OURS)
    assert [comment.external_id for comment in await plane.comments(HERE, THIS)] == ["", ""]


@pytest.mark.parametrize("is_elsewhere", [True, False])
async def test_a_key_that_somebody_else_took_first_is_made_longer(
    plane: Plane, sim: PlaneSim, *, is_elsewhere: bool
) -> None:
    where = sim.create_work_item(PROJECT, {"name": "Other"}, "bob")["id"] if is_elsewhere else ITEM
    taken = {"comment_html": "<p>x</p>", "external_source": "orchestrator", "external_id": "ENDURO-1/sticky"}
    theirs = sim.add_comment(where, taken, "bob")["id"]
    written = await plane.comment(HERE, THIS, "ENDURO-1/sticky", "<p>one</p>")
    assert written.is_new
    assert written.id != theirs
    assert await plane.edit_comment(HERE, THIS, written.id, "<p>two</p>")
    again = await plane.comment(HERE, THIS, "ENDURO-1/sticky", "<p>three</p>")
    assert again == Written(written.id, is_new=False), "found by what it has before the mark"
    ours = [one for one in await plane.comments(HERE, THIS) if one.external_id]
    assert [(one.external_id, one.lines) for one in ours] == [("ENDURO-1/sticky", ("two",))]


async def test_editing_a_comment_that_was_deleted_says_so(plane: Plane, sim: PlaneSim) -> None:
    ours = (await plane.comment(HERE, THIS, "k", "<p>x</p>")).id
    sim.delete_comment(ours, "alice")
    assert not await plane.edit_comment(HERE, THIS, ours, "<p>y</p>")
    assert not await plane.edit_comment(HERE, THIS, CommentId(NOBODY), "<p>y</p>")


# -- states, labels, people, links


async def test_states_labels_and_members_are_asked_for_once_in_some_minutes(
    plane: Plane, sim: PlaneSim, time: Time
) -> None:
    for _ in range(3):
        states = await plane.states(HERE)
        labels = await plane.labels(HERE)
        members = await plane.members(HERE)
    assert len(seen(sim)) == 3
    assert ("Analysis", "started") in {(state.name, state.group) for state in states}
    assert "agent:go" in labels.values()
    assert members[UserId(sim.user("carol").id)] == "carol"
    time.at += 301
    await plane.states(HERE)
    assert len(seen(sim)) == 1


async def test_many_who_want_the_same_ask_once(plane: Plane, sim: PlaneSim) -> None:
    await asyncio.gather(*(plane.states(HERE) for _ in range(20)))
    assert len(seen(sim)) == 1


async def test_an_item_moves_by_the_states_id_and_moving_twice_changes_nothing(
    plane: Plane, sim: PlaneSim
) -> None:
    for _ in range(2):
        await plane.move(HERE, THIS, ANALYSIS)
    item = await plane.work_item(HERE, THIS)
    assert item is not None
    assert item.state == "Analysis"
    with pytest.raises(Permanent, match="no state"):
        await plane.move(HERE, THIS, StateId(NOBODY))


async def test_a_move_that_plane_ignored_is_noticed(stub: Stub) -> None:
    plane = stub(lambda _request: JSONResponse({"state": NOBODY}))
    with pytest.raises(Transient, match="did not put"):
        await plane.move(HERE, THIS, ANALYSIS)


async def test_a_link_is_added_once(plane: Plane, sim: PlaneSim) -> None:
    for _ in range(2):
        await plane.link(HERE, THIS, "https://git.example/acme/x/pulls/2", "Pull request 2")
    (row,) = sim.workspaces["acme"].projects[PROJECT].links.values()
    assert (row["url"], row["title"]) == ("https://git.example/acme/x/pulls/2", "Pull request 2")
    with pytest.raises(Permanent, match="as a link"):
        await plane.link(HERE, THIS, "javascript:alert(1)", "x")


async def test_a_link_that_somebody_added_meanwhile_is_no_fault(stub: Stub) -> None:
    url, looks = "https://x.example/1", iter([[], [{"url": "https://x.example/1"}]])

    def answer(request: Request) -> Response:
        if request.method == "POST":
            return JSONResponse({"error": "URL already exists for this Issue"}, 400)
        return JSONResponse({"results": next(looks)})

    await stub(answer).link(HERE, THIS, url, "x")


@pytest.mark.parametrize(
    "write",
    [
        lambda plane: plane.comment(HERE, NOBODY, "k", "<p>x</p>"),
        lambda plane: plane.move(HERE, NOBODY, ANALYSIS),
        lambda plane: plane.link(HERE, NOBODY, "https://x.example/", "x"),
    ],
)
async def test_writing_to_an_item_that_is_gone_is_a_fault(
    plane: Plane, write: Callable[[Plane], Coroutine[Any, Any, object]]
) -> None:
    with pytest.raises((Permanent, Transient)):
        await write(plane)


async def test_names_are_found_where_the_server_does_not_expand(stub: Stub) -> None:
    label, state = str(NOBODY), str(ANALYSIS)
    row = {"id": ITEM, "name": "n", "sequence_id": 7, "project": PROJECT, "state": state, "labels": [label]}
    row |= {"created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:00Z"}
    answers: dict[str, object] = {
        "work-items": row,
        "states": {"results": [{"id": state, "name": "Analysis", "group": "started"}]},
        "labels": {"results": [{"id": label, "name": "go"}]},
        PROJECT: {"id": PROJECT, "identifier": "ENDURO"},
    }

    def answer(request: Request) -> Response:
        parts = request.url.path.strip("/").split("/")
        return JSONResponse(answers[parts[-1] if parts[-1] in answers else parts[-2]])

    item = await stub(answer).work_item_by_key("ENDURO-7")
    assert item is not None
    assert (item.key, item.state, item.labels, item.project) == ("ENDURO-7", "Analysis", ("go",), PROJECT)


# -- the closed list of requests


EVERY_CALL: list[Callable[[Plane], Coroutine[Any, Any, object]]] = [
    lambda plane: plane.whoami(),
    lambda plane: plane.work_item(HERE, THIS),
    lambda plane: plane.work_item(HERE, NOBODY),
    lambda plane: plane.work_item_by_key("ENDURO-1"),
    lambda plane: plane.changed_items(HERE, None),
    lambda plane: plane.listed_items(HERE),
    lambda plane: plane.comments(HERE, THIS),
    lambda plane: plane.states(HERE),
    lambda plane: plane.members(HERE),
    lambda plane: plane.labels(HERE),
    lambda plane: plane.comment(HERE, THIS, "k", "<p>x</p>"),
    lambda plane: plane.edit_comment(HERE, THIS, CommentId(NOBODY), "<p>x</p>"),
    lambda plane: plane.move(HERE, THIS, ANALYSIS),
    lambda plane: plane.link(HERE, THIS, "https://x.example/", "x"),
]
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
CLOSED_LIST = {
    "GET users/me/",
    "GET workspaces/acme/projects/ID/",
    "GET workspaces/acme/projects/ID/members/",
    "GET workspaces/acme/projects/ID/states/",
    "GET workspaces/acme/projects/ID/labels/",
    "GET workspaces/acme/projects/ID/work-items/",
    "GET workspaces/acme/work-items/ENDURO-1/",
    "GET workspaces/acme/projects/ID/work-items/ID/",
    "PATCH workspaces/acme/projects/ID/work-items/ID/",
    "GET workspaces/acme/projects/ID/work-items/ID/comments/",
    "POST workspaces/acme/projects/ID/work-items/ID/comments/",
    "PATCH workspaces/acme/projects/ID/work-items/ID/comments/ID/",
    "GET workspaces/acme/projects/ID/work-items/ID/links/",
    "POST workspaces/acme/projects/ID/work-items/ID/links/",
}


async def test_nothing_else_is_ever_sent(plane: Plane, sim: PlaneSim) -> None:
    methods = {name for name in vars(Tracker) if not name.startswith("_")}
    called = {name for call in EVERY_CALL for name in call.__code__.co_names}  # type: ignore[attr-defined]
    assert methods <= called, "every method of the port is driven here"
    for call in EVERY_CALL:
        await call(plane)
    assert {f"{method} {re.sub(UUID, 'ID', path)}" for method, path in seen(sim)} == CLOSED_LIST
    names = {"workspace": "acme", "key": "ENDURO-1", "project": "ID", "item": "ID", "comment": "ID"}
    assert {f"{one.method} {one.path.format(**names)}" for one in REQUESTS} == CLOSED_LIST
    assert not any(one.method == "DELETE" for one in REQUESTS)
    assert all(one.path.endswith("/") for one in REQUESTS)


async def sticky(plane: Plane) -> None:
    """A comment of ours that is there is edited."""
    written = await plane.comment(HERE, THIS, "k", "<p>x</p>")
    assert await plane.edit_comment(HERE, THIS, written.id, "<p>y</p>")


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_no_garbage_is_taken_for_an_answer_to_any_request(sim: PlaneSim, time: Time, garbage: bytes) -> None:
    """Not for "there is nothing", and not for "it is done"."""
    garbler = Garbler(sim.app, garbage)
    with LoopbackServer(garbler) as server:

        async def anew(call: Callable[[Plane], Awaitable[object]]) -> None:
            plane = Plane(server.url, sim.key_of(OURS), "acme", timing=time.timing)
            async with aclosing(plane):
                await call(plane)

        for call in (*EVERY_CALL, sticky):
            assert await garbler.faults(partial(anew, call)) == {"plane_odd_answer"}


# -- limits, refusals, outages


async def test_the_limit_of_the_key_is_never_met_and_nobody_fails(sim: PlaneSim, time: Time) -> None:
    sim.rate_per_minute = 60
    start = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    sim.now = lambda: start + timedelta(seconds=time.at)
    with LoopbackServer(sim.app) as server:
        plane = Plane(server.url, sim.key_of(OURS), "acme", timing=time.timing)
        await time.watch(plane)
        await asyncio.gather(*(plane.whoami() for _ in range(150)))
        await plane.aclose()
    assert {call.status for call in sim.calls} == {200}


async def test_after_a_429_everybody_waits_as_long_as_plane_asks(sim: PlaneSim, time: Time) -> None:
    sim.rate_per_minute = 3
    start = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    sim.now = lambda: start + timedelta(seconds=time.at)
    with LoopbackServer(sim.app) as server:
        plane = Plane(server.url, sim.key_of(OURS), "acme", timing=time.timing)
        done = await asyncio.gather(*(plane.whoami() for _ in range(4)), return_exceptions=True)
        assert [type(one) for one in done] == [str, str, str, Transient]
        before = time.at
        assert await plane.whoami() == sim.user(OURS).id
        assert 50 < time.at - before <= 60
        await plane.aclose()
    assert [call.status for call in sim.calls] == [200, 200, 200, 429, 200]


async def test_a_background_call_and_an_urgent_one_both_arrive(plane: Plane) -> None:
    with in_background():
        assert await plane.whoami()
    assert await plane.whoami()


@pytest.mark.parametrize(
    ("status", "body"), [(401, {"detail": "no key"}), (403, {"detail": "Given API token is not valid"})]
)
async def test_a_refused_key_pauses_everything_and_recovery_needs_nobody(
    stub: Stub, time: Time, status: int, body: dict[str, str]
) -> None:
    asked: list[float] = []
    is_well = False

    def answer(request: Request) -> Response:
        asked.append(time.at)
        return JSONResponse({"id": "me", "results": []}) if is_well else JSONResponse(body, status)

    plane = stub(answer)
    while time.at < 3600:
        for call in (plane.states(HERE), plane.labels(HERE), plane.comments(HERE, THIS)):
            with pytest.raises(Permanent) as refusal:
                await call
            assert (refusal.value.code, str(status) in refusal.value.message) == ("plane_refused", True)
            assert "ORCH_PLANE_API_TOKEN" in refusal.value.hint
        time.at += 10
    assert 10 <= len(asked) <= 13
    assert [error.code for error in plane.circuit.refusals] == ["plane_refused"]
    is_well = True
    time.at += 300
    assert await plane.whoami() == "me"
    assert await plane.states(HERE) == ()
    assert plane.circuit.refusals == ()


async def test_after_the_pause_one_of_many_callers_tries(stub: Stub, time: Time) -> None:
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.append(request.url.path)
        return JSONResponse({"detail": "no key"}, 401)

    plane = stub(answer)
    with pytest.raises(Permanent):
        await plane.whoami()
    time.at += 301
    refusals = await asyncio.gather(*(plane.whoami() for _ in range(6)), return_exceptions=True)
    assert {type(one) for one in refusals} == {Permanent}
    assert len(asked) == 2


async def test_a_project_that_we_may_not_see_does_not_stop_the_others(plane: Plane, sim: PlaneSim) -> None:
    foreign = ProjectId(NOBODY)
    for _ in range(5):
        with pytest.raises(Permanent) as refusal:
            await plane.changed_items(foreign, None)
        assert refusal.value.code == "plane_refused"
    assert len(seen(sim)) == 1
    assert (await plane.changed_items(HERE, None)).items


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (Response(status_code=500), Transient, "plane_busy"),
        (Response(status_code=502), Transient, "plane_busy"),
        (Response(status_code=504), Transient, "plane_busy"),
        (JSONResponse({"error_code": 5900}, 429), Transient, "plane_busy"),
        (JSONResponse({"error": "REQUEST_BODY_TOO_LARGE"}, 413), Permanent, "plane_unexpected"),
        (JSONResponse({"comment_html": ["This field is required."]}, 400), Permanent, "plane_unexpected"),
        (JSONResponse({"error": "x"}, 409), Transient, "plane_odd_answer"),
        (JSONResponse({"id": 7}, 201), Transient, "plane_odd_answer"),
        (Response("{", 201), Transient, "plane_odd_answer"),
        (Response(b"\x1f\x8bnot gzip", 201, headers={"Content-Encoding": "gzip"}), Transient, "plane_unreachable"),
        (Response(status_code=301, headers={"Location": "/x/"}), Permanent, "plane_moved"),
        (Response(status_code=423), Permanent, "plane_unexpected"),
        (Response("404 page not found", 404), Transient, "plane_odd_answer"),
        (Response("<h1>404 Not Found</h1>", 404), Transient, "plane_odd_answer"),
        (JSONResponse({"detail": "Not found."}, 404), Transient, "plane_odd_answer"),
        (JSONResponse({"error": "no backend"}, 404), Transient, "plane_odd_answer"),
        (JSONResponse({"error": "Page not found."}, 404), Permanent, "plane_not_found"),
    ],
)
async def test_each_fault_has_its_kind(stub: Stub, answer: Response, kind: type[Exception], code: str) -> None:
    plane = stub(lambda _request: answer)
    with pytest.raises(kind) as error:
        await plane.comment(HERE, THIS, "k", "<p>x</p>")
    assert getattr(error.value, "code", "") == code


async def test_what_plane_says_to_a_400_is_told_without_control_characters(stub: Stub) -> None:
    plane = stub(lambda _request: Response(b'{"comment_html": "\x1b[31mno' + b"x" * 1000, 400))
    with pytest.raises(Permanent) as error:
        await plane.comment(HERE, THIS, "k", "<p>x</p>")
    assert "comment_html" in error.value.message
    assert "\x1b" not in error.value.message
    assert len(error.value.message) < 500
