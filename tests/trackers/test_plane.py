"""The Plane adapter against the simulator that passes the contract tests."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import ProjectId, WorkItemId
from orchestrator.sim.plane import PlaneSim
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.world import ITEM, PROJECT
from orchestrator.trackers.html import to_text
from orchestrator.trackers.plane import Plane
from support import FIXTURES

NOBODY = WorkItemId("00000000-0000-4000-8000-000000000000")


@pytest.fixture
def sim() -> Iterator[PlaneSim]:
    with PlaneSim.from_recording(FIXTURES / "plane", rate_per_minute=1000) as one:
        yield one


@pytest.fixture
async def plane(sim: PlaneSim) -> AsyncIterator[Plane]:
    with LoopbackServer(sim.app) as server:
        adapter = Plane(server.url, sim.key_of("orchestrator"), "acme", timeout_s=5)
        yield adapter
        await adapter.aclose()


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


async def test_only_planes_own_words_mean_that_an_item_is_gone(plane: Plane) -> None:
    assert await plane.work_item(ProjectId(PROJECT), NOBODY) is None
    with pytest.raises(Permanent, match="404"):
        await plane.work_item(ProjectId(PROJECT), WorkItemId("not-a-uuid"))


async def test_changes_are_listed_newest_first_down_to_the_watermark(plane: Plane, sim: PlaneSim) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    for number in range(3):
        sim.create_work_item(PROJECT, {"name": f"n{number}"}, by="alice")
    found = await plane.changed_items(ProjectId(PROJECT), before)
    assert [item.title for item in found] == ["n2", "n1", "n0"]
    assert len(await plane.changed_items(ProjectId(PROJECT), None)) > 3


async def test_a_list_of_several_pages_is_read_whole(plane: Plane, sim: PlaneSim) -> None:
    for number in range(130):
        sim.create_work_item(PROJECT, {"name": f"n{number}"}, by="alice")
    found = await plane.changed_items(ProjectId(PROJECT), None)
    assert len({item.id for item in found}) == len(found) >= 130


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
        plane = Plane(server.url, sim.key_of("orchestrator"), "acme")
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


@pytest.mark.parametrize(
    ("body", "kind"), [(b"<html>", Transient), (b"[]", Transient), (b"x" * (17 * 2**20), Permanent)]
)
async def test_garbage_and_endless_answers_are_faults_of_the_right_kind(
    body: bytes, kind: type[Exception]
) -> None:
    async def answer(_request: Request) -> Response:
        return Response(body)

    with LoopbackServer(Starlette(routes=[Route("/{rest:path}", answer)])) as server:
        plane = Plane(server.url, "x", "acme")
        with pytest.raises(kind):
            await plane.whoami()
        await plane.aclose()


async def test_redirects_are_not_followed(sim: PlaneSim) -> None:
    async def elsewhere(_request: Request) -> Response:
        return Response(status_code=302, headers={"Location": "http://127.0.0.1:9/"})

    with LoopbackServer(Starlette(routes=[Route("/{rest:path}", elsewhere)])) as server:
        plane = Plane(server.url, "x", "acme")
        with pytest.raises(Permanent, match="302"):
            await plane.whoami()
        await plane.aclose()


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a &amp; <b>b</b></p><p>c</p>", "a & b\nc"),
        ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
        ("a<script>evil()</script>b<style>x{}</style>", "ab"),
        ("", ""),
        ("<<<>>>", "<<<>>>"),
    ],
)
def test_html_becomes_plain_text(html: str, text: str) -> None:
    assert to_text(html) == text
