"""What approvers order with `/orch`: each remark is carried out once."""

from collections.abc import Callable
from dataclasses import replace

from orchestrator.domain.model import Project, Switches, Task
from orchestrator.domain.tracker import CommentId
from orchestrator.qg.approvals import approvers
from orchestrator.qg.commands import Misspelt, Order, Verb, commands
from orchestrator.qg.facts import Facts, Remark, newer
from orchestrator.qg.pull import head_of
from orchestrator.qg.runs import of_stage, wanted
from orchestrator.qg.verdict import Item
from orchestrator.workflow.decision import Reply

MAX_ALLOWED = 20
FULL_SHA = 40
_COMMANDS = ", ".join(f"/orch {verb}" for verb in Verb)

_CHANGES: dict[Verb, Callable[[Switches], Switches]] = {
    Verb.PAUSE: lambda switches: replace(switches, is_paused=True),
    Verb.RESUME: lambda switches: replace(switches, is_paused=False, is_cancelled=False),
    Verb.CANCEL: lambda switches: replace(switches, is_cancelled=True),
}


def carry_out(project: Project, task: Task, facts: Facts) -> tuple[Switches, tuple[Reply, ...]]:
    """The switches after every command that was not carried out yet, and what is to be answered.

    Replies to `status` and `why` are questions still: the answer is known when the rest is decided.
    """
    switches, replies = task.switches, list[Reply]()
    if not isinstance(facts.remarks, tuple):
        return switches, ()
    new = newer(facts.remarks, switches.commands_up_to)
    if not new:
        return switches, ()
    allowed = approvers(project, facts)
    theirs = [one for one in new if one.person in allowed]
    heard = [one for one in theirs if one.is_untouched]
    for comment, command in [(one.comment, command) for one in heard for command in commands(one.lines)]:
        if isinstance(command, Order):
            switches, answer = _ordered(task, facts, switches, command, comment)
            replies += [answer] if answer else []
        elif isinstance(command, Misspelt):
            params = (("command", command.text), ("commands", _COMMANDS))
            replies.append(Reply(comment, Item("unknown_command", params, who="approver", action="/orch")))
    replies += [Reply(one.comment, _edited()) for one in theirs if not one.is_untouched and _is_order(one)]
    return replace(switches, commands_up_to=new[-1].order), tuple(replies)


def _edited() -> Item:
    return Item("command_not_counted", (("why", "edited"),), who="approver", action="/orch")


def _is_order(remark: Remark) -> bool:
    """It has commands, and no vote: votes are answered beside the gates."""
    said = commands(remark.lines)
    return bool(said) and all(isinstance(one, Order | Misspelt) for one in said)


def _ordered(
    task: Task, facts: Facts, switches: Switches, order: Order, comment: CommentId
) -> tuple[Switches, Reply | None]:
    if order.verb in {Verb.STATUS, Verb.WHY}:
        return switches, Reply(comment, Item(order.verb.value))
    if order.verb is Verb.ALLOW_PATHS:
        return _allow(facts, switches, order.argument, comment)
    if order.verb is Verb.RETRY:
        return _retry(task, facts, switches), None
    if order.verb is Verb.BUDGET:
        set_to = Item("budget_set", (("usd", order.argument),))
        granted = replace(switches, budget_usd=int(order.argument), budget_after=len(facts.runs))
        return granted, Reply(comment, set_to)
    return _CHANGES[order.verb](switches), None


def _retry(task: Task, facts: Facts, switches: Switches) -> Switches:
    """One more attempt after the last of this stage, and one more return, beyond the caps."""
    last = max((run.attempt for run in wanted(of_stage(facts, task.stage))), default=0)
    granted = replace(switches, retry_stage=task.stage, retry_after=last, retry_returns=len(task.returns))
    return replace(granted, retry_runs=len(facts.runs))


def _allow(facts: Facts, switches: Switches, sha: str, comment: CommentId) -> tuple[Switches, Reply]:
    """A short name is resolved now and once: a later commit could be made to begin with the same digits."""
    head = head_of(facts) or ""
    if not head.startswith(sha) and len(sha) < FULL_SHA:
        return switches, Reply(comment, _not_allowed(sha, head))
    full = head if head.startswith(sha) else sha
    allowed = (*(one for one in switches.allowed if one != full), full)[-MAX_ALLOWED:]
    return replace(switches, allowed=allowed), Reply(comment, Item("paths_allowed", (("head", full),)))


def _not_allowed(sha: str, head: str) -> Item:
    if not head:
        return Item("head_unseen", (("given", sha),), who="approver", action="/orch allow-paths")
    return Item("not_the_head", (("given", sha), ("head", head)), who="approver", action="/orch allow-paths")
