"""How often we call a system: a token bucket with room kept for what is urgent, and a pause after a refusal."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum

import structlog

from orchestrator.domain.errors import Permanent, Transient

log = structlog.get_logger()
MAX_WAITING = 20_000
"""Calls that may wait for their turn; the next one is told to come back later."""
MAX_HOLD_S = 60.0
"""A pause longer than this is not waited for inside a call: the caller is told how long it takes."""
MAX_PAUSE_S = 3600.0
PAUSE_S = 15.0
"""For a 429 that does not say how long."""
RUN_DUE_S, SHOW_DUE_S, BACKGROUND_DUE_S = 10.0, 5.0, 15.0
"""So long may others hold up what is about a run, what is shown, and the background; then one of it goes first."""
REFUSED_PAUSE_S = 300.0
REFUSED_SPACING_S = 40.0
"""With many scopes refused at once each waits longer, so that all together ask less than twice a minute."""
_CHECK_S = 1.0


class Urgency(IntEnum):
    """Whose turn comes first."""

    LOOK = 0
    """Somebody waits for a decision."""
    RUN = 1
    """An agent's run ended or is to begin. Runs take minutes: nobody minds seconds."""
    SHOW = 2
    """It was decided, and people are shown it: they mind some seconds less."""
    BACKGROUND = 3
    """Nobody waits."""


class Work:
    """How urgent the calls of some work are, until somebody waits for it: then all of them are."""

    def __init__(self, urgency: Urgency = Urgency.LOOK) -> None:
        self.planned = urgency
        self._hurried = asyncio.Event()

    @property
    def urgency(self) -> Urgency:
        return Urgency.LOOK if self.is_hurried else self.planned

    @property
    def is_hurried(self) -> bool:
        return self._hurried.is_set()

    def hurry(self) -> None:
        """Also the call that waits for its turn already."""
        self._hurried.set()

    async def hurried(self) -> None:
        """Returns when somebody waits for it."""
        await self._hurried.wait()


_work: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def working(work: Work) -> Iterator[None]:
    """Calls inside the block, and in tasks that are made inside it, are as urgent as `work` is at their moment."""
    before = _work.set(work)
    try:
        yield
    finally:
        _work.reset(before)


def in_background() -> AbstractContextManager[None]:
    """Calls inside the block let all others go first: for what nobody waits for.

    Do not wake anybody inside the block whose look is urgent: a task that is made here keeps its place for life.
    """
    return working(Work(Urgency.BACKGROUND))


@contextmanager
def showing() -> Iterator[None]:
    """Calls inside the block let those go first that lead to a decision."""
    work = _work.get() or Work()
    before, work.planned = work.planned, max(work.planned, Urgency.SHOW)
    try:
        with working(work):
            yield
    finally:
        work.planned = before


def urgency() -> Urgency:
    work = _work.get()
    return Urgency.LOOK if work is None else work.urgency


@dataclass(frozen=True, slots=True)
class Timing:
    """Time as it is needed here, so that tests can move it: `Timing(clock.monotonic, …)`."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


REAL_TIME = Timing()


_DUE_S = {Urgency.RUN: RUN_DUE_S, Urgency.SHOW: SHOW_DUE_S, Urgency.BACKGROUND: BACKGROUND_DUE_S}


@dataclass(slots=True)
class _Turns:
    """The line of one urgency, and when one of it went last."""

    went_at: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Pace:
    """Gives turns: first come, first served in each rank; at most a sixth more than `per_minute` in any minute.

    The background leaves five eighths of the bucket to others, what is about a run three eighths, and what is
    shown a quarter, so that looks which somebody waits for go at once. While others use everything up, one call of
    each of these goes every so many seconds (RUN_DUE_S, …).
    """

    def __init__(self, system: str, per_minute: int, timing: Timing) -> None:
        self._system = system
        self._timing = timing
        self._rate = per_minute / 60
        self._burst = float(max(1, per_minute // 6))
        self._reserves = {
            Urgency.RUN: math.floor(self._burst * 3 / 8),
            Urgency.SHOW: math.floor(self._burst / 4),
            Urgency.BACKGROUND: math.floor(self._burst * 5 / 8),
        }
        self._tokens = self._burst
        self._filled_at = timing.monotonic()
        self._lines = {one: _Turns(self._filled_at) for one in Urgency}

    async def turn(self, check: Callable[[], None]) -> None:
        """Returns when it is this call's turn. `check` is asked while it waits, and may raise."""
        if self.waiting >= MAX_WAITING:
            raise self._busy("too many calls wait already", MAX_HOLD_S)
        if self._is_at_once(urgency(), check):
            return
        work = _work.get()
        if work is None or urgency() is Urgency.LOOK or not await self._turn_unless_hurried(work, check):
            await self._turn(Urgency.LOOK, check)

    def _is_at_once(self, urgency: Urgency, check: Callable[[], None]) -> bool:
        """Mostly nobody is in line, and there is room."""
        line = self._lines[urgency]
        if line.waiting:
            return False
        check()
        if self._delay(urgency) > 0:
            return False
        self._take(line)
        return True

    def _take(self, line: _Turns) -> None:
        self._tokens -= 1
        line.went_at = self._timing.monotonic()

    async def _turn(self, urgency: Urgency, check: Callable[[], None]) -> None:
        line = self._lines[urgency]
        line.waiting += 1
        try:
            async with line.lock:  # fair, and only its holder looks at the bucket
                await self._token(urgency, check)
        finally:
            line.waiting -= 1

    async def _turn_unless_hurried(self, work: Work, check: Callable[[], None]) -> bool:
        """False when somebody came to wait for it first: then it had no turn, and left the line."""
        turn = asyncio.ensure_future(self._turn(work.urgency, check))
        hurried = asyncio.ensure_future(work.hurried())
        try:
            await asyncio.wait((turn, hurried), return_when=asyncio.FIRST_COMPLETED)
            if turn.done():
                await turn  # raises what `check` did
            return turn.done()
        finally:
            await _ended(turn, hurried)

    @property
    def left(self) -> int:
        """Calls that could go at once."""
        self._fill()
        return max(0, int(self._tokens))

    @property
    def paused_s(self) -> float:
        """How long nobody goes, as the other side asked."""
        return max(0.0, self._filled_at - self._timing.monotonic())

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return sum(line.waiting for line in self._lines.values())

    def told(self, remaining: int | None) -> None:
        """What the other side says is left: others may call with our key. Their time of reset is not heeded:
        Plane always names now + 60 s, and the truth comes with a 429.
        """
        if remaining is not None:
            self._fill()
            self._tokens = min(self._tokens, float(remaining))

    def pause(self, seconds: float | None) -> None:
        """Nobody goes for so long; then one at once and the others at the usual rate."""
        until = self._timing.monotonic() + min(PAUSE_S if seconds is None else seconds, MAX_PAUSE_S)
        self._tokens, self._filled_at = 1.0, max(until, self._filled_at)

    async def _token(self, urgency: Urgency, check: Callable[[], None]) -> None:
        while True:
            check()
            delay = self._delay(urgency)
            if delay <= 0:
                break
            await self._timing.sleep(min(delay, _CHECK_S))
        self._take(self._lines[urgency])

    def _delay(self, urgency: Urgency) -> float:
        self._fill()
        now = self._timing.monotonic()
        if now < self._filled_at:
            return self._paused(self._filled_at - now)
        if urgency is Urgency.LOOK:
            return self._until(2 if any(self._is_overdue(one, now) for one in _DUE_S) else 1)
        due_s = self._lines[urgency].went_at + _DUE_S[urgency] - now
        return min(self._until(self._reserves[urgency] + 1), max(due_s, self._until(1)))

    def _is_overdue(self, urgency: Urgency, now: float) -> bool:
        line = self._lines[urgency]
        return line.waiting > 0 and line.went_at + _DUE_S[urgency] <= now

    def _paused(self, seconds: float) -> float:
        if seconds > MAX_HOLD_S:
            raise self._busy("it asked for a pause", seconds)
        return seconds

    def _until(self, tokens: int) -> float:
        lack = min(tokens, self._burst) - self._tokens
        return lack / self._rate if lack > 1e-6 else 0.0

    def _fill(self) -> None:
        """`_filled_at` lies in the future during a pause."""
        now = self._timing.monotonic()
        if now > self._filled_at:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now  # what is added up may end a rounding error later, which would be a pause

    def _busy(self, why: str, seconds: float) -> Transient:
        return _busy(self._system, why, seconds)


def _busy(system: str, why: str, seconds: float) -> Transient:
    return Transient(f"{system}_busy", f"No call to {system} now: {why}.", retry_after_s=seconds)


async def _ended(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class _Refusal:
    code: str
    message: str
    hint: str
    until: float


@dataclass(slots=True)
class Circuit:
    """After a refusal nothing is sent for some minutes; then one call tries, and its success ends the pause.

    A scope is what was refused: "" for the whole system (the key is wrong), else one kind of call in one place,
    so that a project that we may not see does not stop the others. Nothing is sent either while the other side
    asked for a pause (a 429 of a system that has no Pace).
    """

    system: str
    timing: Timing
    pause_s: float = REFUSED_PAUSE_S
    _refusals: dict[str, _Refusal] = field(default_factory=dict)
    _paused_until: float = -math.inf

    def pause(self, seconds: float) -> None:
        """The other side asked for it; an hour at most, and nobody shortens it."""
        self._paused_until = max(self._paused_until, self.timing.monotonic() + min(seconds, MAX_PAUSE_S))

    @property
    def paused_s(self) -> float:
        """How long nobody goes, as the other side asked."""
        return max(0.0, self._paused_until - self.timing.monotonic())

    def check(self, scope: str) -> None:
        """Raises the refusal that still holds, or Transient with what is left of a pause."""
        now = self.timing.monotonic()
        if now < self._paused_until:
            raise _busy(self.system, "it asked for a pause", self.paused_s)
        for refusal in self._of(scope):
            if now < refusal.until:
                raise Permanent(refusal.code, refusal.message, hint=refusal.hint)

    def enter(self, scope: str) -> None:
        """As `check`; whoever passes after a pause is the one that tries: the others go on waiting."""
        self.check(scope)
        for refusal in self._of(scope):
            refusal.until = self._again_at()

    def refused(self, scope: str, error: Permanent) -> None:
        if scope not in self._refusals:
            log.error("calls_paused", system=self.system, scope=scope, code=error.code, message=error.message)
        refusal = _Refusal(error.code, error.message, error.hint, 0.0)
        self._refusals[scope] = refusal
        refusal.until = self._again_at()

    def succeeded(self, scope: str) -> None:
        for name in {"", scope} & self._refusals.keys():
            del self._refusals[name]
            log.info("calls_resumed", system=self.system, scope=name)

    @property
    def refusals(self) -> tuple[Permanent, ...]:
        """What is refused at present; for /ready and doctor."""
        known = sorted(self._refusals.items())
        return tuple(Permanent(one.code, one.message, hint=one.hint) for _, one in known)

    def _of(self, scope: str) -> list[_Refusal]:
        return [self._refusals[name] for name in ("", scope) if name in self._refusals]

    def _again_at(self) -> float:
        return self.timing.monotonic() + max(self.pause_s, REFUSED_SPACING_S * len(self._refusals))
