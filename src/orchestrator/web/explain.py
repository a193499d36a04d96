"""Why a task is where it is, as a value for API and command line. Pure: rows in, answer out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.model import Cause, GateOptions, Stage, Task
from orchestrator.domain.roles import Language
from orchestrator.qg.facts import Facts
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, Waiting, items
from orchestrator.store.approvals import Approval
from orchestrator.store.decisions import Told
from orchestrator.store.tasks import SINCE
from orchestrator.store.views import TaskStory
from orchestrator.words.sentences import sentence
from orchestrator.workflow.decision import Decision, StartRun
from orchestrator.workflow.money import Spending, spendings
from orchestrator.workflow.pipeline import STEPS, Step, place, step_of_stage
from orchestrator.workflow.publish import MAX_ANSWERS
from orchestrator.workflow.rounds import attempts_of_round, without_progress

LOOK_BACK = 200
"""Decisions that are looked at for the age of what is missing."""
_CHANGING = frozenset({"have", "state", "detail", "attempt", "attempts", "returns", "returns_in_all", "count"})
"""Parameters that may change while the same thing stays missing."""
_OF_COMMENTS = frozenset({"approval_not_counted", "approved", "document_rejected", "rejection_edited"})
"""What one comment says: of another comment it is another thing."""


class GateState(StrEnum):
    """`unknown`: we could not look. `not_reached`: the task has not come so far."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One thing that a gate holds. `since` is the time of the oldest decision of an unbroken run that says so, or
    of the first look that found it, where no decision does; `is_older`: the run goes on beyond what was looked at.
    """

    code: str
    text: str
    params: dict[str, str]
    evidence: list[str]
    since: datetime | None
    since_decision: int | None
    age_s: float | None
    is_older: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking(Held):
    """One thing that is missing or wrong, who can mend it, and by what."""

    who: str
    action: str


@dataclass(frozen=True, slots=True)
class Gate:
    """`verdict` is the word of `decision`, the newest that judged this gate: passed, waiting, failed, unknown. One
    that was not asked yet tells nothing.
    """

    gate: str
    leaves: str
    state: GateState
    verdict: str | None
    decision: int | None
    held: list[Held]
    missing: list[Lacking]


@dataclass(frozen=True, slots=True)
class Cap:
    """How much of a limit is used."""

    used: int
    limit: int
    left: int


@dataclass(frozen=True, slots=True)
class Money:
    """In US dollars (notional for a subscription), of the runs that are over."""

    spent_usd: float
    limit_usd: float
    left_usd: float


@dataclass(frozen=True, slots=True)
class Limits:
    """`returns` by cause. `attempts` are those that the cap of the stage's round counts; None without a role.
    What counts or costs too much is None before the first decision, money also where it has no limit.
    """

    returns: dict[str, Cap]
    returns_in_all: Cap
    attempts: Cap | None
    attempts_made: int
    """At this stage, in every round."""
    runs_without_progress: Cap | None
    answers: Cap
    """To comments that ordered or approved something; beyond these nothing is answered any more."""
    money: Money | None
    money_without_progress: Money | None


@dataclass(frozen=True, slots=True)
class SwitchPositions:
    """What approvers set by commands. `budget_usd` 0: as configured."""

    is_paused: bool
    is_cancelled: bool
    budget_usd: int
    allowed_paths_at: list[str]


@dataclass(frozen=True, slots=True)
class DecisionId:
    """The newest stored decision."""

    id: int
    decided_at: datetime
    config_digest: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a task is and why. `unblock` is what it waits for, the closest first; `approvals` are those that once
    opened a gate, though the documents may have changed since. `item_link` is where browsers see the work item.
    """

    key: str
    title: str
    item_link: str | None
    stage: str
    repo: str | None
    branch: str
    agent_running: bool
    unblock: list[Lacking]
    gates: list[Gate]
    approvals: list[Approval]
    limits: Limits
    switches: SwitchPositions
    decision: DecisionId | None


@dataclass(frozen=True, slots=True)
class _Since:
    """By a decision; or `at` itself, of what no decision knows."""

    told: Told | None
    is_older: bool = False
    at: datetime | None = None


def explain(
    story: TaskStory,
    options: GateOptions | None,
    now: datetime,
    language: Language,
    item_link: str | None = None,
) -> Explanation:
    """`options` are the project's as configured now; None: those that the newest decision rested on."""
    teller = _Teller(story, now, language)
    newest = story.decisions[0] if story.decisions else None
    decided = newest.decision if newest else Decision(Stage(story.task.stage))
    task = story.task
    return Explanation(
        key=task.key,
        title=task.title,
        item_link=item_link,
        stage=task.stage,
        repo=task.repo,
        branch=task.branch,
        agent_running=task.agent_running,
        unblock=teller.unblock(),
        gates=[teller.gate(step) for step in STEPS if step.gate],
        approvals=list(story.approvals),
        limits=_limits(story, decided, options or _options(story)),
        switches=SwitchPositions(
            is_paused=decided.switches.is_paused,
            is_cancelled=decided.switches.is_cancelled,
            budget_usd=decided.switches.budget_usd,
            allowed_paths_at=list(decided.switches.allowed),
        ),
        decision=DecisionId(newest.id, newest.decided_at, newest.config_digest) if newest else None,
    )


def same(one: Item, other: Item) -> bool:
    """The same thing is missing, though its counts and states may have changed."""
    if one.code in _OF_COMMENTS and one.evidence != other.evidence:
        return False
    return one.code == other.code and _lasting(one) == _lasting(other)


def _lasting(item: Item) -> tuple[tuple[str, str], ...]:
    return tuple(param for param in item.params if param[0] not in _CHANGING)


def said_since(decisions: Sequence[Told], said: Callable[[Decision], Sequence[Item] | None], item: Item) -> _Since:
    """The oldest decision of the unbroken run that says `item`. A decision of which `said` is None says nothing
    of it, and breaks nothing.
    """
    oldest: Told | None = None
    for told in decisions:
        found = said(told.decision)
        if found is None:
            continue
        if not any(same(item, one) for one in found):
            return _Since(oldest)
        oldest = told
    return _Since(oldest, is_older=oldest is not None and len(decisions) >= LOOK_BACK)


def _verdict_of(decision: Decision, gate: str) -> Verdict | None:
    return dict(decision.verdicts).get(gate)


def _options(story: TaskStory) -> GateOptions:
    return story.basis.project.gates if story.basis and story.basis.project else GateOptions()


class _Teller:
    """Makes items into words and ages."""

    def __init__(self, story: TaskStory, now: datetime, language: Language) -> None:
        self._story = story
        self._now = now
        self._language = language

    def unblock(self) -> list[Lacking]:
        return [self._lacking(item, self._since(item)) for item in self._story.task.waiting]

    def gate(self, step: Step) -> Gate:
        told, verdict = self._newest(step.gate)
        state = self._state(step, told, verdict)
        is_told = told is not None and state is not GateState.NOT_REACHED
        said = verdict if is_told else None
        held = said.held if said and (isinstance(said, Passed) or state is not GateState.OPEN) else ()
        missing = items(said) if said and state is not GateState.OPEN else ()
        return Gate(
            gate=step.gate,
            leaves=step.stage.value,
            state=state,
            verdict=_word(verdict) if is_told else None,
            decision=told.id if told and is_told else None,
            held=[self._held(item, self._since_in(step.gate, item, _held)) for item in held],
            missing=[self._lacking(item, self._since_in(step.gate, item, items)) for item in missing],
        )

    def _newest(self, gate: str) -> tuple[Told | None, Verdict | None]:
        for told in self._story.decisions:
            if (verdict := _verdict_of(told.decision, gate)) is not None:
                return told, verdict
        return None, None

    def _state(self, step: Step, told: Told | None, verdict: Verdict | None) -> GateState:
        """By its verdict when the last decision that judged gates judged this one. Else the stage says it: a gate
        that was passed is open, one that is still to come is not reached, whatever was said of it before.
        """
        stage = Stage(self._story.task.stage)
        is_last = told is not None and told is self._last_judging()
        if is_last or stage is Stage.DONE or self._is_posted():
            return _STATES[_word(verdict)]
        if place(step.stage) == place(stage):
            return GateState.UNKNOWN if isinstance(verdict, Unknown) else GateState.CLOSED
        return GateState.OPEN if place(step.stage) < place(stage) else GateState.NOT_REACHED

    def _last_judging(self) -> Told | None:
        return next((told for told in self._story.decisions if told.decision.verdicts), None)

    def _is_posted(self) -> bool:
        return self._story.task.plane_id is None

    def _since(self, item: Item) -> _Since:
        """Of something that is waited for: of the gate that it keeps closed, else as long as it was waited for."""
        if began := dict(item.params).get(SINCE):
            return _Since(None, at=datetime.fromisoformat(began))
        for gate in (step.gate for step in STEPS if step.gate):
            _, verdict = self._newest(gate)
            if verdict is not None and any(same(item, one) for one in items(verdict)):
                return self._since_in(gate, item, items)
        return said_since(self._story.decisions, lambda decision: decision.waiting, item)

    def _since_in(self, gate: str, item: Item, of: Callable[[Verdict], Sequence[Item]]) -> _Since:
        def said(decision: Decision) -> Sequence[Item] | None:
            verdict = _verdict_of(decision, gate)
            return None if verdict is None else of(verdict)

        return said_since(self._story.decisions, said, item)

    def _held(self, item: Item, since: _Since) -> Held:
        at = since.told.decided_at if since.told else since.at
        return Held(
            code=item.code,
            text=sentence(item, self._language),
            params=dict(item.params),
            evidence=list(item.evidence),
            since=at,
            since_decision=since.told.id if since.told else None,
            age_s=max((self._now - at).total_seconds(), 0.0) if at else None,
            is_older=since.is_older,
        )

    def _lacking(self, item: Item, since: _Since) -> Lacking:
        held = self._held(item, since)
        return Lacking(
            **{one.name: getattr(held, one.name) for one in fields(held)}, who=item.who, action=item.action
        )


def _held(verdict: Verdict) -> tuple[Item, ...]:
    return verdict.held


def _word(verdict: Verdict | None) -> str:
    match verdict:
        case None:
            return ""
        case Passed():
            return "passed"
        case Waiting():
            return "waiting"
        case Failed():
            return "failed"
        case Unknown():
            return "unknown"


_STATES = {
    "": GateState.NOT_REACHED,
    "passed": GateState.OPEN,
    "waiting": GateState.CLOSED,
    "failed": GateState.CLOSED,
    "unknown": GateState.UNKNOWN,
}


def _limits(story: TaskStory, decided: Decision, options: GateOptions) -> Limits:
    used, then = [one.cause for one in decided.returns], _as_decided(story, decided)
    whole, in_vain = spendings(*then) if then else (None, None)
    return Limits(
        returns={cause.value: _cap(used.count(cause), options.returns_per_cause) for cause in Cause},
        returns_in_all=_cap(len(used), options.returns_in_all),
        attempts=next(_attempts(story, decided), None),
        attempts_made=sum(run.stage == story.task.stage for run in story.task.runs),
        runs_without_progress=_cap(without_progress(*then), then[1].max_runs_without_progress) if then else None,
        answers=_cap(min(decided.switches.answered, MAX_ANSWERS), MAX_ANSWERS),
        money=_money(whole),
        money_without_progress=_money(in_vain),
    )


def _as_decided(story: TaskStory, decided: Decision) -> tuple[Task, Facts] | None:
    """The task as the newest decision leaves it, and the facts that it saw."""
    if story.basis is None:
        return None
    return replace(story.basis.task, returns=decided.returns, switches=decided.switches), story.basis.facts


def _money(one: Spending | None) -> Money | None:
    if one is None or not one.budget_usd:
        return None
    return Money(one.spent_usd, one.budget_usd, max(0.0, one.budget_usd - one.spent_usd))


def _attempts(story: TaskStory, decided: Decision) -> Iterator[Cap]:
    """The runs that the newest decision saw, and those that it starts."""
    step, then = step_of_stage(Stage(story.task.stage)), _as_decided(story, decided)
    if step.role is None or then is None:
        return
    starts = sum(isinstance(one, StartRun) and one.stage is step.stage for one in decided.actions)
    yield _cap(attempts_of_round(*then, step) + starts, then[1].max_attempts)


def _cap(used: int, limit: int) -> Cap:
    return Cap(used, limit, max(limit - used, 0))
