"""QG-3: the work is on the branch, in an open pull request that could be merged, and touches nothing protected."""

from orchestrator.domain.forge import PullRequest
from orchestrator.domain.model import Branch, DocumentName, Project, Sha, Task
from orchestrator.qg.documents import lacking
from orchestrator.qg.facts import Facts, Unobserved
from orchestrator.qg.globs import path_globs
from orchestrator.qg.unseen import unseen
from orchestrator.qg.verdict import Item, Passed, Unknown, Verdict, Waiting

MAX_PATHS_TOLD = 20


def pull_request(project: Project, task: Task, facts: Facts) -> Verdict:
    """QG-3: changes beyond the documents, a report, and a pull request that is open on the base, no draft,
    mergeable, at the head, and touches no protected path unless an approver allowed it for this head.
    """
    if unknown := unseen(facts.documents, facts.changed_paths, facts.pull, facts.branch):
        return Unknown(unknown)
    head = head_of(facts)
    if head is None:
        return Waiting((branch_gone(task),))
    missing = (*_work(project, task, facts), *_pull(task, facts, head), *_protected(project, task, facts, head))
    if missing:
        return Waiting(missing)
    assert isinstance(facts.pull, PullRequest)  # noqa: S101 - _pull said so
    return Passed((Item("pull_request", (("number", str(facts.pull.number)),), (facts.pull.url, head)),))


def head_of(facts: Facts) -> Sha | None:
    """Where the task's branch is; None when it is not there or was not seen."""
    return facts.branch.head if isinstance(facts.branch, Branch) else None


def branch_gone(task: Task) -> Item:
    return Item("branch_gone", (("branch", task.branch),), who="operator", action="restore_branch")


def _work(project: Project, task: Task, facts: Facts) -> tuple[Item, ...]:
    assert not isinstance(facts.changed_paths, Unobserved)  # noqa: S101 - the gate asked
    report = lacking(project, task, facts, DocumentName.DEV_REPORT)
    folder = f"tasks/{task.key}/"
    if any(not path.startswith(folder) for path in facts.changed_paths):
        return report
    return (Item("changes_missing", (("folder", folder),), who="agent", action="run"), *report)


def _pull(task: Task, facts: Facts, head: Sha) -> tuple[Item, ...]:
    if isinstance(facts.pull, PullRequest):
        return _of_pull(task, facts.pull, head)
    params = (("branch", task.branch), ("base", task.base_branch))
    return (Item("pull_request_missing", params, who="orchestrator", action="open_pull_request"),)


def _of_pull(task: Task, pull: PullRequest, head: Sha) -> tuple[Item, ...]:
    number, evidence = (("number", str(pull.number)),), (pull.url,)
    if pull.is_merged or not pull.is_open:
        return (Item("pull_request_closed", number, evidence, "maintainer", "reopen"),)
    if (pull.head_branch, pull.base_branch) != (task.branch, task.base_branch):
        params = (*number, ("base", task.base_branch))
        return (Item("pull_request_elsewhere", params, evidence, "developer", "change_base"),)
    if pull.head != head:
        return (Item("pull_request_behind", number, (pull.head, head), "orchestrator", "look"),)
    if pull.is_draft:
        return (Item("pull_request_is_draft", number, evidence, "developer", "mark_ready"),)
    if not pull.is_mergeable:
        return (Item("pull_request_not_mergeable", number, evidence, "developer", "resolve_conflicts"),)
    return ()


def _protected(project: Project, task: Task, facts: Facts, head: Sha) -> tuple[Item, ...]:
    assert not isinstance(facts.changed_paths, Unobserved)  # noqa: S101 - the gate asked
    if head in task.switches.allowed:
        return ()
    protected = path_globs(project.gates.protected_paths)
    touched = [path for path in facts.changed_paths if protected.fullmatch(path.casefold())]
    if not touched:
        return ()
    params = (("count", str(len(touched))), ("head", head))
    action = f"/orch allow-paths {head}"
    return (Item("protected_paths", params, tuple(touched[:MAX_PATHS_TOLD]), "approver", action),)
