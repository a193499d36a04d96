"""What `orch explain` prints for people."""

import io
from typing import Any

from rich.console import Console

from orchestrator.cli.explain import show

ITEM = {
    "code": "approval", "text": "BRD.md [red]waits\x1b[31m", "params": {}, "evidence": ["b1"], "who": "approver",
    "action": ":approved:", "since": "2026-11-24T10:00:00Z", "since_decision": 2, "age_s": 7300.0,
    "is_older": False,
}  # fmt: skip
SECTION = {**ITEM, "text": "section", "age_s": 90000.0, "is_older": True}
WRITTEN = {**ITEM, "text": "written", "age_s": 120.0}
GATE = {"gate": "QG-1", "leaves": "analysis", "state": "closed", "verdict": "waiting", "decision": 3}
CAP = {"used": 1, "limit": 3, "left": 2}
BODY: dict[str, Any] = {
    "key": "ENDURO-1", "title": "A [bold]title\x1b]0;x\x07", "item_link": None, "stage": "analysis",
    "repo": "acme/x", "branch": "feature/x", "agent_running": False,
    "unblock": [ITEM, {**ITEM, "text": "merge", "age_s": None, "action": ""}],
    "gates": [
        {**GATE, "gate": "QG-0", "state": "open", "held": [{**ITEM, "text": "mapped"}], "missing": []},
        {**GATE, "held": [WRITTEN], "missing": [ITEM, SECTION]},
        {**GATE, "gate": "QG-2", "state": "not_reached", "held": [], "missing": []},
    ],
    "approvals": [
        {
            "gate": "QG-1", "comment": "k1", "person": "u-\x1b[1manna", "digest": "cd" * 32, "position": 11,
            "approved_at": "2026-11-24T11:00:00Z",
        }
    ],
    "limits": {
        "returns": {"ci_red": CAP, "test_failed": {**CAP, "used": 0}}, "returns_in_all": {**CAP, "limit": 8},
        "attempts": CAP, "attempts_made": 1, "runs_without_progress": CAP, "answers": {**CAP, "used": 0},
        "money": {"spent_usd": 1.5, "limit_usd": 20.0, "left_usd": 18.5}, "money_without_progress": None,
    },
    "switches": {"is_paused": True, "is_cancelled": False, "budget_usd": 7, "allowed_paths_at": []},
    "decision": {"id": 3, "decided_at": "2026-11-24T12:00:00Z", "config_digest": "ab" * 32},
}  # fmt: skip


def printed(body: Any) -> str:
    out = io.StringIO()
    show(body, Console(file=out, width=160, force_terminal=True, color_system=None, highlight=False))
    return out.getvalue()


def test_people_see_the_closest_first_then_gates_limits_and_switches() -> None:
    text = printed(BODY)
    lines = text.splitlines()
    assert lines[0].startswith("ENDURO-1 is at analysis: A [bold]title")
    assert lines[2].startswith("next: BRD.md [red]waits")
    assert lines[2].endswith("(approver: :approved:), for 2 h")
    assert lines[3] == "then: merge"
    assert "✓ mapped [b1]" in text
    (held,) = (line for line in lines if "✓ written [b1]" in line)
    assert held.rstrip().endswith("2 min")
    assert "over 1 d" in text
    assert "not asked yet" in text
    assert "attempts 1 of 3, 2 left; sent back 1 of 8, 2 left; for ci_red 1 of 3, 2 left;" in text
    assert "runs without progress 1 of 3, 2 left; spent $1.50 of $20.00, $18.50 left; paused; budget $7" in text
    assert "answers" not in text
    answered = printed({**BODY, "limits": {**BODY["limits"], "answers": CAP}})
    assert "answers 1 of 3, 2 left" in answered
    assert (
        "QG-1 was opened by u-\ufffd[1manna at 2026-11-24T11:00:00Z (comment k1, documents cdcdcdcdcdcd)" in text
    )
    assert "decision 3 of 2026-11-24T12:00:00Z, configuration abababababab" in text


def test_foreign_text_controls_neither_the_terminal_nor_the_markup() -> None:
    text = printed(BODY)
    assert "\x07" not in text
    assert "[31m" in text.replace("\x1b[31m", "")
    assert "]0;x" in text.replace("\x1b]0;x", "")


def test_the_work_item_is_linked_to_where_its_address_is_known() -> None:
    lines = printed({**BODY, "item_link": "https://plane.test/acme/browse/ENDURO-1/"}).splitlines()
    assert lines[2] == "https://plane.test/acme/browse/ENDURO-1/"


def test_a_task_that_was_not_decided_yet_is_told_too() -> None:
    bare = {**BODY, "branch": "", "repo": None, "unblock": [], "gates": [], "decision": None}
    text = printed({**bare, "limits": {**BODY["limits"], "attempts": None}})
    assert "no branch yet" in text
    assert "sent back 1 of 8" in text
