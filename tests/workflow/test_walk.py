"""An exhaustive walk: every order of a few events, with `decide` applied after each as the service does."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from green import (
    ANNA,
    ARCHITECTURE,
    BORIS,
    BRD,
    CHECK,
    DEV_TASK,
    ITEM,
    PROJECT,
    PULL,
    REPORT,
    TASK,
    US,
    applied,
    approval_of,
)
from orchestrator.domain.forge import BranchRules, CheckState, Review, ReviewState
from orchestrator.domain.model import Branch, Sha, Stage, Switches, Task, UserId
from orchestrator.domain.run import Outcome, RoleVerdict, RunState, VerdictWord
from orchestrator.domain.tracker import CommentId
from orchestrator.qg.facts import NOT_NEEDED, Absent, Facts, Remark, RunFact
from orchestrator.qg.verdict import Passed, Unknown
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import Decision, EnsurePullRequest, PublishReview, StartRun
from orchestrator.workflow.needs import needs

SMALL = replace(PROJECT, gates=replace(PROJECT.gates, returns_per_cause=1, returns_in_all=2))
START = replace(TASK, stage=Stage.ANALYSIS, switches=Switches())
PEOPLE = (ANNA, BORIS)
PARKED = {"cap_reached", "run_not_successful", "output_missing", "review_dismissed", "review_superseded"}
TROUBLES = (
    "approve",
    "edit_brd",
    "edit_design",
    "withdraw",
    "reject",
    "red",
    "review_no",
    "test_no",
    "lie",
    "crash",
    "push",
    "silent",
)


@dataclass(frozen=True, slots=True)
class Said:
    """A comment, and what it was meant for: what people were asked about when they wrote it."""

    order: int
    who: UserId
    line: str
    is_of_design: bool


@dataclass(frozen=True, slots=True)
class World:
    """A tiny tracker, forge and runtime. `spare` are the troubles that may still happen."""

    clock: int = 0
    head: int = 0
    brd: int = 0
    """When it was seen; 0: it is not there."""
    design: int = 0
    is_built: bool = False
    remarks: tuple[Said, ...] = ()
    is_design_asked: bool = False
    """People are asked about the architecture, or were and approved, since the BRD was."""
    asked_design: int = 0
    asked_first: int = 0
    """Which architecture that was, and when they were first asked about that."""
    people: int = 1
    """How many approvers there are, who all have to approve."""
    ci: str = ""
    reviews: tuple[Review, ...] = ()
    runs: tuple[RunFact, ...] = ()
    has_pull: bool = False
    spare: tuple[str, ...] = ()


def sha(head: int) -> Sha:
    return Sha(f"{head:040x}")


def facts(world: World, task: Task) -> Facts:
    """Only what the stage needs, as the service looks."""
    docs = (
        *((replace(BRD, blob=f"b{world.brd}", seen=world.brd),) if world.brd else ()),
        *((replace(ARCHITECTURE, blob=f"a{world.design}", seen=world.design),) if world.design else ()),
        *((replace(DEV_TASK, seen=world.design),) if world.design else ()),
        *((replace(REPORT, seen=world.clock),) if world.is_built else ()),
    )
    seen = {
        "item": ITEM,
        "branch": Branch(TASK.branch, sha(world.head)),
        "documents": docs,
        "remarks": tuple(
            Remark(CommentId(f"k{one.order}"), one.who, one.order, is_untouched=True, lines=(one.line,))
            for one in world.remarks
        ),
        "changed_paths": ("src/a.py",) if world.is_built else (),
        "pull": replace(PULL, head=sha(world.head)) if world.has_pull else Absent(),
        "rules": BranchRules(("ci/test",)),
        "reviews": world.reviews,
        "checks": (replace(CHECK, state=CheckState(world.ci)),) if world.ci else (),
    }
    wanted = needs(task, is_run_open=any(run.state is not RunState.ENDED for run in world.runs))
    looked = {name: value if name in set(wanted) else NOT_NEEDED for name, value in seen.items()}
    return Facts(runs=world.runs, max_attempts=2, us=US, **looked)  # type: ignore[arg-type]


def settled(task: Task, world: World) -> tuple[Task, World, Decision]:
    """Decided and carried out until nothing changes: at most once a stage, or it would be a loop of ours."""
    project = replace(SMALL, gates=replace(SMALL.gates, approvals=world.people))
    for _ in range(12):
        decision = decide(project, task, facts(world, task))
        after, moved = applied(task, decision), asked(carried_out(world, decision), decision)
        if (after, moved) == (task, world):
            return task, world, decision
        task, world = after, moved
    raise AssertionError(f"no rest: {task}, {world}")


def carried_out(world: World, decision: Decision) -> World:
    for action in decision.actions:
        match action:
            case StartRun(stage=stage, attempt=attempt, base_sha=base):
                intended = RunFact(stage, attempt, RunState.RUNNING, base=Sha(base))
                world = replace(world, runs=(*world.runs, intended))
            case EnsurePullRequest():
                world = replace(world, has_pull=True)
            case PublishReview(at=at, verdict=verdict, as_comment=False):
                said = replace(approval_of(at, ident=len(world.reviews) + 1), state=verdict)
                world = replace(world, reviews=(*world.reviews, said))
    return world


def asked(world: World, decision: Decision) -> World:
    """As people read it: the architecture is asked about when the BRD is approved."""
    of_brd = dict(decision.verdicts).get("QG-1")
    if of_brd is None or isinstance(of_brd, Unknown):
        return world
    is_asked = isinstance(of_brd, Passed) and world.design > 0
    if is_asked and world.asked_design != world.design:
        world = replace(world, asked_design=world.design, asked_first=world.clock)
    return replace(world, is_design_asked=is_asked)


def pushed(world: World) -> World:
    return replace(world, head=world.head + 1, ci="", clock=world.clock + 1)


def events(world: World, decision: Decision) -> Iterator[World]:
    """Everything that may happen next. People approve when they are asked, or once in vain (a trouble)."""
    yield from troubles(world)
    if world.runs and world.runs[-1].state is not RunState.ENDED:
        yield well_done(world)
    if any(item.code == "approval" for item in decision.waiting):
        yield from (approved(world, who) for who in PEOPLE[: world.people])
    if world.is_built and world.ci != "success":
        yield replace(world, ci="success")


def approved(world: World, who: UserId = ANNA) -> World:
    return said(world, who, ":approved:")


def said(world: World, who: UserId, line: str) -> World:
    """Who said the same of the same last says nothing new."""
    later = world.clock + 1
    words = [one for one in world.remarks if one.who == who and one.is_of_design == world.is_design_asked]
    seen = known_since(world) if world.is_design_asked else world.brd
    if words and words[-1].order > seen and words[-1].line == line:
        return world
    remark = Said(later, who, line, world.is_design_asked)
    return replace(world, clock=later, remarks=(*world.remarks, remark))


def troubles(world: World) -> Iterator[World]:
    for trouble in world.spare:
        happened = trouble_of(world, trouble)
        if happened is not None:
            left = list(world.spare)
            left.remove(trouble)
            yield replace(happened, spare=tuple(left))


def trouble_of(world: World, trouble: str) -> World | None:  # noqa: C901, PLR0911, PLR0912 - one case for each trouble
    is_open = bool(world.runs) and world.runs[-1].state is not RunState.ENDED
    stage = world.runs[-1].stage if is_open else None
    later = world.clock + 1
    match trouble:
        case "edit_brd" if world.brd:
            return replace(pushed(world), brd=later)
        case "edit_design" if world.design:
            return replace(pushed(world), design=later)
        case "approve":
            remark = Said(later, ANNA, ":approved:", world.is_design_asked)
            return replace(world, clock=later, remarks=(*world.remarks, remark))
        case "withdraw" if world.remarks:
            return replace(world, remarks=world.remarks[1:])
        case "reject" if world.brd:
            return said(world, PEOPLE[world.people - 1], ":rejected: no")
        case "red" if world.is_built and not world.ci:
            return replace(world, ci="failure")
        case "review_no" if stage is Stage.REVIEW:
            return ended(world, VerdictWord.CHANGES_REQUESTED)
        case "test_no" if stage is Stage.TESTING:
            return ended(world, VerdictWord.FAILED)
        case "lie" if is_open:
            return ended(world)
        case "silent" if stage in {Stage.REVIEW, Stage.TESTING}:
            return ended(world)
        case "crash" if is_open:
            return ended(world, outcome=Outcome.CRASHED)
        case "push" if world.is_built:
            return pushed(world)
        case _:
            return None


def ended(world: World, word: VerdictWord | None = None, outcome: Outcome = Outcome.SUCCEEDED) -> World:
    verdict = RoleVerdict(word, "why") if word else None
    last = replace(world.runs[-1], state=RunState.ENDED, outcome=outcome, verdict=verdict)
    return replace(world, runs=(*world.runs[:-1], last))


def well_done(world: World) -> World:
    match world.runs[-1].stage:
        case Stage.ANALYSIS:
            return replace(pushed(ended(world)), brd=world.clock + 1)
        case Stage.ARCHITECTURE:
            return replace(pushed(ended(world)), design=world.clock + 1)
        case Stage.DEVELOPMENT:
            return replace(pushed(ended(world)), is_built=True)
        case Stage.REVIEW:
            return ended(world, VerdictWord.APPROVED)
        case _:
            return ended(world, VerdictWord.PASSED)


def is_sound(world: World) -> bool:
    """The oracle: told once more, from the world alone, without a line of the product's."""
    is_approved = are_agreed(world, world.brd, is_of_design=False) and are_agreed(
        world, known_since(world), is_of_design=True
    )
    at_head = [one for one in world.reviews if one.commit == sha(world.head)]
    is_reviewed = bool(at_head) and at_head[-1].state is ReviewState.APPROVED
    looked = [
        one for one in world.runs if one.stage is Stage.TESTING and one.base == sha(world.head) and one.verdict
    ]
    is_tested = bool(looked) and looked[-1].verdict == RoleVerdict(VerdictWord.PASSED, "why")
    return (
        is_approved and world.is_built and world.has_pull and world.ci == "success" and is_reviewed and is_tested
    )


def known_since(world: World) -> int:
    """When people were first asked about the architecture that is there; before that nothing is said of it."""
    return max(world.design, world.asked_first) if world.asked_design == world.design else 10**6


def are_agreed(world: World, seen: int, *, is_of_design: bool) -> bool:
    """All people's last word on the documents that are there approves."""
    words = [one for one in world.remarks if one.order > seen > 0 and one.is_of_design == is_of_design]
    last = {one.who: one.line for one in words}
    return list(last.values()) == [":approved:"] * world.people


State = tuple[Task, World]


def walk(troubles_in_all: tuple[str, ...], people: int = 1) -> dict[State, tuple[Decision, list[State]]]:
    """Every reachable state at rest, what was decided there, and where it may go."""
    task, world, decision = settled(START, World(spare=troubles_in_all, people=people))
    found: dict[State, tuple[Decision, list[State]]] = {(task, world): (decision, [])}
    ahead = deque(found)
    while ahead:
        here = ahead.popleft()
        for event in events(here[1], found[here][0]):
            task, world, decision = settled(here[0], event)
            if (task, world) not in found:
                found[task, world] = (decision, [])
                ahead.append((task, world))
            found[here][1].append((task, world))
    return found


def reaches(found: dict[State, tuple[Decision, list[State]]], ends: set[State]) -> set[State]:
    before: dict[State, list[State]] = {state: [] for state in found}
    for state, (_, following) in found.items():
        for one in following:
            before[one].append(state)
    reached, ahead = set(ends), deque(ends)
    while ahead:
        for state in before[ahead.popleft()]:
            if state not in reached:
                reached.add(state)
                ahead.append(state)
    return reached


PAIRS = [(one, two) for place, one in enumerate(TROUBLES) for two in TROUBLES[place:]]
VOTES = ("approve", "edit_brd", "edit_design", "withdraw", "reject")
OF_TWO = [(one, two) for place, one in enumerate(VOTES) for two in VOTES[place:]]
BY_NIGHT = pytest.mark.nightly
"""With two people there are ten times as many states."""
WALKS = [
    *(pytest.param(1, pair) for pair in PAIRS),
    *(pytest.param(2, pair, marks=BY_NIGHT) for pair in OF_TWO),
]


@pytest.mark.parametrize(("people", "pair"), WALKS)
def test_no_order_of_events_reaches_ready_with_a_gate_closed_or_rests_without_a_reason(
    people: int, pair: tuple[str, str]
) -> None:
    found = walk(pair, people)
    ends = set()
    for (task, world), (decision, _) in found.items():
        assert decision.waiting, (task, world)
        assert all(item.who and item.action and item.code != "look_due" for item in decision.waiting)
        assert len(task.returns) <= 2
        if task.stage is Stage.READY and decision.waiting[0].code == "merge":
            assert is_sound(world), world
            ends.add((task, world))
    assert ends
    parked = {state for state, (decision, _) in found.items() if PARKED & {item.code for item in decision.waiting}}
    stuck = set(found) - reaches(found, ends | parked)
    assert not stuck, next(iter(stuck))
