"""`decide`: facts in, decision out. No clock, no I/O: the same facts give the same bytes for ever."""

from dataclasses import replace

import msgspec

from orchestrator.domain.forge import PullRequest
from orchestrator.domain.model import Project, Stage, Switches, Task, WorkItem
from orchestrator.qg import approvals, checks, documents, runs
from orchestrator.qg.approvals import Ballots
from orchestrator.qg.facts import Absent, Facts, Unobserved
from orchestrator.qg.intake import unmapped
from orchestrator.qg.pull import branch_gone
from orchestrator.qg.unseen import unseen
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, items
from orchestrator.workflow import halts
from orchestrator.workflow.decision import (
    Action,
    Decision,
    EnsureBranch,
    EnsurePullRequest,
    Identity,
    StopRun,
)
from orchestrator.workflow.money import overspent
from orchestrator.workflow.names import branch_name
from orchestrator.workflow.pipeline import GATED, place, step_of_role, step_of_stage
from orchestrator.workflow.posted import decide_posted
from orchestrator.workflow.publish import answered, answers, bounded, publications
from orchestrator.workflow.rounds import Parked, attempt, send_back, with_rework
from orchestrator.workflow.switches import carry_out


def decide(project: Project | None, task: Task, facts: Facts) -> Decision:
    """The next decision for a task. Called again with its own result applied, it changes nothing more."""
    if task.stage is Stage.CREATED:
        return _leave_created(project, task, facts)
    if task.stage is Stage.DONE:
        return Decision(Stage.DONE, switches=task.switches, returns=task.returns)
    return _work(project, task, facts)


def _leave_created(project: Project | None, task: Task, facts: Facts) -> Decision:
    verdict = checks.intake(project, task, facts)
    verdicts = (("QG-0", verdict),)
    identity = _identity(project, task, facts)
    created = Decision(Stage.CREATED, verdicts=verdicts, switches=task.switches, returns=task.returns)
    if not isinstance(verdict, Passed) or identity is None:
        return replace(created, waiting=items(verdict) or (unmapped(task),))
    named = replace(created, identity=identity)
    if isinstance(facts.branch, Unobserved):
        return replace(named, waiting=unseen(facts.branch))
    if isinstance(facts.branch, Absent):
        ensure = EnsureBranch(identity.repo, identity.branch, identity.base_branch)
        missing = Item("branch_missing", (("branch", identity.branch),), (), "orchestrator", "create_branch")
        return replace(named, actions=(ensure,), waiting=(missing,))
    stage = step_of_role(task.role).stage if task.role else Stage.ANALYSIS
    started = _work(project, _named(replace(task, stage=stage), identity), facts)
    return replace(started, verdicts=verdicts + started.verdicts, identity=identity)


def _identity(project: Project | None, task: Task, facts: Facts) -> Identity | None:
    """A task keeps the name that it got first: a renamed work item does not move its branch."""
    if task.repo is not None and task.key and task.branch:
        return Identity(task.key, task.title, task.repo, task.branch, task.base_branch)
    if project is None or not isinstance(facts.item, WorkItem):
        return None
    item = facts.item
    return Identity(item.key, item.title, project.repo, branch_name(item.key, item.title), project.base_branch)


def _named(task: Task, who: Identity) -> Task:
    return replace(
        task, key=who.key, title=who.title, repo=who.repo, branch=who.branch, base_branch=who.base_branch
    )


def _work(project: Project | None, task: Task, facts: Facts) -> Decision:
    if task.role is not None:
        return decide_posted(task, facts)
    if project is None:
        waiting = (*halts.run_items(facts), unmapped(task))
        return Decision(task.stage, waiting=waiting, switches=task.switches, returns=task.returns)
    switches, replies = carry_out(project, task, facts)
    current = task if switches is task.switches else replace(task, switches=switches)
    decision = _open(project, current, facts)
    told = answered(replies, decision)
    decision = replace(decision, actions=(*decision.actions, *told)) if told else decision
    return bounded(_with_unwritten(decision, facts))


def _with_unwritten(decision: Decision, facts: Facts) -> Decision:
    """Before what we would do ourselves, since that is refused; else behind what others can do meanwhile."""
    refused = halts.unwritten(facts)
    if not refused or decision.stage is Stage.DONE:
        return decision
    waiting = decision.waiting
    is_ours = bool(waiting) and waiting[0].who == "orchestrator"
    return replace(decision, waiting=(*refused, *waiting) if is_ours else (*waiting, *refused))


def _open(project: Project, task: Task, facts: Facts) -> Decision:
    """What comes before the gates: halts, a run at work, the end by a human's hand, what could not be seen."""
    waiting = halts.run_items(facts)
    stops = tuple([StopRun(run.stage, run.attempt) for run in runs.open_runs(facts)])
    is_merged = isinstance(facts.pull, PullRequest) and facts.pull.is_merged
    if not is_merged and (halt := halts.halted(task, facts)):
        stays = _stay(task, (*halt, *waiting), stops)
        return stays if waiting else _answering(project, task, facts, stays)
    if waiting:
        paused = tuple(one for one in halts.paused(task) if one not in waiting)
        return _stay(task, (*waiting, *paused), stops if is_merged else ())
    if is_merged:
        return Decision(Stage.DONE, switches=task.switches, returns=task.returns)
    return _standing_still(project, task, facts) or _by_gates(project, task, facts)


def _standing_still(project: Project, task: Task, facts: Facts) -> Decision | None:
    """Closed by a person, not to be seen, or without its branch: no gate is asked."""
    if closed := halts.closed_pull(facts):
        return _answering(project, task, facts, _stay(task, closed))
    if unknown := unseen(facts.item, facts.remarks, facts.branch, facts.pull):
        return _stay(task, unknown)
    if isinstance(facts.branch, Absent):
        return _answering(project, task, facts, _stay(task, (branch_gone(task),)))
    return None


def _answering(project: Project, task: Task, facts: Facts, stays: Decision) -> Decision:
    """Who approves or rejects what stands still is answered all the same, unless it counts when that goes on."""
    replies, up_to = answers(project, task, facts, task.stage)
    switches = replace(task.switches, approvals_up_to=up_to)
    return replace(stays, actions=(*stays.actions, *replies), switches=switches)


def _stay(task: Task, waiting: tuple[Item, ...], actions: tuple[Action, ...] = ()) -> Decision:
    return Decision(task.stage, actions, waiting, switches=task.switches, returns=task.returns)


class _Standing(msgspec.Struct, frozen=True):
    """The first stage whose gate is closed, and the verdicts up to it. No verdict: all are open."""

    stage: Stage
    verdicts: tuple[tuple[str, Verdict], ...]
    verdict: Verdict


def _stand(project: Project, task: Task, facts: Facts) -> _Standing:
    """Not being able to look moves nothing: a gate of the past that is unknown leaves the task where it is."""
    verdicts: list[tuple[str, Verdict]] = []
    verdict: Verdict = Passed()
    for step in GATED:
        verdict = with_rework(task, facts, step, checks.GATES[step.gate](project, task, facts))
        verdicts.append((step.gate, verdict))
        if isinstance(verdict, Passed):
            continue
        is_kept = isinstance(verdict, Unknown) and place(step.stage) < place(task.stage)
        return _Standing(task.stage if is_kept else step.stage, tuple(verdicts), verdict)
    return _Standing(Stage.READY, tuple(verdicts), verdict)


def _by_gates(project: Project, task: Task, facts: Facts) -> Decision:
    standing = _stand(project, task, facts)
    replies, up_to = answers(project, task, facts, standing.stage)
    every = documents.votes(project, task, facts)
    bound = _asked(standing, facts, every, every.bound(task.switches))
    if bound is not task.switches or up_to != bound.approvals_up_to:
        task = replace(task, switches=replace(bound, approvals_up_to=up_to))
    published = publications(project, task, facts, standing.stage)
    decision = _act(project, task, facts, standing)
    if not published and not replies:
        return decision
    return replace(decision, actions=(*published, *decision.actions, *replies))


def _asked(standing: _Standing, facts: Facts, every: Ballots, switches: Switches) -> Switches:
    """People are asked about the architecture while the BRD is approved."""
    _, of_brd = standing.verdicts[0]
    if isinstance(of_brd, Passed):
        return approvals.asked(switches, facts, every.design)
    return switches if isinstance(of_brd, Unknown) else approvals.not_asked(switches)


def _act(project: Project, task: Task, facts: Facts, standing: _Standing) -> Decision:
    match standing.verdict:
        case Passed():
            return _stand_at(standing, task, (), (_merge(facts),))
        case Failed() as failed:
            sent = send_back(project, task, facts, standing.stage, failed)
            if isinstance(sent, Parked):
                return _stand_at(standing, task, (), (sent.why, *failed.reasons))
            again = _act(project, sent, facts, _stand(project, sent, facts))
            known = {gate for gate, _ in again.verdicts}
            rest = tuple(one for one in standing.verdicts if one[0] not in known)
            return replace(again, verdicts=again.verdicts + rest)
        case _:
            actions, waiting = _supply(project, task, facts, standing.stage, items(standing.verdict))
            return _stand_at(standing, task, actions, waiting)


def _stand_at(standing: _Standing, task: Task, actions: tuple[Action, ...], waiting: tuple[Item, ...]) -> Decision:
    verdicts = standing.verdicts
    return Decision(standing.stage, actions, waiting, verdicts, switches=task.switches, returns=task.returns)


def _supply(
    project: Project, task: Task, facts: Facts, stage: Stage, missing: tuple[Item, ...]
) -> tuple[tuple[Action, ...], tuple[Item, ...]]:
    """Starts or opens what we can; the rest is for others to give, and waited for."""
    due = tuple(item for item in missing if item.who == "agent")
    if not due:
        return _pull_request(task, missing), (*missing, *halts.paused(task))
    if waiting := halts.paused(task):
        return (), (*waiting, *missing)
    if parked := overspent(task, facts):
        return (), (*parked, *missing)
    next_one = attempt(project, task, facts, step_of_stage(stage), due)
    if isinstance(next_one, Parked):
        return (), (next_one.why, *missing)
    return (next_one,), tuple(item for item in missing if item not in due)


def _pull_request(task: Task, missing: tuple[Item, ...]) -> tuple[Action, ...]:
    is_missing = any(item.code == "pull_request_missing" for item in missing)
    if not is_missing or task.repo is None:
        return ()
    return (EnsurePullRequest(task.repo, task.branch, task.base_branch, f"{task.key}: {task.title}"),)


def _merge(facts: Facts) -> Item:
    assert isinstance(facts.pull, PullRequest)  # noqa: S101 - QG-3 is open
    params = (("number", str(facts.pull.number)),)
    return Item("merge", params, (facts.pull.url, facts.pull.head), who="maintainer", action="merge")
