"""The page of a run over real HTTP: what it says, how it grows, and that nothing in a log becomes markup."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, update

import counted
from desk import HOSTILE, NOW, Page, add_run, add_task, harmless, served
from orchestrator.agents.transcript import Transcript
from orchestrator.domain.model import RunId, Stage
from orchestrator.main import Orchestrator
from orchestrator.store.schema import agent_runs
from orchestrator.web import logs
from support import FIXTURES

RECORDINGS = sorted((FIXTURES / "claude").glob("*.jsonl"))
PLACE = re.compile(r'data-place="(\d+)"')
RUSSIAN = {"Accept-Language": "ru"}


def message(number: int, text: str = "") -> bytes:
    content = [{"type": "text", "text": text or f"message number {number}"}]
    return json.dumps({"type": "assistant", "message": {"content": content}}).encode() + b"\n"


def row_of(path: Path | None, **more: Any) -> dict[str, Any]:
    begun = {
        "started_at": NOW,
        "output_path": str(path) if path else None,
        "turns": 12,
        "model": "claude-opus-5-5",
    }
    return begun | more


async def a_run(orchestrator: Orchestrator, path: Path | None, title: str = "A title", **more: Any) -> RunId:
    def commit(connection: Connection) -> RunId:
        task = add_task(connection, "ENDURO-1", Stage.DEVELOPMENT, title=title)
        return add_run(connection, task, "developer", Stage.DEVELOPMENT, **row_of(path, **more))

    return await orchestrator.database.write(commit)


def at_work() -> dict[str, Any]:
    return {"state": "running", "outcome": None}


async def end(orchestrator: Orchestrator, run: RunId) -> None:
    ended = update(agent_runs).where(agent_runs.c.id == run).values(state="ended", outcome="succeeded")
    await orchestrator.database.write(lambda connection: connection.execute(ended))


async def events(client: httpx.AsyncClient, address: str, last: str = "") -> AsyncGenerator[dict[str, str]]:
    """As a browser reads them."""
    headers = [(b"Last-Event-ID", last.encode("latin-1"))] if last else []
    async with client.stream("GET", address, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if not line and event:
                yield event
                event = {}
            elif name == "data":
                event["data"] = f"{event['data']}\n{value}" if "data" in event else value
            elif name:
                event[name] = value


# --- the page


@pytest.mark.parametrize(("cost_usd", "shown"), [(0.5, "≈ $0.50"), (0.0, "–")])
async def test_the_cost_of_a_run_at_work_is_shown_as_an_estimate(
    tmp_path: Path, cost_usd: float, shown: str
) -> None:
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, None, **at_work(), cost_usd=cost_usd)
        for address in (f"/runs/{run}", "/tasks/ENDURO-1"):
            assert shown in Page((await client.get(address)).text).text
        assert ("≈ $0.50" in Page((await client.get("/")).text).text) is bool(cost_usd)
        assert ("Spent ≈ $0.50" in Page((await client.get("/tasks/ENDURO-1")).text).text) is bool(cost_usd)
        await end(orchestrator, run)
        for address in (f"/runs/{run}", "/tasks/ENDURO-1"):
            said = Page((await client.get(address)).text).text
            assert "≈" not in said
            assert ("$0.50" if cost_usd else "$0.00") in said


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, ["Developer, attempt 1", "succeeded", "Denied: Write", "Ended well", "Turns 12"]),
        (RUSSIAN, ["Разработчик, попытка 1", "успешно", "Отказано: Write", "Закончил успешно", "Ходы 12"]),
    ],
)
async def test_a_run_shows_what_the_agent_did_in_both_languages(
    tmp_path: Path, headers: dict[str, str], words: list[str]
) -> None:
    log = FIXTURES / "claude" / "success__permissions_denied.jsonl"
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, log)
        page = Page((await client.get(f"/runs/{run}", headers=headers)).text)
    for one in words:
        assert one in page.text
    assert "I will write the BRD." in page.text
    assert len(page.all("li", class_="entry")) == 10
    assert "data-live" not in page.all("ol", id="log")[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"outcome": "timed_out", "reason": "timed_out"}, "longer than a run may"),
        ({"outcome": "crashed", "reason": "signal_9", "detail": "Killed"}, "signal 9"),
        ({"outcome": "failed", "reason": "a_new_reason"}, "a_new_reason"),
        ({"state": "intended", "outcome": None}, "waits until it may start"),
    ],
)
async def test_a_run_says_in_words_why_it_ended(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, None, **changes)
        page = Page((await client.get(f"/runs/{run}")).text)
    assert said in page.text
    assert changes.get("detail", "") in page.text


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
async def test_every_recording_can_be_shown(tmp_path: Path, recording: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, recording)
        answer = await client.get(f"/runs/{run}")
    assert answer.status_code == 200
    page = harmless(answer.text)
    shown = [int(one["data-place"]) for one in page.all("li", class_="entry")]
    data = await asyncio.to_thread(recording.read_bytes)
    assert shown == [entry.place.offset for entry in Transcript().feed(data)]


def spoiled(value: Any, kept: frozenset[str]) -> Any:
    match value:
        case str():
            return value if value in kept else value + HOSTILE
        case dict():
            return {key if key in kept else key + HOSTILE: spoiled(inner, kept) for key, inner in value.items()}
        case list():
            return [spoiled(inner, kept) for inner in value]
        case _:
            return value


async def test_hostile_text_in_any_field_of_a_log_or_a_row_stays_text(tmp_path: Path) -> None:
    records = [json.loads(line) for path in RECORDINGS for line in path.read_bytes().splitlines()]
    records.append({"type": "assistant", "message": {"content": [{"type": "thinking", "thinking": "hm"}]}})
    shape = {"content", "text", "tool_use", "tool_result", "input", "name", "id", "thinking", "rate_limit_info"}
    kept = frozenset(shape | {key for one in records for key in one} | {one.get("subtype") for one in records})
    kept |= {one["type"] for one in records} | {"modelUsage", "tool_use_id"}
    path = tmp_path / "log"
    path.write_bytes(b"".join(json.dumps(spoiled(one, kept)).encode() + b"\n" for one in records) + b"\x1b[31m<b>")
    texts = ("reason", "detail", "model", "cli_version", "sandbox", "prompt_digest", "head_sha", "report")
    fields = dict.fromkeys(texts, HOSTILE) | {"outcome": HOSTILE, "denials": json.dumps([HOSTILE])}
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, path, HOSTILE, **fields, verdict=HOSTILE[:20])
        for headers in ({}, RUSSIAN):
            page = harmless((await client.get(f"/runs/{run}", headers=headers)).text)
            assert page.text.count("alert(1)") > 100
        parts = [
            event["data"] async for event in events(client, f"/live/runs/{run}") if event["event"] == "records"
        ]
    assert len(parts) >= 5
    for part in parts:
        harmless(part)


async def test_every_address_of_a_run_lies_below_the_prefix(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(message(number) for number in range(logs.RECORDS + 5)))
    async with served(tmp_path, ORCH_PUBLIC_URL="http://127.0.0.1/orchestrator") as (orchestrator, client):
        run = await a_run(orchestrator, path, **at_work())
        page = Page((await client.get(f"/orchestrator/runs/{run}")).text)
        [log] = page.all("ol", id="log")
        assert log["data-live"] == f"/orchestrator/live/runs/{run}"
        [earlier] = [one for one in page.all("a") if "hx-get" in one]
        assert (await client.get(earlier["hx-get"])).status_code == 200
        addresses = [
            one.get("href") or one.get("src") or "" for tag in ("a", "link", "script") for one in page.all(tag)
        ]
        assert not [one for one in addresses if not one.startswith(("/orchestrator/", "#"))]
        assert all(form.startswith("/orchestrator/") for form in page.forms())


async def test_what_is_not_there_is_404(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, None)
        for address in ("/runs/77", "/live/runs/77", "/runs/77/log.jsonl", f"/runs/{run}/log.jsonl"):
            assert (await client.get(address)).status_code == 404


# --- long logs


async def test_a_page_of_20000_records_is_small_and_the_rest_comes_by_links(tmp_path: Path) -> None:
    path, count = tmp_path / "log", 20_000
    path.write_bytes(b"".join(message(number) for number in range(count)))
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, path)
        answer = await client.get(f"/runs/{run}")
        page = Page(answer.text)
        assert len(answer.content) < 400_000
        assert len(page.all("li", class_="entry")) == logs.RECORDS
        assert f"message number {count - 1}" in page.text
        first = Page((await client.get(f"/runs/{run}?after=0")).text)
        assert "message number 0" in first.text
        [following] = [one["href"] for one in first.all("a", rel="next")]
        assert f"message number {logs.RECORDS}" in Page((await client.get(following)).text).text
        [earlier] = [one["hx-get"] for one in page.all("a") if "hx-get" in one]
        part = Page((await client.get(earlier)).text)
        assert f"message number {count - logs.RECORDS - 1}" in part.text
        assert len(part.all("li", class_="entry")) == logs.RECORDS


async def test_the_raw_log_is_sent_as_it_is_to_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"<script>\x00\xff\n" * 100_000)
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, path)
        answer = await client.get(f"/runs/{run}/log.jsonl")
    assert answer.content == path.read_bytes()
    assert answer.headers["content-disposition"] == f'attachment; filename="run-{run}.jsonl"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


# --- live


async def test_a_growing_log_is_followed_without_a_gap_or_a_double_however_often_the_connection_breaks(
    tmp_path: Path,
) -> None:
    path, count = tmp_path / "log", 400
    data = b"".join(message(number, f"{number} " + "x" * (number * 37 % 900)) for number in range(count))
    expected = [entry.place.offset for entry in Transcript().feed(data)]
    path.write_bytes(data[:5000])

    async def grow(orchestrator: Orchestrator, run: RunId) -> None:
        """In pieces that end anywhere in a line; then the run is over."""
        with path.open("ab", buffering=0) as file:
            for start in range(5000, len(data), 3001):
                file.write(data[start : start + 3001])
                await asyncio.sleep(0.005)
        await end(orchestrator, run)

    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, path, **at_work())
        page = Page((await client.get(f"/runs/{run}")).text)
        seen = [int(one["data-place"]) for one in page.all("li", class_="entry")]
        [log] = page.all("ol", id="log")
        growing = asyncio.create_task(grow(orchestrator, run))
        last, connections, is_over = "", 0, False
        async with asyncio.timeout(60):
            while not is_over:
                connections += 1
                taken = 0
                following = events(client, f"{log['data-live']}?after={log['data-end']}", last)
                async with contextlib.aclosing(following):
                    async for event in following:
                        if event["event"] == "over":
                            is_over = True
                        if event["event"] == "records":
                            seen += map(int, PLACE.findall(event["data"]))
                            last, taken = event["id"], taken + 1
                        if taken == 1 + connections % 2:
                            break  # the connection is lost
        await growing
    assert seen == expected
    assert connections > 4  # at most two events each, of at most 50 records
    counted.said(f"{count} records over {connections} connections")


async def test_the_end_of_a_run_is_told_with_its_half_line_and_its_figures(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(message(1) + b'{"type":"assis')
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, path, **at_work())
        told: list[dict[str, str]] = []
        async with asyncio.timeout(30):
            async for event in events(client, f"/live/runs/{run}"):
                told.append(event)
                if len(told) == 1:
                    await end(orchestrator, run)
        page = Page((await client.get(f"/runs/{run}")).text)
    assert [one["event"] for one in told] == ["records", "summary", "records", "summary", "over"]
    assert "succeeded" in told[1]["data"]
    assert "of-unreadable" in told[2]["data"]
    assert len(page.all("li", class_="of-unreadable")) == 1


@pytest.mark.parametrize("last", ["x", "-1", "9" * 40, "1.5", "²"])
async def test_an_event_id_that_is_none_is_passed_over(tmp_path: Path, last: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(message(1) + message(2))
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, path)
        found = [event async for event in events(client, f"/live/runs/{run}", last)]
    assert [one["event"] for one in found] == ["records", "summary", "over"]
    assert len(PLACE.findall(found[0]["data"])) == 2


async def test_a_long_log_comes_in_events_of_some_records_each(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(message(number) for number in range(500)))
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, path)
        sizes = [len(PLACE.findall(event.get("data", ""))) async for event in events(client, f"/live/runs/{run}")]
    assert sum(sizes) == 500
    assert max(sizes) == 50


async def test_following_ends_with_the_service(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(message(1))
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, path, **at_work())
        async with asyncio.timeout(20):
            async for event in events(client, f"/live/runs/{run}"):
                if event["event"] == "records":
                    orchestrator.changes.close()
        assert orchestrator.changes.followers == 0


# --- stopping


async def test_a_run_at_work_has_a_button_that_stops_it_and_one_that_ended_has_none(tmp_path: Path) -> None:
    async with served(tmp_path) as (orchestrator, client):
        run = await a_run(orchestrator, None, **at_work())
        page = Page((await client.get(f"/runs/{run}")).text)
        assert page.forms() == [f"/actions/runs/{run}/cancel"]
        [csrf] = page.all("input", name="csrf")
        stopped = await client.post(page.forms()[0], data={"csrf": csrf["value"]})
        assert (stopped.status_code, stopped.headers["location"]) == (303, f"/runs/{run}")
        await end(orchestrator, run)
        assert Page((await client.get(f"/runs/{run}")).text).forms() == []
        assert (await client.post(f"/actions/runs/{run}/cancel", data={"csrf": csrf["value"]})).status_code == 303
        assert (await client.post("/actions/runs/77/cancel", data={"csrf": csrf["value"]})).status_code == 404
