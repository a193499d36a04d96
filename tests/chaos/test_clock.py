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
STORY = Story("two agents write", "architecture", "approval", is_written=False)


@dataclass(slots=True)
class Jumping(Telling):
    """Jumps once for each agent that begins, and back in the end."""

    jumps: tuple[float, ...] = ()
    made: list[float] = field(default_factory=list)

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
            **Order(clock=str(self.clock), is_quick=True).environ(),
        }

    def _act(self, state: tuple[Any, ...]) -> None:
        begun = len(lives(self.root / "ledger"))
        if begun > len(self.made) and len(self.made) < len(self.jumps):
            self.made.append(self.jumps[len(self.made)])
            fresh = self.clock.with_suffix(".new")
            fresh.write_text(str(self.made[-1]))
            fresh.replace(self.clock)  # never half a number for whoever asks meanwhile
        super(Jumping, self)._act(state)

    def shown(self) -> Shown:
        return super(Jumping, self).shown() | {
            "effects": rows(self.service, "SELECT count(*) FROM effects WHERE done_at IS NULL"),
            "finished": rows(self.service, "SELECT finished_at FROM agent_runs ORDER BY id"),
        }


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
    ended = [datetime.fromisoformat(row[0]).replace(tzinfo=UTC) for row in shown.pop("finished")]
    assert abs((ended[0] - utc_now()).total_seconds() - jumps[0]) < HOUR_S / 2  # the jump was seen
    del still["finished"]
    assert shown == still
    counted.said(f"2 jumps ({', '.join(f'{one:+.0f} s' for one in jumps)}): 0 doubled and 0 timed out of 2 runs")
