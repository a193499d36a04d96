"""The wall clock jumps while agents are at work: nothing is done twice, and nothing ends early."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import counted
from chaos.nursery import Nursery
from chaos.points import Order
from chaos.storm import rows
from chaos.sweep import Shown, Story, Telling
from chaos.worker import lives, write_worker
from orchestrator.sim.server import utc_now

HOUR_S, YEAR_S = 3600.0, 365.25 * 86400
TIMEOUT_S = 120
"""Of a run. Every jump is far longer."""
SHORTEST_S = 1.5
"""Of an agent's life: long enough for a jump in the middle."""
ZONE = "CET-1CEST,M3.5.0,M10.5.0/3"
"""As in Berlin, in words that need no list of zones."""
SPRING, AUTUMN = datetime(2027, 3, 28, 1, tzinfo=UTC), datetime(2027, 10, 31, 1, tzinfo=UTC)
"""When people there put their clocks an hour forward, and back."""
BEFORE_S = 0.7
"""An agent that begins then is at work when they do."""
STORY = Story("two agents write", "architecture", "approval", is_written=False)


@dataclass(slots=True)
class Jumping(Telling):
    """Jumps once for each agent that begins, and back in the end."""

    jumps: tuple[float | datetime, ...] = ()
    made: list[float | datetime] = field(default_factory=list)
    zone: str = "UTC"

    @property
    def clock(self) -> Path:
        return self.root / "clock"

    def _environ(self) -> dict[str, str]:
        self.clock.write_text("0")
        worker = write_worker(
            self.root / "worker", self.root / "ledger", shortest_s=SHORTEST_S, longest_s=SHORTEST_S
        )
        return {
            **self.world.settings(worker),
            "ORCH_WAKE_MERGE_S": "0.05",
            "ORCH_RESYNC_INTERVAL_S": "1",
            "ORCH_PLANE_CALLS_PER_MINUTE": "6000",
            "ORCH_RUN_TIMEOUT_S": str(TIMEOUT_S),
            "TZ": self.zone,
            **Order(clock=str(self.clock), is_quick=True).environ(),
        }

    def _act(self, state: tuple[Any, ...]) -> None:
        begun = len(lives(self.root / "ledger"))
        if begun > len(self.made) and len(self.made) < len(self.jumps):
            self.made.append(self.jumps[len(self.made)])
            fresh = self.clock.with_suffix(".new")
            fresh.write_text(str(away_s(self.made[-1])))
            fresh.replace(self.clock)  # never half a number for whoever asks meanwhile
        super(Jumping, self)._act(state)

    def shown(self) -> Shown:
        return super(Jumping, self).shown() | {
            "effects": rows(self.service, "SELECT count(*) FROM effects WHERE done_at IS NULL"),
            "finished": rows(self.service, "SELECT finished_at FROM agent_runs ORDER BY id"),
        }


def away_s(jump: float | datetime) -> float:
    """From now, to just before that moment."""
    return jump if isinstance(jump, float) else (jump - utc_now()).total_seconds() - BEFORE_S


def ends(shown: Shown) -> list[datetime]:
    return [datetime.fromisoformat(row[0]).replace(tzinfo=UTC) for row in shown.pop("finished")]


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "jumps",
    [
        pytest.param((HOUR_S, 0.0), id="an hour on and back", marks=pytest.mark.nightly),
        pytest.param((-HOUR_S, HOUR_S), id="an hour back, then two on", marks=pytest.mark.nightly),
        pytest.param((YEAR_S, -HOUR_S), id="a year on, then more than a year back"),
    ],
)
def test_the_clock_jumps_while_agents_work_and_nothing_is_doubled_or_ends_early(
    tmp_path: Path, jumps: tuple[float, ...]
) -> None:
    with Nursery() as nursery:
        still = Jumping(STORY, tmp_path / "still", nursery).tell()
        telling = Jumping(STORY, tmp_path / "jumping", nursery, jumps=jumps)
        shown = telling.tell()
    assert telling.made == list(jumps)
    assert shown["lives"] == [True, True]
    assert [run[3:5] for run in shown["runs"]] == [("ended", "succeeded")] * 2
    assert abs((ends(shown)[0] - utc_now()).total_seconds() - jumps[0]) < HOUR_S / 2  # the jump was seen
    del still["finished"]
    assert shown == still
    counted.said(f"2 jumps ({', '.join(f'{one:+.0f} s' for one in jumps)}): 0 doubled and 0 timed out of 2 runs")


@pytest.mark.nightly
@pytest.mark.timeout(200)
def test_where_the_clocks_are_put_forward_and_back_while_agents_work_no_moment_is_an_hour_off(
    tmp_path: Path,
) -> None:
    """By the machine's own zone; all that is stored and counted is of another one."""
    with Nursery() as nursery:
        still = Jumping(STORY, tmp_path / "still", nursery, zone=ZONE).tell()
        telling = Jumping(STORY, tmp_path / "moved", nursery, jumps=(SPRING, AUTUMN), zone=ZONE)
        shown = telling.tell()
    assert shown["lives"] == [True, True]
    off_s = [(end - moment).total_seconds() for end, moment in zip(ends(shown), (SPRING, AUTUMN), strict=True)]
    assert all(abs(one) < HOUR_S / 2 for one in off_s), off_s
    del still["finished"]
    assert shown == still
    counted.said("2 changes of the clocks by an hour: 0 doubled and 0 timed out of 2 runs")
