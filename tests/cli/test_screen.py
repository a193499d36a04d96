"""What reaches a terminal: readable, bounded, and never an order to it."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from orchestrator.agents.transcript import Transcript
from orchestrator.cli import events, explain, runs, screen, status, task
from orchestrator.cli.reading import as_json, lines_of
from terminal_orders import HOSTILE, ruling

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TEXT = "a text"


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_is_one_bounded_line_that_rules_nothing(text: str) -> None:
    shown = screen.plain(text)
    assert ruling(shown) == []
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert len(shown) <= screen.MAX_CHARS + 1


def test_what_was_forged_leaves_a_mark() -> None:
    assert screen.plain("a\x1b[31mb") == "a�[31mb"
    assert screen.plain("a\u202eb") == "a�b"
    assert screen.plain("Имя\u00a0🚵  é") == "Имя 🚵  é"


def test_the_cost_of_a_run_at_work_is_told_as_an_estimate() -> None:
    assert screen.cost({"state": "ended", "cost_usd": 1.5}) == "$1.50"
    assert screen.cost({"state": "ended", "cost_usd": 0.0}) == "$0.00"
    assert screen.cost({"state": "running", "cost_usd": 1.5}) == "~$1.50"
    assert screen.cost({"state": "running", "cost_usd": 0.0}) == ""
    ended, begun = {"state": "ended", "cost_usd": 1.0}, {"state": "running", "cost_usd": 0.5}
    assert (screen.cost_in_all([ended, ended]), screen.cost_in_all([ended, begun])) == ("$2.00", "~$1.50")


def test_ages_times_and_numbers_are_short() -> None:
    assert [screen.age(one) for one in (-5, 0, 59, 60, 7300, 90000)] == [
        "0 s",
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "1 d",
    ]
    assert screen.age_of((NOW - timedelta(hours=3)).isoformat(), NOW) == "3 h"
    assert screen.age_of("2026-11-22T11:59:00Z", NOW) == "1 min"
    assert [screen.age_of(one, NOW) for one in (None, "", "no time", "2026-11-22T11:59:00")] == [""] * 4
    assert [screen.count(one) for one in (0, 999, 1000, 12_345, 3_400_000)] == ["0", "999", "1.0k", "12k", "3.4M"]
    assert [screen.money(one) for one in (0, 0.0272, 1.5, 20)] == ["$0.00", "$0.0272", "$1.50", "$20.00"]


RUN: dict[str, Any] = {
    "id": 3, "task": TEXT, "role": TEXT, "stage": TEXT, "attempt": 1, "state": "ended", "outcome": TEXT,
    "reason": TEXT, "detail": TEXT, "turns": 4, "input_tokens": 11000, "output_tokens": 524, "cost_usd": 0.02724,
    "waits_for": TEXT, "started_at": "2026-11-22T11:58:00Z", "finished_at": "2026-11-22T11:59:00Z",
}  # fmt: skip
ITEM: dict[str, Any] = {"code": TEXT, "who": TEXT, "text": TEXT, "params": {}, "evidence": [TEXT]}
TASK: dict[str, Any] = {
    "id": 1, "key": TEXT, "title": TEXT, "stage": TEXT, "repo": TEXT, "branch": TEXT, "item_link": TEXT,
    "updated_at": "2026-11-22T11:00:00Z", "waiting": [ITEM, {**ITEM, "who": ""}],
    "runs": [RUN], "returns": [TEXT, "ci_red"],
    "gates": [{"gate": TEXT, "state": TEXT, "held": [ITEM], "missing": [ITEM]}],
}  # fmt: skip
STATUS: dict[str, Any] = {
    "active_tasks": [TASK, {**TASK, "key": "", "runs": [], "waiting": [{**ITEM, "who": "agent"}]}],
    "problems": [{"code": TEXT, "level": TEXT, "message": TEXT, "mend": TEXT}],
}
EVENT: dict[str, Any] = {
    "id": 7, "received_at": "2026-11-22T11:00:00Z", "source": TEXT, "event_type": TEXT, "action": TEXT,
    "task": TEXT, "ignored": TEXT, "is_processed": True, "repeats": 2, "flag": TEXT,
}  # fmt: skip
SECTION: dict[str, Any] = {**ITEM, "action": TEXT, "age_s": 7300.0, "is_older": True}
CAP = {"used": 1, "limit": 3, "left": 2}
MONEY = {"spent_usd": 1.0, "limit_usd": 2.0, "left_usd": 1.0}
EXPLAINED: dict[str, Any] = {
    "key": TEXT, "title": TEXT, "item_link": TEXT, "stage": TEXT, "repo": TEXT, "branch": TEXT,
    "unblock": [SECTION],
    "gates": [{"gate": TEXT, "state": TEXT, "held": [SECTION], "missing": [SECTION]}],
    "approvals": [{"gate": TEXT, "comment": TEXT, "person": TEXT, "digest": TEXT, "approved_at": TEXT}],
    "limits": {
        "returns": {TEXT: CAP}, "returns_in_all": CAP, "attempts": CAP, "answers": CAP,
        "runs_without_progress": CAP, "money": MONEY, "money_without_progress": MONEY,
    },
    "switches": {"is_paused": True, "is_cancelled": False, "budget_usd": 7},
    "decision": {"id": 3, "decided_at": TEXT, "config_digest": TEXT},
}  # fmt: skip


PICTURES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "status": (STATUS, lambda body: status.picture(body, NOW, body["problems"][0]["message"])),
    "task": (TASK, lambda body: task.picture(body, NOW)),
    "runs": ([RUN, {**RUN, "outcome": None}], lambda body: runs.runs_table(body, NOW)),
    "events": ([EVENT, {**EVENT, "task": None, "ignored": None, "is_processed": False}], events.events_table),
}


def poisoned(body: Any, text: str) -> Any:
    """Every text of a body is this one, times and all."""
    match body:
        case str():
            return text
        case dict():
            return {name: poisoned(value, text) for name, value in body.items()}
        case list():
            return [poisoned(value, text) for value in body]
        case _:
            return body


def drawn(shown: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=160, force_terminal=True, highlight=False, markup=False, emoji=False).print(shown)
    return out.getvalue()


@pytest.mark.parametrize("name", PICTURES)
def test_whatever_stands_in_a_field_a_terminal_gets_text(name: str) -> None:
    body, picture = PICTURES[name]
    assert drawn(picture(body)).count(TEXT) >= 6
    for text in HOSTILE:
        assert ruling(drawn(picture(poisoned(body, text)))) == [], repr(text)


def test_on_a_narrow_terminal_less_is_shown_and_nothing_is_broken() -> None:
    wide, narrow = (status.picture(STATUS, NOW, width=width) for width in (110, 80))
    assert "12k" in drawn(wide)
    assert "12k" not in drawn(narrow)
    assert "ENDURO-1" in drawn(runs.runs_table([{**RUN, "task": "ENDURO-1"}], NOW, 80))
    assert "ENDURO-1" not in drawn(runs.runs_table([{**RUN, "task": "ENDURO-1"}], NOW, is_of_task=True))


def test_whatever_an_explanation_holds_a_terminal_gets_text() -> None:
    for text in HOSTILE:
        out = io.StringIO()
        console = Console(file=out, width=160, force_terminal=True, highlight=False, markup=False)
        explain.show(poisoned(EXPLAINED, text), console)
        assert ruling(out.getvalue()) == [], repr(text)


def log_of(text: str) -> bytes:
    """A log with the text wherever an agent, its tools and the API can put one."""
    told = [{"type": "text", "text": text}, {"type": "thinking", "thinking": text}]
    call = {"type": "tool_use", "id": "t1", "name": text, "input": {"command": text, text: text}}
    bare = {"type": "tool_use", "id": "t2", "name": text, "input": {text: text}}
    back = {"type": "tool_result", "tool_use_id": "t1", "content": text, "is_error": True}
    records: list[dict[str, Any]] = [
        {"type": "system", "subtype": "init", "model": text, "claude_code_version": text, "tools": [text]},
        {"type": "assistant", "message": {"content": [*told, call, bare, {"type": text, "x": text}]}},
        {"type": "user", "message": {"content": [back, {"type": "text", "text": text}]}},
        {"type": "system", "subtype": "permission_denied", "tool_name": text, "message": text},
        {"type": "system", "subtype": "api_retry", "error": text, "attempt": 1},
        {"type": "rate_limit_event", "rate_limit_info": {"status": text, "rateLimitType": text, "resetsAt": 1}},
        {"type": "assistant", "is_api_error_message": True, "error": text, "message": {"content": text}},
        {"type": text, "subtype": text, "more": text},
        {"type": "result", "is_error": True, "subtype": text, "terminal_reason": text, "result": text},
    ]
    return b"".join(json.dumps(one).encode() + b"\n" for one in records) + text.encode(errors="replace") + b"\n"


@pytest.mark.parametrize("is_whole", [False, True])
def test_whatever_stands_in_a_log_a_terminal_gets_text(is_whole: bool) -> None:
    kinds = set()
    for text in HOSTILE:
        for entry in Transcript().feed(log_of(text)):
            kinds.add(entry.kind)
            for _, line in lines_of(entry, is_whole=is_whole):
                assert ruling(line) == [], repr(text)
                assert "\n" not in line
                assert "\x1b" not in line
            assert as_json(entry).isascii()
            assert as_json(entry).isprintable()
    assert len(kinds) == 13


def test_json_is_ascii_without_controls(capsys: pytest.CaptureFixture[str]) -> None:
    screen.print_json(poisoned(STATUS, "".join(HOSTILE)))
    said = capsys.readouterr().out
    assert said.isascii()
    assert said.rstrip("\n").isprintable()


def test_what_is_said_on_standard_error_rules_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    screen.say(*HOSTILE)
    assert ruling(capsys.readouterr().err) == []
