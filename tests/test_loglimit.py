"""What is said of faults: one line a minute for what passes by itself, and nothing hidden by it."""

from typing import Any

import structlog

from conftest import FakeClock
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.loglimit import Complaints


def said(*faults: tuple[float, str, OrchestratorError]) -> list[dict[str, Any]]:
    """The lines that come of faults, each so many seconds after the one before it."""
    clock = FakeClock()
    complaints = Complaints(clock.monotonic)
    with structlog.testing.capture_logs() as lines:
        for pause_s, event, error in faults:
            clock.advance(pause_s)
            complaints.say(event, error, task="ENDURO-1")
    return [dict(line) for line in lines]


def away(code: str) -> Transient:
    return Transient(code, "It cannot be reached.", hint="Wait.")


def test_faults_of_all_kinds_that_pass_by_themselves_share_one_line_a_minute() -> None:
    events = ("look_failed", "effect_put_off", "resync_failed", "run_put_off")
    many = [(0.25, event, away(code)) for _ in range(300) for event in events for code in ("plane_x", "gitea_x")]
    lines = said(*many)
    assert len(lines) == 10  # of 600 s
    assert [line["more_since_last"] for line in lines[1:]] == [239] * 9
    assert all(line["among_them"] == ["gitea_x", "plane_x"] for line in lines[1:])


def test_a_line_says_what_it_is_about() -> None:
    (line,) = said((0, "look_failed", away("plane_unreachable")))
    assert line == {
        "event": "look_failed",
        "log_level": "warning",
        "code": "plane_unreachable",
        "message": "It cannot be reached.",
        "hint": "Wait.",
        "task": "ENDURO-1",
    }


def test_what_does_not_pass_by_itself_is_said_beside_it_every_five_minutes_for_each_code() -> None:
    faults = [(10.0, "effect_put_off", error) for _ in range(60) for error in (Permanent("a", "A"), away("b"))]
    faults += [(0.0, "look_failed", Permanent("c", "C"))]
    codes = [line["code"] for line in said(*faults)]
    assert (codes.count("a"), codes.count("b"), codes.count("c")) == (4, 20, 1)
