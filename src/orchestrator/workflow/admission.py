"""Admission: which of the waiting runs may start now, and why each of the others waits. Pure.

Work that is nearer to its end comes first, then age. Nothing starves: a run that younger ones overtook
`OVERTAKEN_AT_MOST` times goes before all others, and when it lacks room in its repository or role, nobody else
takes what becomes free there.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.domain.model import RepoName, RunId, Stage
from orchestrator.domain.roles import Role
from orchestrator.qg.verdict import Item
from orchestrator.workflow.halts import pause_of_task
from orchestrator.workflow.pipeline import place

OVERTAKEN_AT_MOST = 20
"""So many younger runs may start before one that waits. A small number, and new work delays
reviews; a large one, and a work item waits for a day of them.
"""
NO_LIMIT = 0


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """What an operator sets. 0 is no limit, but for `runs`."""

    runs: int = 2
    runs_per_repository: int = NO_LIMIT
    runs_per_role: int = NO_LIMIT
    runs_per_day: int = NO_LIMIT
    day_budget_usd: float = NO_LIMIT


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """An intended run that was not admitted. Ids grow with age: the older one has the smaller."""

    run: RunId
    repo: RepoName
    role: Role
    stage: Stage
    is_task_paused: bool = False
    is_posted: bool = False


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that has a slot: it was admitted and is not over."""

    repo: RepoName
    role: Role


@dataclass(frozen=True, slots=True)
class Day:
    """What was used since midnight UTC, runs at work included."""

    ends: datetime
    spent_usd: float = 0.0
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """The model's account. `paused_until`: its usage limit was reached, and the reset is still to come.
    `is_on_probe`: the reset has come, and no run has shown yet that the model answers again; `probes` are out for
    that.
    """

    paused_until: datetime | None = None
    is_on_probe: bool = False
    probes: int = 0


IN_USE = Account()


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is the same for every waiting run. Runs older than `overdue_before` were overtaken often enough."""

    day: Day
    started: tuple[StartedRun, ...] = ()
    account: Account = IN_USE
    is_dispatch_paused: bool = False
    overdue_before: int = 0


@dataclass(frozen=True, slots=True)
class Admitted:
    """`starts` in their order; `waits` has the reason of every other run."""

    starts: tuple[RunId, ...]
    waits: tuple[tuple[RunId, Item], ...]


def admit(waiting: Iterable[WaitingRun], now: Situation, limits: AdmissionLimits) -> Admitted:
    """Asking again at once, with those that start counted as started, starts nobody more."""
    room = _Room.of(now, limits)
    starts: list[RunId] = []
    waits: list[tuple[RunId, Item]] = []
    for one in sorted(waiting, key=lambda one: _turn(one, now)):
        reason = room.refusal(one)
        if reason is None:
            room.take(one)
            starts.append(one.run)
            continue
        waits.append((one.run, reason))
        if one.run < now.overdue_before and reason.code in _RESERVED:
            room.reserve(one)
    return Admitted(tuple(starts), tuple(waits))


def stopped(now: Situation, limits: AdmissionLimits) -> Item | None:
    """Why nobody at all starts now; None when somebody might."""
    return _Room.of(now, limits).refusal_of_all()


def _turn(one: WaitingRun, now: Situation) -> tuple[bool, int, int]:
    """Overdue runs by age alone; the others by their stage, the last one first, then by age."""
    is_overdue = one.run < now.overdue_before
    return not is_overdue, 0 if is_overdue else -place(one.stage), one.run


_RESERVED = frozenset({"repository_full", "role_full"})
"""Reasons that a reservation helps against. A slot needs none: whose turn it is takes the first that is free, and
the end of whoever fills a repository or role frees a slot, too.
"""


@dataclass(slots=True)
class _Room:
    """What is left, while it is given away."""

    now: Situation
    limits: AdmissionLimits
    at_work: int
    day_runs: int
    probes: int
    of_repo: Counter[RepoName] = field(default_factory=Counter)
    of_role: Counter[Role] = field(default_factory=Counter)
    has_reserved: bool = False

    @classmethod
    def of(cls, now: Situation, limits: AdmissionLimits) -> "_Room":
        repos, roles = Counter(one.repo for one in now.started), Counter(one.role for one in now.started)
        return cls(now, limits, len(now.started), now.day.runs, now.account.probes, repos, roles)

    def refusal(self, one: WaitingRun) -> Item | None:
        if self.now.is_dispatch_paused:
            return dispatch_paused()
        if one.is_task_paused:
            return pause_of_task(is_posted=one.is_posted)
        return self.refusal_of_all() or self._full(one)

    def refusal_of_all(self) -> Item | None:
        """What people ordered comes before what passes by itself, and what lasts longest before the rest."""
        limits, account = self.limits, self.now.account
        if self.now.is_dispatch_paused:
            return dispatch_paused()
        if account.paused_until is not None:
            return Item("account_paused", (("until", moment(account.paused_until)),), who="agent", action="wait")
        return self._day() or self._probe() or self._slots(limits.runs)

    def take(self, one: WaitingRun) -> None:
        self.at_work += 1
        self.day_runs += 1
        self.probes += 1
        self.of_repo[one.repo] += 1
        self.of_role[one.role] += 1

    def reserve(self, one: WaitingRun) -> None:
        """For the oldest of them only: the next one's turn comes when that has started."""
        if not self.has_reserved:
            self.has_reserved = True
            self.of_repo[one.repo] += 1
            self.of_role[one.role] += 1

    def _day(self) -> Item | None:
        limits, day = self.limits, self.now.day
        until = ("until", moment(day.ends))
        if limits.day_budget_usd and day.spent_usd >= limits.day_budget_usd:
            params = (("budget", f"{limits.day_budget_usd:.2f}"), until)
            return Item("day_budget_spent", params, who="agent", action="wait")
        if limits.runs_per_day and self.day_runs >= limits.runs_per_day:
            params = (("limit", str(limits.runs_per_day)), until)
            return Item("day_runs_spent", params, who="agent", action="wait")
        return None

    def _probe(self) -> Item | None:
        is_out = self.now.account.is_on_probe and self.probes > 0
        return Item("account_on_probe", who="agent", action="wait") if is_out else None

    def _slots(self, limit: int) -> Item | None:
        if self.at_work < limit:
            return None
        return Item("slots_full", (("limit", str(limit)),), who="agent", action="wait")

    def _full(self, one: WaitingRun) -> Item | None:
        limits = self.limits
        if limits.runs_per_repository and self.of_repo[one.repo] >= limits.runs_per_repository:
            params = (("repo", str(one.repo)), ("limit", str(limits.runs_per_repository)))
            return Item("repository_full", params, who="agent", action="wait")
        if limits.runs_per_role and self.of_role[one.role] >= limits.runs_per_role:
            params = (("role", one.role.value), ("limit", str(limits.runs_per_role)))
            return Item("role_full", params, who="agent", action="wait")
        return None


CODES = frozenset(
    {
        "slots_full",
        "repository_full",
        "role_full",
        "day_budget_spent",
        "day_runs_spent",
        "account_paused",
        "account_on_probe",
        "dispatch_paused",
    }
)
"""What a run may wait for, beside `paused`."""
FULL = frozenset({"slots_full", "repository_full", "role_full"})


def dispatch_paused() -> Item:
    """What everybody waits for while an operator paused everything."""
    return Item("dispatch_paused", who="operator", action="orch resume --all")


def moment(at: datetime) -> str:
    """As people read it, in UTC; to the minute, so that it is no news when it moves by seconds."""
    return at.strftime("%Y-%m-%d %H:%M UTC")
