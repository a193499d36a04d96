"""Who may start, who waits and why; and that nobody waits for ever (F38)."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import by_day
from orchestrator.domain.model import RepoName, RunId, Stage
from orchestrator.domain.roles import Role
from orchestrator.qg.verdict import Item
from orchestrator.workflow.admission import (
    CODES,
    OVERTAKEN_AT_MOST,
    Account,
    AdmissionLimits,
    Day,
    Situation,
    StartedRun,
    WaitingRun,
    admit,
    dispatch_paused,
    stopped,
)
from orchestrator.workflow.halts import pause_of_task
from orchestrator.workflow.pipeline import STEPS, step_of_role

SHOP, SITE = RepoName.parse("acme/shop"), RepoName.parse("acme/site")
MIDNIGHT = datetime(2026, 11, 27, tzinfo=UTC)
QUIET = Situation(Day(MIDNIGHT))
ROOMY = AdmissionLimits(runs=10)


def waiting(run: int, role: Role = Role.DEVELOPER, repo: RepoName = SHOP, **changes: bool) -> WaitingRun:
    return WaitingRun(RunId(run), repo, role, step_of_role(role).stage, **changes)


def codes(now: Situation, limits: AdmissionLimits, *runs: WaitingRun) -> dict[int, str]:
    return {run: reason.code for run, reason in admit(runs, now, limits).waits}


def test_later_stages_start_first_then_the_older_run() -> None:
    runs = [
        waiting(1, Role.ANALYST),
        waiting(2, Role.TESTER),
        waiting(3, Role.REVIEWER),
        waiting(4, Role.REVIEWER),
    ]
    assert admit(runs, QUIET, ROOMY).starts == (2, 3, 4, 1)
    assert admit(runs, QUIET, AdmissionLimits(runs=2)).starts == (2, 3)


def test_what_is_started_now_counts_at_once() -> None:
    now = replace(QUIET, started=(StartedRun(SITE, Role.ANALYST),))
    limits = AdmissionLimits(runs=4, runs_per_repository=2, runs_per_role=1)
    runs = [waiting(1), waiting(2, Role.DEVELOPER, SITE), waiting(3, Role.TESTER), waiting(4, Role.REVIEWER)]
    found = admit(runs, now, limits)
    assert (found.starts, codes(now, limits, *runs)) == ((3, 4, 2), {1: "repository_full"})
    assert codes(now, replace(limits, runs=3), *runs) == dict.fromkeys((1, 2), "slots_full")


@pytest.mark.parametrize(
    ("now", "limits", "reason"),
    [
        (replace(QUIET, is_dispatch_paused=True), ROOMY, ("dispatch_paused", ())),
        (
            replace(QUIET, account=Account(MIDNIGHT)),
            ROOMY,
            ("account_paused", (("until", "2026-11-27 00:00 UTC"),)),
        ),
        (replace(QUIET, account=Account(is_on_probe=True, probes=1)), ROOMY, ("account_on_probe", ())),
        (
            replace(QUIET, day=Day(MIDNIGHT, 20.0)),
            replace(ROOMY, day_budget_usd=20.0),
            ("day_budget_spent", (("budget", "20.00"), ("until", "2026-11-27 00:00 UTC"))),
        ),
        (
            replace(QUIET, day=Day(MIDNIGHT, runs=5)),
            replace(ROOMY, runs_per_day=5),
            ("day_runs_spent", (("limit", "5"), ("until", "2026-11-27 00:00 UTC"))),
        ),
        (
            replace(QUIET, started=(StartedRun(SITE, Role.ANALYST),) * 2),
            AdmissionLimits(runs=2),
            ("slots_full", (("limit", "2"),)),
        ),
        (
            replace(QUIET, started=(StartedRun(SHOP, Role.ANALYST),)),
            replace(ROOMY, runs_per_repository=1),
            ("repository_full", (("repo", "acme/shop"), ("limit", "1"))),
        ),
        (
            replace(QUIET, started=(StartedRun(SITE, Role.DEVELOPER),)),
            replace(ROOMY, runs_per_role=1),
            ("role_full", (("role", "developer"), ("limit", "1"))),
        ),
    ],
)
def test_each_limit_alone_keeps_a_run_waiting_and_says_so(
    now: Situation, limits: AdmissionLimits, reason: tuple[str, object]
) -> None:
    assert admit([waiting(1)], QUIET, limits).starts == (1,)
    found = admit([waiting(1)], now, limits)
    [(run, item)] = found.waits
    assert (found.starts, run, item.code, item.params) == ((), 1, *reason)
    is_by_hand = item.code == "dispatch_paused"
    assert (item.who, item.action) == (("operator", "orch resume --all") if is_by_hand else ("agent", "wait"))
    assert item.code in CODES
    of_one = item.code in {"repository_full", "role_full"}
    assert stopped(now, limits) == (None if of_one else item)


def test_just_below_a_limit_a_run_starts() -> None:
    now = replace(QUIET, day=Day(MIDNIGHT, 19.99, 4), started=(StartedRun(SHOP, Role.DEVELOPER),))
    limits = AdmissionLimits(2, 2, 2, 5, 20.0)
    assert admit([waiting(1)], now, limits).starts == (1,)
    assert stopped(now, limits) is None


def test_no_limit_is_no_limit() -> None:
    now = replace(QUIET, day=Day(MIDNIGHT, 1e9, 10**9), started=(StartedRun(SHOP, Role.DEVELOPER),) * 50)
    assert admit([waiting(1)], now, AdmissionLimits(51)).starts == (1,)


def test_a_paused_task_waits_alone_and_a_pause_of_all_comes_first() -> None:
    runs = [waiting(1, is_task_paused=True), waiting(2)]
    found = admit(runs, QUIET, ROOMY)
    assert (found.starts, found.waits) == ((2,), ((RunId(1), pause_of_task()),))
    posted = admit([replace(runs[0], is_posted=True)], QUIET, ROOMY)
    assert posted.waits == ((RunId(1), pause_of_task(is_posted=True)),)
    assert pause_of_task(is_posted=True) == Item("paused", (), (), "operator", "orch resume")
    assert codes(replace(QUIET, is_dispatch_paused=True), ROOMY, *runs) == dict.fromkeys((1, 2), "dispatch_paused")
    assert codes(replace(QUIET, account=Account(MIDNIGHT)), ROOMY, *runs)[1] == "paused"


def test_after_the_reset_one_run_goes_alone() -> None:
    now = replace(QUIET, account=Account(is_on_probe=True))
    assert stopped(now, ROOMY) is None
    found = admit([waiting(1), waiting(2)], now, ROOMY)
    assert found.starts == (1,)
    assert [item.code for _, item in found.waits] == ["account_on_probe"]


def test_the_days_runs_are_counted_while_they_start() -> None:
    found = admit([waiting(1), waiting(2)], QUIET, replace(ROOMY, runs_per_day=1))
    assert found.starts == (1,)
    assert [item.code for _, item in found.waits] == ["day_runs_spent"]


def test_what_starts_is_counted_once_beside_what_is_there() -> None:
    runs = [waiting(number, Role.TESTER, RepoName("a", f"r{number}")) for number in range(1, 5)]
    a_day = replace(ROOMY, runs_per_day=3)
    assert admit(runs, replace(QUIET, day=Day(MIDNIGHT, runs=1)), a_day).starts == (1, 2)
    there = replace(QUIET, started=(StartedRun(SITE, Role.TESTER),))
    assert admit(runs, there, replace(ROOMY, runs_per_role=3)).starts == (1, 2)


def test_an_overdue_run_comes_first_whatever_its_stage() -> None:
    runs = [waiting(1, Role.ANALYST), waiting(2, Role.ARCHITECT), waiting(3, Role.TESTER)]
    assert admit(runs, replace(QUIET, overdue_before=3), ROOMY).starts == (1, 2, 3)
    assert admit(runs, replace(QUIET, overdue_before=2), ROOMY).starts == (1, 3, 2)


def test_what_becomes_free_where_an_overdue_run_waits_is_kept_for_it() -> None:
    """Else two limits that are never free together would starve it."""
    now = replace(QUIET, started=(StartedRun(SITE, Role.ANALYST),), overdue_before=2)
    limits = AdmissionLimits(runs=5, runs_per_repository=1, runs_per_role=1)
    overdue, rival, other = (
        waiting(1, Role.ANALYST),
        waiting(2, Role.TESTER),
        waiting(3, Role.TESTER, RepoName("a", "b")),
    )
    found = admit([overdue, rival, other], now, limits)
    assert found.starts == (3,)
    assert {run: item.code for run, item in found.waits} == {1: "role_full", 2: "repository_full"}
    assert admit([overdue, rival, other], replace(now, overdue_before=1), limits).starts == (2,)


ROLES = st.sampled_from([step.role for step in STEPS if step.role])
REPOS = st.sampled_from([SHOP, SITE, RepoName.parse("acme/api")])
LIMITS = st.builds(
    AdmissionLimits,
    st.integers(1, 4),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from([0, 3]),
    st.sampled_from([0.0, 5.0]),
)


@by_day(100)
@given(
    st.lists(st.builds(StartedRun, REPOS, ROLES), max_size=5),
    st.lists(st.tuples(ROLES, REPOS, st.booleans()), max_size=12),
    LIMITS,
    st.builds(
        Situation,
        st.builds(Day, st.just(MIDNIGHT), st.floats(0, 10), st.integers(0, 4)),
        account=st.sampled_from([Account(), Account(MIDNIGHT), Account(is_on_probe=True), Account(None, True, 1)]),
        is_dispatch_paused=st.booleans(),
        overdue_before=st.integers(0, 12),
    ),
)
def test_no_limit_is_ever_passed_and_each_run_either_starts_or_has_a_reason(
    started: list[StartedRun], wanted: list[tuple[Role, RepoName, bool]], limits: AdmissionLimits, base: Situation
) -> None:
    runs = [waiting(n, role, repo, is_task_paused=paused) for n, (role, repo, paused) in enumerate(wanted, 1)]
    now = replace(base, started=tuple(started))
    found = admit(runs, now, limits)
    assert sorted([*found.starts, *(run for run, _ in found.waits)]) == [one.run for one in runs]
    starts = [one for one in runs if one.run in found.starts]
    after = replace(
        now,
        started=(*started, *(StartedRun(one.repo, one.role) for one in starts)),
        day=replace(now.day, runs=now.day.runs + len(starts)),
        account=replace(now.account, probes=now.account.probes + len(starts)),
    )
    if starts:
        assert len(after.started) <= limits.runs
        assert not now.is_dispatch_paused
        assert now.account.paused_until is None
        assert not any(one.is_task_paused for one in starts)
        assert not limits.runs_per_day or after.day.runs <= limits.runs_per_day
        assert not limits.day_budget_usd or now.day.spent_usd < limits.day_budget_usd
        assert not now.account.is_on_probe or (len(starts) == 1 and now.account.probes == 0)
    for one in starts:
        repo, role = (Counter(getattr(run, name) for run in after.started) for name in ("repo", "role"))
        assert not limits.runs_per_repository or repo[one.repo] <= limits.runs_per_repository
        assert not limits.runs_per_role or role[one.role] <= limits.runs_per_role
    left = [one for one in runs if one.run not in found.starts]
    assert admit(left, after, limits).starts == ()


@dataclass
class Shop:
    """Rows as the database has them: ids in the order of intent, and who was admitted."""

    limits: AdmissionLimits
    waiting: list[WaitingRun] = field(default_factory=list)
    at_work: list[WaitingRun] = field(default_factory=list)
    admitted: list[int] = field(default_factory=list)
    overtaken: Counter[int] = field(default_factory=Counter)
    ids: int = 0

    def intend(self, role: Role, repo: RepoName) -> None:
        self.ids += 1
        self.waiting.append(waiting(self.ids, role, repo))
        self.look()

    def look(self) -> None:
        newest = sorted(self.admitted, reverse=True)
        overdue = newest[OVERTAKEN_AT_MOST - 1] if len(newest) >= OVERTAKEN_AT_MOST else 0
        started = tuple(StartedRun(one.repo, one.role) for one in self.at_work)
        now = replace(QUIET, started=started, overdue_before=overdue)
        for run in admit(self.waiting, now, self.limits).starts:
            self._start(next(one for one in self.waiting if one.run == run), overdue)

    def _start(self, run: WaitingRun, overdue: int) -> None:
        self.waiting.remove(run)
        self.at_work.append(run)
        self.admitted.append(run.run)
        first = next((one for one in self.waiting if one.run < min(overdue, run.run)), None)
        assert first is None or self._leaves_room(run, first)
        for one in self.waiting:
            self.overtaken[one.run] += one.run < run.run and self._is_rival(run, one)

    def _leaves_room(self, run: WaitingRun, first: WaitingRun) -> bool:
        """Where both want to be, there is a place left for the one that is overdue the longest."""
        repos, roles = Counter(one.repo for one in self.at_work), Counter(one.role for one in self.at_work)
        of_repo, of_role = self.limits.runs_per_repository, self.limits.runs_per_role
        has_repo = not of_repo or run.repo != first.repo or repos[first.repo] < of_repo
        has_role = not of_role or run.role != first.role or roles[first.role] < of_role
        return has_repo and has_role

    def _is_rival(self, run: WaitingRun, other: WaitingRun) -> bool:
        """It took something that the other could have used."""
        limits = self.limits
        if not limits.runs_per_repository and not limits.runs_per_role:
            return True
        in_repo = limits.runs_per_repository > 0 and run.repo == other.repo
        return in_repo or (limits.runs_per_role > 0 and run.role == other.role)

    def end(self, which: int) -> None:
        if self.at_work:
            del self.at_work[which % len(self.at_work)]
            self.look()


@by_day(35)
@given(
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 2),
    st.lists(st.tuples(ROLES, REPOS, st.integers(0, 3), st.integers(0, 5)), min_size=50, max_size=80),
)
def test_in_any_order_of_arrivals_and_ends_nobody_is_overtaken_for_ever(
    slots: int, per_repo: int, per_role: int, story: list[tuple[Role, RepoName, int, int]]
) -> None:
    """F38: the old work of an early stage, and newer work of later stages without end. Whose turn it is, is never
    robbed of its place (`Shop` looks at each start); with one limit beside the slots no rival passes it at all.
    """
    shop = Shop(AdmissionLimits(slots, per_repo, per_role))
    shop.intend(Role.ANALYST, SHOP)
    shop.intend(Role.ANALYST, SHOP)
    for role, repo, more, which in story:
        for _ in range(more):
            shop.intend(role if role is not Role.ANALYST else Role.TESTER, repo)
        shop.end(which)
    if not (per_repo and per_role):
        assert max(shop.overtaken.values(), default=0) <= OVERTAKEN_AT_MOST
    while shop.at_work:
        shop.end(0)
    assert not shop.waiting


def test_ever_new_reviews_do_not_keep_an_analyst_waiting() -> None:
    shop = Shop(AdmissionLimits(1))
    shop.intend(Role.REVIEWER, SHOP)
    shop.intend(Role.ANALYST, SHOP)
    for _ in range(3 * OVERTAKEN_AT_MOST):
        shop.intend(Role.REVIEWER, SITE)
        shop.end(0)
    assert shop.admitted.index(2) == OVERTAKEN_AT_MOST + 1  # the first review was the older one
    assert Stage.REVIEW in {one.stage for one in shop.at_work}


def test_only_for_the_oldest_overdue_run_is_kept_one_place_of_each() -> None:
    now = replace(QUIET, started=(StartedRun(SITE, Role.ANALYST),), overdue_before=3)
    limits = AdmissionLimits(runs=5, runs_per_repository=2, runs_per_role=1)
    overdue = [waiting(1, Role.ANALYST), waiting(2, Role.ANALYST)]
    assert admit([*overdue, waiting(3, Role.TESTER)], now, limits).starts == (3,)


def test_a_place_that_is_kept_counts_beside_those_that_are_taken() -> None:
    third = RepoName.parse("acme/third")
    busy = (StartedRun(SHOP, Role.DEVELOPER),)
    limits = AdmissionLimits(runs=5, runs_per_repository=1, runs_per_role=2)
    overdue, other = waiting(1, Role.ANALYST), waiting(2, Role.ANALYST, third)
    now = replace(QUIET, started=busy, overdue_before=2)
    assert admit([overdue, other], now, limits).starts == (2,)
    fuller = replace(now, started=(*busy, StartedRun(SITE, Role.ANALYST)))
    assert codes(fuller, limits, overdue, other) == {1: "repository_full", 2: "role_full"}


def test_for_a_run_that_is_not_overdue_nothing_is_kept() -> None:
    now = replace(QUIET, started=(StartedRun(SITE, Role.TESTER),), overdue_before=2)
    limits = AdmissionLimits(runs=5, runs_per_repository=1, runs_per_role=1)
    assert admit([waiting(2, Role.TESTER), waiting(3, Role.ANALYST)], now, limits).starts == (3,)


def test_the_pause_of_all_is_told_whole() -> None:
    assert dispatch_paused() == Item("dispatch_paused", who="operator", action="orch resume --all")
