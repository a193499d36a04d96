"""What a team sees of its own work: money, how long stages take, how long they wait, what was sent back.

Read from `spending` and `stays`, which are added to as things happen: 10,000 tasks take some milliseconds.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, func, literal_column, select

from orchestrator.domain.model import Stage
from orchestrator.store.schema import spending, stays
from orchestrator.workflow.pipeline import STEPS

MOST_DAYS = 90


@dataclass(frozen=True, slots=True)
class Spent:
    """`cost_usd` is what the CLI reckons; of a subscription it is notional."""

    runs: int = 0
    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.runs + other.runs,
            self.turns + other.turns,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_usd + other.cost_usd,
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """What one role spent for one project on one day (UTC). A project is named by its repository."""

    day: date
    role: str
    project: str
    spent: Spent


@dataclass(frozen=True, slots=True)
class Times:
    """Of how many, and how long they took, in seconds."""

    count: int
    mean_s: float
    median_s: int
    p90_s: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """`first` to `last` are the days, both included. `lead`: how long tasks that left a stage were in it; `waits`:
    how long of that no agent was at work, by the gate that leaves the stage. `rework`: how often tasks were sent
    back, by cause. Pipelines run in their order.
    """

    first: date
    last: date
    cells: tuple[Cell, ...]
    outcomes: tuple[tuple[str, int], ...]
    lead: tuple[tuple[str, Times], ...]
    waits: tuple[tuple[str, Times], ...]
    rework: tuple[tuple[str, int], ...]
    done: int

    @property
    def by_day(self) -> tuple[tuple[date, Spent], ...]:
        """Every day, those without a run too."""
        days = {self.first + timedelta(days=n): Spent() for n in range((self.last - self.first).days + 1)}
        return tuple((days | dict(_added(self.cells, lambda cell: cell.day))).items())

    @property
    def by_role(self) -> tuple[tuple[str, Spent], ...]:
        return _added(self.cells, lambda cell: cell.role)

    @property
    def by_project(self) -> tuple[tuple[str, Spent], ...]:
        return _added(self.cells, lambda cell: cell.project)

    @property
    def total(self) -> Spent:
        return sum((cell.spent for cell in self.cells), Spent())


_SUMS = [func.sum(spending.c[name]).label(name) for name in Spent.__dataclass_fields__]
_SINCE = spending.c.day >= bindparam("day")
_CELLS = (
    select(spending.c.day, spending.c.role, spending.c.project, *_SUMS)
    .where(_SINCE)
    .group_by(spending.c.day, spending.c.role, spending.c.project)
    .order_by(spending.c.day, spending.c.role, spending.c.project)
)
_OUTCOMES = (
    select(spending.c.outcome, func.sum(spending.c.runs).label("runs"))
    .where(_SINCE)
    .group_by(spending.c.outcome)
    .order_by(func.sum(spending.c.runs).desc(), spending.c.outcome)
)
# One text for each stage, in the order of an index: to fetch or to sort 80,000 rows takes longer than all else.
_STAYS = select(
    func.json_group_array(stays.c.seconds).label("seconds"),
    func.json_group_array(func.max(stays.c.seconds - stays.c.worked_s, 0)).label("waited"),
).where(stays.c.stage == bindparam("stage"), stays.c.left_at >= bindparam("since"))
_REWORK = (
    select(stays.c.cause, func.count().label("times"))
    .where(stays.c.left_at >= bindparam("since"), literal_column("stays.cause != ''"))
    .group_by(stays.c.cause)
    .order_by(func.count().desc(), stays.c.cause)
)
_GATES = {step.stage.value: step.gate for step in STEPS if step.gate}


def statistics(connection: Connection, now: datetime, days: int) -> Statistics:
    """Of the last `days` days, today among them; at most MOST_DAYS."""
    last = now.astimezone(UTC).date()
    first = last - timedelta(days=min(max(days, 1), MOST_DAYS) - 1)
    since = datetime(first.year, first.month, first.day, tzinfo=UTC)
    of_days, of_moments = {"day": first.isoformat()}, {"since": since}
    stayed = {
        step.stage.value: connection.execute(_STAYS, of_moments | {"stage": step.stage}).one() for step in STEPS
    }
    lead = {stage: times for stage, row in stayed.items() if (times := _times(row.seconds)) is not None}
    waits = {stage: _times(stayed[stage].waited) for stage in lead if stage in _GATES}
    return Statistics(
        first=first,
        last=last,
        cells=tuple(_cell(row) for row in connection.execute(_CELLS, of_days)),
        outcomes=tuple((row.outcome, row.runs) for row in connection.execute(_OUTCOMES, of_days)),
        lead=tuple(lead.items()),
        waits=tuple((_GATES[stage], times) for stage, times in waits.items() if times is not None),
        rework=tuple((row.cause, row.times) for row in connection.execute(_REWORK, of_moments)),
        done=lead[Stage.READY].count if Stage.READY in lead else 0,
    )


def _cell(row: Any) -> Cell:
    spent = Spent(row.runs, row.turns, row.input_tokens, row.output_tokens, row.cost_usd)
    return Cell(date.fromisoformat(row.day), row.role, row.project, spent)


def _times(text: str) -> Times | None:
    found = sorted(msgspec.json.decode(text, type=list[int]))
    if not found:
        return None
    return Times(len(found), sum(found) / len(found), _share(found, 0.5), _share(found, 0.9))


def _share(ordered: Sequence[int], share: float) -> int:
    """The smallest value that this share of all does not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * share // 1) - 1))]


def _added(cells: Iterable[Cell], key: Callable[[Cell], Any]) -> tuple[tuple[Any, Spent], ...]:
    found: dict[Any, Spent] = {}
    for cell in cells:
        found[key(cell)] = found.get(key(cell), Spent()) + cell.spent
    return tuple(sorted(found.items()))
