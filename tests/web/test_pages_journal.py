"""The journal over real HTTP: what is found, what a delivery says, and that looking again adds nothing."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, func, insert, select

from desk import HOSTILE, NOW, Page, add_task, harmless, served
from orchestrator.domain.model import Stage
from orchestrator.main import Orchestrator
from orchestrator.store.journal import REUSED_ID
from orchestrator.store.payload import packed
from orchestrator.store.schema import events

ROWS = 50
"""Of one page."""


def event(number: int, **more: Any) -> dict[str, Any]:
    row = {
        "id": number,
        "timestamp": NOW + timedelta(minutes=number),
        "source": "gitea",
        "event_type": "push",
        "action": "",
        "payload": '{"ref": "refs/heads/main"}',
        "processed": 1,
        "delivery_id": f"d-{number}",
        "body_sha256": f"{number:064}",
        "headers": json.dumps([["x-gitea-event", "push"]]),
    }
    return row | more


async def store(orchestrator: Orchestrator, *rows: dict[str, Any]) -> None:
    def commit(connection: Connection) -> None:
        add_task(connection, "ENDURO-1", Stage.ANALYSIS)
        for row in rows:
            connection.execute(insert(events).values(row))

    await orchestrator.database.write(commit)


def numbers(page: Page) -> list[int]:
    found = [link.rpartition("/")[2] for link in page.links() if link.startswith("/journal/")]
    return [int(one) for one in found]


async def ask(client: httpx.AsyncClient, **query: str) -> Page:
    answer = await client.get("/journal", params=query)
    assert answer.status_code == 200
    return harmless(answer.text)


async def test_the_newest_come_first_and_older_ones_by_a_link(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        await store(orchestrator, *(event(number) for number in range(1, 2 * ROWS + 6)))
        page, seen = await ask(client), list[int]()
        while True:
            seen += numbers(page)
            following = [one["href"] for one in page.all("a", rel="next")]
            if not following:
                break
            page = Page((await client.get(following[0])).text)
    assert seen == list(range(2 * ROWS + 5, 0, -1))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"source": "plane"}, [2]),
        ({"source": "nobody"}, [5, 4, 3, 2, 1]),
        ({"type": "issue"}, [2]),
        ({"type": " issue "}, [2]),
        ({"task": "ENDURO-1"}, [3]),
        ({"task": "ENDURO-77"}, []),
        ({"since": "2026-11-26T18:04"}, [5, 4]),
        ({"until": "2026-11-26T18:03"}, [2, 1]),
        ({"since": "2026-11-26T18:02", "until": "2026-11-26T18:04"}, [3, 2]),
        ({"only": "ignored"}, [4]),
        ({"only": "counted"}, [5, 3, 2, 1]),
        ({"only": "flagged"}, [5]),
        ({"only": "all of them"}, [5, 4, 3, 2, 1]),
    ],
)
async def test_it_is_searched_by_a_form(tmp_path: Path, query: dict[str, str], found: list[int]) -> None:
    async with served(tmp_path) as (orchestrator, client):
        await store(
            orchestrator,
            event(1),
            event(2, source="plane", event_type="issue"),
            event(3, task_id=1),
            event(4, ignored="tags are not followed"),
            event(5, flag=REUSED_ID),
        )
        page = await ask(client, **query)
    assert numbers(page) == found
    for name in query:
        assert page.all("input", name=name) or page.all("select", name=name)


async def test_a_row_says_what_became_of_the_delivery(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        rows = (event(1, task_id=1, processed=0), event(2, ignored="our own doing"), event(3, repeats=3))
        await store(orchestrator, *rows, event(4, flag=REUSED_ID))
        english = await ask(client)
        russian = Page((await client.get("/journal", headers={"Accept-Language": "ru"})).text)
    for words in ("to be looked at", "Ignored: our own doing", "came again: 3", "id used twice", "ENDURO-1"):
        assert words in english.text
    for words in ("ждёт рассмотрения", "Пропущена: our own doing", "повторов: 3", "id уже был"):
        assert words in russian.text


@pytest.mark.parametrize("time", ["yesterday", "2026-13-45T99:99", HOSTILE, "x" * 5000])
async def test_a_time_that_is_none_is_said_and_left_out(tmp_path: Path, time: str) -> None:
    async with served(tmp_path) as (orchestrator, client):
        await store(orchestrator, event(1))
        page = await ask(client, since=time)
    assert numbers(page) == [1]
    assert "What could not be read was left out" in page.text


async def test_a_cursor_that_is_none_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        assert (await client.get("/journal", params={"cursor": "nonsense"})).status_code == 422


async def test_a_delivery_shows_its_headers_its_body_and_what_it_led_to(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        body = '{"b":{"c":"Привет"},"a":[1,2]}'
        await store(orchestrator, event(1, payload=body, repeats=2, last_repeat_at=NOW), event(2, task_id=1))
        page = harmless((await client.get("/journal/1")).text)
        with_task = Page((await client.get("/journal/2")).text)
        raw = await client.get("/journal/1/body.json")
        assert (await client.get("/journal/3")).status_code == 404
    assert '{ "b": { "c": "Привет" }, "a": [ 1, 2 ] }' in page.text
    assert "x-gitea-event push" in page.text
    assert "It belongs to no task" in page.text
    assert page.forms() == []
    assert with_task.forms() == ["/actions/events/2/replay"]
    assert raw.text == body
    assert raw.headers["content-disposition"] == 'attachment; filename="delivery-1.json"'
    assert raw.headers["x-content-type-options"] == "nosniff"


async def test_a_long_body_is_cut_and_the_rest_can_be_had(tmp_path: Path) -> None:
    body = json.dumps({"long": "x" * 300_000}).encode()
    async with served(tmp_path) as (orchestrator, client):
        await store(orchestrator, event(1, payload=packed(body)))
        answer = await client.get("/journal/1")
        assert len(answer.content) < 100_000
        assert "more characters" in Page(answer.text).text
        assert (await client.get("/journal/1/body.json")).content == body


@pytest.mark.parametrize("body", ["no json", "[" * 5000, '"\\ud800"', "1" * 6000, "{" + HOSTILE])
async def test_a_body_of_any_kind_can_be_shown(tmp_path: Path, body: str) -> None:
    async with served(tmp_path) as (orchestrator, client):
        await store(orchestrator, event(1, payload=body))
        answer = await client.get("/journal/1")
    assert answer.status_code == 200
    harmless(answer.text)


async def test_hostile_text_in_any_field_stays_text(tmp_path: Path) -> None:
    fields = dict.fromkeys(("source", "event_type", "action", "delivery_id", "ignored", "flag"), HOSTILE)
    bodies = json.dumps({HOSTILE: [HOSTILE]})
    async with served(tmp_path) as (orchestrator, client):
        headers = json.dumps([[HOSTILE, HOSTILE]])
        await store(orchestrator, event(1, **fields, event_id=HOSTILE, payload=bodies, headers=headers))
        assert (await ask(client)).text.count("alert(1)") >= 4
        assert harmless((await client.get("/journal/1")).text).text.count("alert(1)") >= 8
        await ask(client, source=HOSTILE[:50], type=HOSTILE[:50], task=HOSTILE[:50], only=HOSTILE[:50])


async def test_looking_again_wakes_the_task_and_adds_no_event(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        await store(orchestrator, event(1, task_id=1), event(2))
        [csrf] = Page((await client.get("/journal/1")).text).all("input", name="csrf")
        again = await client.post("/actions/events/1/replay", data={"csrf": csrf["value"]})
        assert (again.status_code, again.headers["location"]) == (303, "/journal/1?replayed=1")
        assert "being looked at again" in Page((await client.get(again.headers["location"])).text).text
        assert (await client.post("/actions/events/2/replay", data={"csrf": csrf["value"]})).status_code == 409
        count = select(func.count()).select_from(events)
        assert await orchestrator.database.read(lambda connection: connection.execute(count).scalar()) == 2
