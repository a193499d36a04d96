"""The stream of events and changes: what comes, where it goes on, and that it ends."""

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import warm
from orchestrator.sim.webhook import TRUSTS_NOBODY, load_recorded, post_recorded
from orchestrator.sim.world import Service
from orchestrator.store.lists import Position
from orchestrator.web.api.stream import MOST_REPLAYED, _is_behind, _position
from orchestrator.web.live import MOST
from support import FIXTURES, until
from web.house import house

RECORDED = FIXTURES / "plane" / "issue__created__rest.json"
STREAM = "/api/v1/events/stream"


class Frames:
    """Reads server-sent events off a response, one at a time."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> dict[str, str]:
        """The next one that is no comment."""
        found: dict[str, str] = {}
        for line in self._lines:
            name, colon, value = line.partition(": ")
            if not line and found:
                return found
            if colon and name:
                found[name] = value
        raise EOFError

    def until(self, word: str) -> dict[str, str]:
        while (frame := self.next()).get("event") != word:
            pass
        return frame


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Service]:
    """A service without neighbours."""
    environ = {
        "ORCH_PORT": "0",
        "ORCH_DATA_DIR": str(tmp_path / "data"),
        "ORCH_CONFIG": str(tmp_path / "orchestrator.yaml"),
        "ORCH_PLANE_WEBHOOK_SECRET": load_recorded(RECORDED).secret,
        "ORCH_GITEA_WEBHOOK_SECRET": "x",
    }
    with Service(tmp_path, environ, starter=warm.started) as one:
        yield one


@contextlib.contextmanager
def following(service: Service, last: str | None = None) -> Iterator[Frames]:
    headers = {"Last-Event-ID": last} if last is not None else {}
    client = httpx.Client(base_url=service.url, verify=TRUSTS_NOBODY, timeout=30)
    with client, client.stream("GET", STREAM, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["cache-control"] == "no-store"
        yield Frames(response)


def deliver(service: Service) -> None:
    assert post_recorded(f"{service.url}/webhook/plane", RECORDED).status_code == 200


def test_a_delivery_and_what_it_changes_come_as_they_happen(alone: Service) -> None:
    with following(alone) as frames:
        assert frames.next()["event"] == "position"
        deliver(alone)
        event = frames.until("event")
        assert json.loads(event["data"])["source"] == "plane"
        waiting = frames.until("task")
        while "project_mapping" not in json.loads(waiting["data"])["waits_for"]:
            waiting = frames.until("task")


def test_who_comes_back_with_the_last_id_misses_nothing_and_gets_nothing_twice(alone: Service) -> None:
    with following(alone) as frames:
        first = frames.next()["id"]
    deliver(alone)
    with following(alone, first) as frames:
        assert frames.next() == {"event": "position", "data": "{}", "id": first, "retry": "3000"}
        event = frames.next()
        assert event["event"] == "event"
        change = frames.until("task")
        while "project_mapping" not in json.loads(change["data"])["waits_for"]:
            change = frames.until("task")
    with following(alone, event["id"]) as frames:
        assert frames.next()["event"] == "position"
        assert frames.next()["event"] == "task"  # the event itself was read; the task changed after it
    with following(alone, change["id"]) as frames:
        assert frames.next()["id"] == change["id"]


@pytest.mark.parametrize("last", ["", "x", "1", "1.", "1.2.3", "-1.2", "99999.99999", "9" * 40 + ".1"])
def test_an_id_that_leads_nowhere_is_answered_with_a_reset(alone: Service, last: str) -> None:
    with following(alone, last) as frames:
        assert frames.next()["event"] == "reset"


def test_a_stop_of_the_service_ends_the_stream_at_once(alone: Service) -> None:
    with following(alone) as frames:
        frames.next()
        process = alone.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        with pytest.raises(EOFError):
            frames.next()
        until(lambda: process.poll() is not None, "it stopped")
    assert "exceeded" not in alone.log.read_text(encoding="utf-8")  # uvicorn had to cancel nothing


async def test_who_finds_no_place_is_told_to_come_back(tmp_path: Path) -> None:
    async with house(tmp_path) as (orchestrator, client):
        with contextlib.ExitStack() as places:
            for _ in range(MOST):
                places.enter_context(orchestrator.changes.place())
            answer = await client.get(STREAM)
        assert (answer.status_code, answer.json()["title"]) == (503, "live_full")
        assert answer.headers["retry-after"] == "5"


def test_a_position_is_read_as_it_was_written() -> None:
    assert _position("41.17") == Position(41, 17)


@pytest.mark.parametrize(
    ("event", "revision", "wanted"),
    [
        (5, 5, False),
        (5 + MOST_REPLAYED, 5, False),
        (6 + MOST_REPLAYED, 5, True),
        (5, 6 + MOST_REPLAYED, True),
        (4, 5, True),
        (5, 4, True),
    ],
)
def test_too_far_behind_is_reset_and_so_is_ahead(event: int, revision: int, *, wanted: bool) -> None:
    assert _is_behind(Position(5, 5), Position(event, revision)) is wanted
