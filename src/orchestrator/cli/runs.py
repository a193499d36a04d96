"""`orch runs`: attempts of agents, the newest first."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from orchestrator.cli import screen
from orchestrator.cli.answers import answers
from orchestrator.cli.paging import older, rows
from orchestrator.cli.screen import age, age_of, count, safe, say, time
from orchestrator.cli.wishes import Wishes
from orchestrator.clock import SystemClock

Json = Mapping[str, Any]
STATES = {"intended": "waits", "running": "at work"}
STYLES = {"intended": "dim", "running": "cyan", "succeeded": "green", "cancelled": "dim"}
"""Every other outcome is a fault."""


def run(wishes: Wishes, wanted: Mapping[str, object], limit: int) -> int:
    with answers(wishes) as asked:
        body = rows(asked, "/api/v1/runs", wanted, limit)
    if not screen.is_for_people(wishes):
        screen.print_json(body)
        return 0
    if body["items"]:
        console = screen.console(wishes)
        console.print(runs_table(body["items"], SystemClock().now(), console.width))
    say(older(body) if body["items"] else "There is no such run; `orch status` says what is waited for.")
    return 0


_COLUMNS = (">run", "=task", "agent", "", ">turns", ">tokens", ">cost", ">took", ">started", "why")
_SPARE = ("turns", "tokens", "took")


def runs_table(
    runs: Iterable[Json], now: datetime, width: int = screen.ROOMY, *, is_of_task: bool = False
) -> Table:
    """Their own numbers, and how each ended. `is_of_task`: all are of the same, which is named elsewhere."""
    spare = [*(_SPARE if width < screen.ROOMY else ()), *(["task"] if is_of_task else [])]
    return screen.table(_COLUMNS, (_row(one, now) for one in runs), spare)


def _row(run: Json, now: datetime) -> tuple[str | Text, ...]:
    return (
        str(run["id"]),
        safe(run["task"], "bold", 60),
        safe(f"{run['role']} {run['attempt']}"),
        outcome(run),
        str(run["turns"]),
        count(run["input_tokens"] + run["output_tokens"]),
        screen.cost(run),
        _took(run, now),
        age_of(run["started_at"], now),
        safe(_why(run), "dim", 200),
    )


def outcome(run: Json) -> Text:
    """How it ended, or that it has not."""
    return safe(
        run["outcome"] or STATES.get(run["state"], run["state"]),
        STYLES.get(run["outcome"] or run["state"], "red"),
        40,
    )


def _why(run: Json) -> str:
    return ": ".join(part for part in (run["waits_for"] or run["reason"], run["detail"]) if part)


def _took(run: Json, now: datetime) -> str:
    began, ended = time(run["started_at"]), time(run["finished_at"])
    return age(((ended or now) - began).total_seconds()) if began else ""
