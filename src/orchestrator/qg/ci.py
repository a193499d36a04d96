"""QG-4: every required context is green on the head."""

from collections.abc import Sequence

from orchestrator.domain.forge import Check, CheckState
from orchestrator.domain.model import CiPolicy, Project, Task
from orchestrator.qg.facts import Facts, Unobserved
from orchestrator.qg.globs import context_glob, is_plain, plain_range
from orchestrator.qg.once import once
from orchestrator.qg.unseen import unseen
from orchestrator.qg.verdict import Item, Passed, Unknown, Verdict, Waiting, closed

OWN = "orchestrator/"
"""Contexts of ours; waiting for them would be waiting for ourselves."""
RED = frozenset({CheckState.FAILURE, CheckState.ERROR})


def _checks_green(project: Project, task: Task, facts: Facts) -> Verdict:
    """QG-4: every required context has a check at the head, and every check that it names succeeded."""
    del task
    if project.gates.ci is CiPolicy.NONE:
        return Passed((Item("ci_none", (("project", project.id),)),))
    if unknown := unseen(facts.branch, facts.checks, *(() if project.gates.required_contexts else (facts.rules,))):
        return Unknown(unknown)
    required = _required(project, facts)
    if not required:
        params = (("branch", project.base_branch),)
        return Waiting((Item("no_required_contexts", params, who="operator", action="orchestrator.yaml"),))
    return _of_contexts(project, required, _checks(facts))


checks_green = once(_checks_green)


def red_checks(project: Project, facts: Facts) -> tuple[Check, ...]:
    """The required checks that say no, by those whose word counts."""
    every, creators = _checks(facts), _creators(project)
    contexts = _contexts(every)
    named = [check for pattern in _required(project, facts) for check in _named(pattern, every, contexts)]
    return tuple(dict.fromkeys(check for check in named if _item(check, creators).code == "check_red"))


def _checks(facts: Facts) -> tuple[Check, ...]:
    return () if isinstance(facts.checks, Unobserved) else facts.checks


def _required(project: Project, facts: Facts) -> tuple[str, ...]:
    from_forge = () if isinstance(facts.rules, Unobserved) else facts.rules.required_contexts
    patterns = project.gates.required_contexts or from_forge
    return tuple(one for one in dict.fromkeys(patterns) if not one.startswith(OWN))


def _creators(project: Project) -> frozenset[str]:
    return frozenset(login.casefold() for login in project.gates.check_creators)


def _of_contexts(project: Project, required: Sequence[str], every: Sequence[Check]) -> Verdict:
    creators = _creators(project)
    reasons: list[Item] = []
    missing: list[Item] = []
    held: list[Item] = []
    contexts = _contexts(every)
    for pattern in required:
        named = _named(pattern, every, contexts)
        if not named:
            missing.append(Item("check_missing", (("context", pattern),), who="ci", action="run_ci"))
        for check in named:
            item = _item(check, creators)
            group = held if item.code == "check_green" else reasons if item.code == "check_red" else missing
            group.append(item)
    return closed(dict.fromkeys(reasons), dict.fromkeys(missing), dict.fromkeys(held))


def _contexts(every: Sequence[Check]) -> list[str]:
    return [check.context for check in every]


def _named(pattern: str, every: Sequence[Check], contexts: list[str]) -> list[Check]:
    """`contexts` are those of `every`. There may be very many, and few that a pattern names."""
    if is_plain(pattern) and contexts.count(pattern) == 1:
        return [every[contexts.index(pattern)]]
    if is_plain(pattern):
        return [check for check in every if check.context == pattern]
    begin, end = plain_range(pattern)
    likely = [at for at, one in enumerate(contexts) if begin <= one < end] if begin else range(len(contexts))
    glob = context_glob(pattern)
    return [every[at] for at in likely if glob.fullmatch(contexts[at]) and not contexts[at].startswith(OWN)]


def _item(check: Check, creators: frozenset[str]) -> Item:
    params: tuple[tuple[str, str], ...] = (("context", check.context), ("state", check.state.value))
    evidence = (check.url,) if check.url else ()
    if creators and check.creator.casefold() not in creators:
        params = (*params, ("creator", check.creator))
        return Item("check_of_wrong_creator", params, evidence, who="operator", action="orchestrator.yaml")
    if check.state is CheckState.SUCCESS:
        return Item("check_green", params, evidence)
    if check.state in RED:
        return Item("check_red", params, evidence, who="developer", action="push")
    action = "wait" if check.state is CheckState.PENDING else "run_ci"
    return Item("check_not_green", params, evidence, who="ci", action=action)
