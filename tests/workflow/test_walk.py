"""An exhaustive walk: every order of a few events, with `decide` applied after each as the service does."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations_with_replacement

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
from orchestrator.domain.model import Branch, ReviewPolicy, Sha, Stage, Switches, Task, UserId
from orchestrator.domain.run import Outcome, RoleVerdict, RunState, VerdictWord
from orchestrator.domain.tracker import CommentId
from orchestrator.qg.facts import NOT_NEEDED, Absent, Facts, Remark, RunFact, Us
from orchestrator.qg.verdict import Passed, Unknown
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import Decision, EnsurePullRequest, PublishReview, StartRun
from orchestrator.workflow.needs import needs

SMALL = replace(PROJECT, gates=replace(PROJECT.gates, returns_per_cause=1, returns_in_all=2))
START = replace(TASK, stage=Stage.ANALYSIS, switches=Switches())
PEOPLE = (ANNA, BORIS)
CARLA = "carla"
"""A person in Gitea, who reviews."""
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
    "object",
    "dismiss",
    "close",
)


class Reviewers(StrEnum):
    """Who reviews the code: the project's policy, and whether the reviewing agent has a user of its own."""

    AGENT = "agent"
    PEOPLE = "human"
    BOTH = "both"
    AGENT_WITHOUT_USER = "agent without a user"

    @property
    def policy(self) -> ReviewPolicy:
        return ReviewPolicy.AGENT if self is Reviewers.AGENT_WITHOUT_USER else ReviewPolicy(self.value)

    @property
    def us(self) -> Us:
        return replace(US, reviewer="") if self is Reviewers.AGENT_WITHOUT_USER else US

    @property
    def logins(self) -> tuple[str, ...]:
        """Whose approvals of the head commit it takes."""
        agents = (US.reviewer,) if self in {Reviewers.AGENT, Reviewers.BOTH} else ()
        return agents if self is Reviewers.AGENT else (*agents, CARLA)

    @property
    def is_agent_asked(self) -> bool:
        return self is not Reviewers.PEOPLE


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
    reviewers: Reviewers = Reviewers.AGENT
    ci: str = ""
    reviews: tuple[Review, ...] = ()
    runs: tuple[RunFact, ...] = ()
    has_pull: bool = False
    is_closed: bool = False
    """Somebody closed the pull request and did not merge it."""
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
        "pull": replace(PULL, head=sha(world.head), is_open=not world.is_closed) if world.has_pull else Absent(),
        "rules": BranchRules(("ci/test",)),
        "reviews": world.reviews,
        "checks": (replace(CHECK, state=CheckState(world.ci)),) if world.ci else (),
    }
    wanted = needs(task, is_run_open=any(run.state is not RunState.ENDED for run in world.runs))
    looked = {name: value if name in set(wanted) else NOT_NEEDED for name, value in seen.items()}
    return Facts(runs=world.runs, max_attempts=2, us=world.reviewers.us, **looked)  # type: ignore[arg-type]


def settled(task: Task, world: World) -> tuple[Task, World, Decision]:
    """Decided and carried out until nothing changes: at most once a stage, or it would be a loop of ours."""
    gates = replace(SMALL.gates, approvals=world.people, review=world.reviewers.policy)
    project = replace(SMALL, gates=gates)
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
    if world.is_closed:
        yield replace(world, is_closed=False)
    if any(item.code.startswith("human_review") or item.action == "review_again" for item in decision.waiting):
        yield reviewed(world, CARLA, ReviewState.APPROVED)


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
        case "object" if world.has_pull:
            return reviewed(world, CARLA, ReviewState.CHANGES_REQUESTED)
        case "dismiss" if world.reviews and not world.reviews[-1].is_dismissed:
            last = replace(world.reviews[-1], is_dismissed=True)
            return replace(world, reviews=(*world.reviews[:-1], last))
        case "close" if world.has_pull and not world.is_closed:
            return replace(world, is_closed=True)
        case _:
            return None


def reviewed(world: World, login: str, state: ReviewState) -> World:
    review = replace(approval_of(sha(world.head), login, len(world.reviews) + 1), state=state)
    return replace(world, reviews=(*world.reviews, review))


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
    is_there = world.is_built and world.has_pull and not world.is_closed
    return (
        is_approved and is_there and world.ci == "success" and is_reviewed(world) and judged(world, Stage.TESTING)
    )


def is_reviewed(world: World) -> bool:
    """All who are asked approved this very commit last; and nobody else's last word is a change request."""
    last = {one.author: one for one in world.reviews}
    given = [last.get(login) for login in world.reviewers.logins]
    if not all(one and is_approval(one, world) for one in given):
        return False
    if world.reviewers.is_agent_asked and not judged(world, Stage.REVIEW):
        return False
    return all(one.is_dismissed or one.state is ReviewState.APPROVED for one in last.values())


def is_approval(one: Review, world: World) -> bool:
    return one.state is ReviewState.APPROVED and not one.is_dismissed and one.commit == sha(world.head)


def judged(world: World, stage: Stage) -> bool:
    """The agent's last word on this very commit is the good one."""
    good = {Stage.REVIEW: VerdictWord.APPROVED, Stage.TESTING: VerdictWord.PASSED}[stage]
    looked = [one for one in world.runs if one.stage is stage and one.base == sha(world.head) and one.verdict]
    return bool(looked) and looked[-1].verdict == RoleVerdict(good, "why")


def known_since(world: World) -> int:
    """When people were first asked about the architecture that is there; before that nothing is said of it."""
    return max(world.design, world.asked_first) if world.asked_design == world.design else 10**6


def are_agreed(world: World, seen: int, *, is_of_design: bool) -> bool:
    """All people's last word on the documents that are there approves."""
    words = [one for one in world.remarks if one.order > seen > 0 and one.is_of_design == is_of_design]
    last = {one.who: one.line for one in words}
    return list(last.values()) == [":approved:"] * world.people


State = tuple[Task, World]
Walk = tuple[int, Reviewers, tuple[str, ...]]
"""How many approvers there are, who reviews, and what troubles may come in whatever order."""


def walk(
    troubles_in_all: tuple[str, ...], people: int, reviewers: Reviewers
) -> dict[State, tuple[Decision, list[State]]]:
    """Every reachable state at rest, what was decided there, and where it may go."""
    task, world, decision = settled(START, World(spare=troubles_in_all, people=people, reviewers=reviewers))
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


OF_DOCUMENTS = ("approve", "edit_brd", "edit_design", "withdraw", "reject")
OF_REVIEWS = ("object", "dismiss", "close", "push", "review_no", "red")


def walks(people: int, who: Reviewers, troubles: Sequence[str], number: int) -> list[Walk]:
    return [(people, who, chosen) for chosen in combinations_with_replacement(troubles, number)]


WALKS = [*walks(1, Reviewers.AGENT, TROUBLES, 2), *walks(1, Reviewers.BOTH, OF_REVIEWS, 2)]
LONG_WALKS = [
    *walks(2, Reviewers.AGENT, OF_DOCUMENTS, 2),
    *walks(1, Reviewers.AGENT, TROUBLES, 3),
    *(one for who in Reviewers if who is not Reviewers.AGENT for one in walks(1, who, TROUBLES, 2)),
    *(one for who in Reviewers if who is not Reviewers.AGENT for one in walks(1, who, OF_REVIEWS, 3)),
]
"""With two people there are ten times as many states, and as many with a third trouble."""


def proves(people: int, reviewers: Reviewers, chosen: tuple[str, ...]) -> None:
    """No state is `ready` with a gate closed, each rests for a reason, and from each the end is reached."""
    found = walk(chosen, people, reviewers)
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


@pytest.mark.parametrize(("people", "reviewers", "chosen"), WALKS)
def test_no_order_of_events_reaches_ready_with_a_gate_closed_or_rests_without_a_reason(
    people: int, reviewers: Reviewers, chosen: tuple[str, ...]
) -> None:
    proves(people, reviewers, chosen)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("people", "reviewers", "chosen"), LONG_WALKS)
def test_nightly_nor_does_any_longer_order_of_events(
    people: int, reviewers: Reviewers, chosen: tuple[str, ...]
) -> None:
    proves(people, reviewers, chosen)
