"""Which intended runs may start: asked of the rows, answered by `workflow/admission`, stored in one transaction.

Nothing is remembered here: an engine that asks twice, or another process that asks too, gets what the rows allow.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog
from sqlalchemy import Connection

from orchestrator.db import Database
from orchestrator.domain.finding import Finding, Level, about
from orchestrator.domain.model import RunId, TaskId
from orchestrator.domain.run import Outcome, RunResult
from orchestrator.ports import Clock
from orchestrator.qg.verdict import Item
from orchestrator.store import dispatch, runs, tasks
from orchestrator.store.dispatch import PauseKind
from orchestrator.workflow.account import AccountPause, limit_reached
from orchestrator.workflow.admission import AdmissionLimits, Situation, admit, moment, stopped
from orchestrator.workflow.halts import pause_of_task

log = structlog.get_logger()
LOOK_AGAIN_S = 30.0
"""At the latest, while somebody waits for a moment: the wall clock may be moved."""
PROBE_AGAIN_S = 2.0
_OF_A_MOMENT = frozenset({"account_paused", "account_on_probe", "day_budget_spent", "day_runs_spent"})
CANCELLED = RunResult(Outcome.CANCELLED, None, "cancelled", "It was cancelled before it had started.")


@dataclass(frozen=True, slots=True)
class Round:
    """`told` are tasks whose runs wait for something else than before, or no more. `again_in_s`: when time alone
    may let somebody start.
    """

    starts: tuple[RunId, ...] = ()
    told: tuple[TaskId, ...] = ()
    again_in_s: float | None = None


class Dispatch:
    """Every start of an agent passes here twice: when it is admitted, and at the last moment before its launch."""

    def __init__(
        self, database: Database, clock: Clock, limits: AdmissionLimits, usage_limit_pause_s: float = 900.0
    ) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits
        self._usage_limit_pause_s = usage_limit_pause_s

    @property
    def limits(self) -> AdmissionLimits:
        """As configured."""
        return self._limits

    def intended(self, connection: Connection, run: RunId, now: datetime) -> Round:
        """Judges a new run within the transaction that intends it, so that it never waits without a reason. Others
        may start too: the day has changed, say.
        """
        situation = self._situation(connection, now)
        reason = stopped(situation, self._limits)
        if reason is not None:
            dispatch.set_waits(connection, [(run, reason)])
            return Round(again_in_s=_again(situation, [reason], now))
        return self._judge(connection, situation, now)

    async def admit(self) -> Round:
        """Lets start whoever may."""
        now = self._clock.now()
        if not await self._database.read(dispatch.is_anybody_waiting):
            return Round()
        return await self._database.write(lambda connection: self._admit(connection, now))

    def with_slots(self) -> list[RunId]:
        """Runs that were admitted and are not over. In the calling thread: nothing comes between the answer and
        what is made of it. Transient when our database is unavailable.
        """
        return self._database.read_now(dispatch.with_slots)

    async def take_over(self, left: Collection[RunId], launched: Collection[RunId]) -> Round:
        """After a restart: who was launched keeps the slot; who was only admitted is judged anew."""
        now = self._clock.now()

        def commit(connection: Connection) -> Round:
            dispatch.take_back(connection, left, launched, now)
            return self._admit(connection, now)

        return await self._database.write(commit)

    async def still_may_start(self, run: RunId) -> bool:
        """The last look before a launch. Whoever may not start any more gives the slot back, and waits."""
        now = self._clock.now()
        reason = await self._database.read(lambda connection: self._forbidden(connection, run, now))
        if reason is None:
            return True
        log.info("run_put_back", run=run, reason=reason.code)
        await self._database.write(lambda connection: dispatch.set_waits(connection, [(run, reason)]))
        return False

    async def withdraw(self, run: RunId) -> TaskId | None:
        """Ends a run that waits, so that it never starts. None: it does not wait."""
        now = self._clock.now()

        def commit(connection: Connection) -> TaskId | None:
            task = dispatch.task_of_waiting(connection, run)
            if task is not None:
                runs.ended(connection, run, CANCELLED, None, now)
                tasks.run_ended(connection, task, None, now)
            return task

        return await self._database.write(commit)

    def ended(self, connection: Connection, result: RunResult, now: datetime) -> None:
        """Within the transaction that ends a run: its end at the usage limit pauses everything."""
        if result.outcome is not Outcome.USAGE_LIMIT:
            return
        known = dispatch.pause_rows(connection).get(PauseKind.ACCOUNT)
        told = result.resets_at
        pause = limit_reached(known, told, now, self._usage_limit_pause_s)
        dispatch.set_pause(connection, PauseKind.ACCOUNT, pause.since, pause)
        if pause != known:
            log.warning("account_paused", until=moment(pause.until), is_reset_known=told is not None)

    async def pause_all(self, *, is_paused: bool) -> bool:
        """An operator's order. False when it changes nothing."""
        now = self._clock.now()

        def commit(connection: Connection) -> bool:
            was_paused = PauseKind.OPERATOR in dispatch.pause_rows(connection)
            if is_paused and not was_paused:
                dispatch.set_pause(connection, PauseKind.OPERATOR, now)
            elif not is_paused:
                dispatch.end_pause(connection, PauseKind.OPERATOR)
            return was_paused is not is_paused

        has_changed = await self._database.write(commit)
        log.info("dispatch_paused" if is_paused else "dispatch_resumed", has_changed=has_changed)
        return has_changed

    async def pause_task(self, task: TaskId, *, is_paused: bool) -> None:
        now = self._clock.now()
        await self._database.write(lambda connection: tasks.pause(connection, task, now, is_paused=is_paused))

    async def findings(self) -> Sequence[Finding]:
        """What keeps everything from starting now."""
        return await self._database.read(lambda connection: found(connection, self._clock.now()))

    def _situation(self, connection: Connection, now: datetime) -> Situation:
        """Whether the model answers again is looked up here, since only rows tell it."""
        paused = dispatch.pause_rows(connection)
        pause = paused.get(PauseKind.ACCOUNT)
        if pause and now >= pause.until and dispatch.has_answered(connection, pause):
            dispatch.end_pause(connection, PauseKind.ACCOUNT)
            del paused[PauseKind.ACCOUNT]
            log.info("account_resumed", paused_since=moment(pause.since))
        return dispatch.situation(connection, now, paused)

    def _admit(self, connection: Connection, now: datetime) -> Round:
        return self._judge(connection, self._situation(connection, now), now)

    def _judge(self, connection: Connection, situation: Situation, now: datetime) -> Round:
        waiting = {one.of.run: one for one in dispatch.waiting(connection)}
        admitted = admit((one.of for one in waiting.values()), situation, self._limits)
        changed = [(run, reason) for run, reason in admitted.waits if waiting[run].reason != reason]
        for run in admitted.starts:
            dispatch.admitted(connection, run, now)
        dispatch.set_waits(connection, changed)
        told = [waiting[run].task for run in admitted.starts if waiting[run].reason]
        told += [waiting[run].task for run, _ in changed]
        return Round(admitted.starts, tuple(told), _again(situation, [one for _, one in admitted.waits], now))

    def _forbidden(self, connection: Connection, run: RunId, now: datetime) -> Item | None:
        """What may have changed since it was admitted. Its slot is its own, whatever the limits are now."""
        row = dispatch.open_one(connection, run)
        if row is None or row.of.is_task_paused:
            return pause_of_task(is_posted=row is not None and row.of.is_posted)
        situation = self._situation_read(connection, now)
        return stopped(situation, replace(self._limits, runs=len(situation.started) + 1, runs_per_day=0))

    def _situation_read(self, connection: Connection, now: datetime) -> Situation:
        """The run itself is no probe that it would have to wait for."""
        found = dispatch.situation(connection, now)
        return replace(found, account=replace(found.account, is_on_probe=False))


def found(connection: Connection, now: datetime) -> list[Finding]:
    """Pauses of all dispatch, for those who look whether all is well."""
    paused, told = dispatch.pause_rows(connection), list[Finding]()
    if operator := paused.get(PauseKind.OPERATOR):
        told.append(Finding("dispatch_paused", Level.MISSING, about(since=moment(operator.since))))
    account = paused.get(PauseKind.ACCOUNT)
    if account and not (now >= account.until and dispatch.has_answered(connection, account)):
        until = about(until=moment(account.until))
        told.append(Finding("account_paused", Level.MISSING, until, _words_of(account, now)))
    return told


def _words_of(pause: AccountPause, now: datetime) -> str:
    if now >= pause.until:
        return "account_tries"
    return "account_guess" if pause.guesses else ""


def _again(situation: Situation, reasons: Sequence[Item], now: datetime) -> float | None:
    codes = {reason.code for reason in reasons}
    if not codes & _OF_A_MOMENT:
        return None
    if "account_on_probe" in codes:
        return PROBE_AGAIN_S
    until = situation.account.paused_until or situation.day.ends
    return min(max((until - now.astimezone(UTC)).total_seconds(), 0.05), LOOK_AGAIN_S)
