"""`orch explain`: the answer of the API, as tables for people."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from orchestrator.cli import screen
from orchestrator.cli.answers import answers
from orchestrator.cli.screen import safe as _safe
from orchestrator.cli.wishes import Wishes

_STYLES = {"open": "green", "closed": "yellow", "unknown": "red", "not_reached": "dim"}
_STATES = {"not_reached": "not asked yet"}


def run(wishes: Wishes, key: str, *, language: str | None) -> int:
    lang = f"?lang={quote(language, safe='')}" if language else ""
    with answers(wishes) as asked:
        body = asked.get(f"/api/v1/tasks/{quote(key, safe='')}/explain{lang}")
    if screen.is_for_people(wishes):
        show(body, screen.console(wishes))
    else:
        screen.print_json(body)
    return 0


def show(body: Any, console: Console) -> None:
    where = f"{body['repo']} {body['branch']}" if body["branch"] else "no branch yet"
    console.print(_safe(f"{body['key']} is at {body['stage']}: {body['title']}"), style="bold")
    console.print(_safe(where), style="dim")
    if body["item_link"]:
        console.print(_safe(body["item_link"]), style="dim", soft_wrap=True)
    for number, item in enumerate(body["unblock"]):
        console.print(_safe(f"{'next' if number == 0 else 'then'}: {item['text']}{_by(item)}{_since(item)}"))
    console.print(_gates(body["gates"]))
    for one in body["approvals"]:
        given = f"{one['gate']} was opened by {one['person']} at {one['approved_at']}"
        console.print(_safe(f"{given} (comment {one['comment']}, documents {one['digest'][:12]})"), soft_wrap=True)
    console.print(_safe("; ".join(_limits(body))), soft_wrap=True)
    if decision := body["decision"]:
        rested = f"configuration {decision['config_digest'][:12]}"
        text = f"decision {decision['id']} of {decision['decided_at']}, {rested}"
        console.print(_safe(text), style="dim", soft_wrap=True)


def _gates(gates: Any) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for name in ("gate", "", "what holds, what is missing", "who", "since"):
        table.add_column(name)
    for gate in gates:
        state = _safe(_STATES.get(gate["state"], gate["state"]), _STYLES.get(gate["state"], "red"))
        rows = list(_rows(gate)) or [("", "", "")]
        for number, (text, who, since) in enumerate(rows):
            first = (_safe(gate["gate"]), state) if number == 0 else ("", "")
            table.add_row(*first, _safe(text), _safe(who), since)
    return table


def _rows(gate: Any) -> Iterator[tuple[str, str, str]]:
    for item in gate["held"]:
        yield f"✓ {item['text']}{_evidence(item)}", "", _age(item)
    for item in gate["missing"]:
        yield f"✗ {item['text']}{_evidence(item)}", item["who"], _age(item)


def _limits(body: Any) -> Iterator[str]:
    limits, switches = body["limits"], body["switches"]
    if limits["attempts"]:
        yield f"attempts {_cap(limits['attempts'])}"
    yield f"sent back {_cap(limits['returns_in_all'])}"
    yield from (f"for {cause} {_cap(cap)}" for cause, cap in limits["returns"].items() if cap["used"])
    if limits["runs_without_progress"]:
        yield f"runs without progress {_cap(limits['runs_without_progress'])}"
    if limits["answers"]["used"]:
        yield f"answers {_cap(limits['answers'])}"
    for name, words in (("money", "spent"), ("money_without_progress", "spent without progress")):
        if limits[name]:
            yield f"{words} {_money(limits[name])}"
    yield from (name.removeprefix("is_") for name in ("is_paused", "is_cancelled") if switches[name])
    if switches["budget_usd"]:
        yield f"budget ${switches['budget_usd']}"


def _cap(cap: Any) -> str:
    return f"{cap['used']} of {cap['limit']}, {cap['left']} left"


def _money(one: Any) -> str:
    return f"${one['spent_usd']:.2f} of ${one['limit_usd']:.2f}, ${one['left_usd']:.2f} left"


def _by(item: Any) -> str:
    return f" ({item['who']}: {item['action']})" if item["who"] and item["action"] else ""


def _evidence(item: Any) -> str:
    return f" [{', '.join(one[:60] for one in item['evidence'][:3])}]" if item["evidence"] else ""


def _since(item: Any) -> str:
    age = _age(item)
    return f", for {age}" if age else ""


def _age(item: Any) -> str:
    if item["age_s"] is None:
        return ""
    return f"{'over ' if item['is_older'] else ''}{screen.age(item['age_s'])}"
