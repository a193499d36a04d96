"""`orch events`: what Plane and Gitea told us, the newest first."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from orchestrator.cli import screen
from orchestrator.cli.answers import answers
from orchestrator.cli.paging import older, rows
from orchestrator.cli.screen import clock, safe, say
from orchestrator.cli.wishes import Wishes

_NONE = "No such event is stored. `orch events` shows all; `orch doctor` says whether deliveries can come."
Json = Mapping[str, Any]


def run(wishes: Wishes, wanted: Mapping[str, object], limit: int) -> int:
    with answers(wishes) as asked:
        body = rows(asked, "/api/v1/events", wanted, limit)
    if not screen.is_for_people(wishes):
        screen.print_json(body)
        return 0
    if body["items"]:
        screen.console(wishes).print(events_table(body["items"]))
    say(older(body) if body["items"] else _NONE)
    return 0


def events_table(events: Iterable[Json]) -> Table:
    return screen.table((">event", "=received", "from", "what", "=task", "became"), map(_row, events))


def _row(event: Json) -> tuple[str | Text, ...]:
    return (
        str(event["id"]),
        clock(event["received_at"]),
        safe(event["source"], "", 20),
        safe(f"{event['event_type']} {event['action']}".strip(), "", 60),
        safe(event["task"] or "", "bold", 60),
        _became(event),
    )


def _became(event: Json) -> Text:
    said = (
        f"ignored: {event['ignored']}" if event["ignored"] else "looked at" if event["is_processed"] else "waits"
    )
    style = "dim" if event["ignored"] else "green" if event["is_processed"] else "yellow"
    more = [f"came {event['repeats'] + 1} times"] if event["repeats"] else []
    more += [event["flag"]] if event["flag"] else []
    return safe("; ".join([said, *more]), style, 120)
