"""QG-3: the work is on the branch, in an open pull request that could be merged, and touches nothing protected."""

from orchestrator.domain.forge import PullRequest
from orchestrator.domain.model import Branch, Project, Sha, Task
from orchestrator.domain.roles import DocumentName
from orchestrator.qg.documents import lacking, there_is
from orchestrator.qg.facts import Facts, Unobserved
from orchestrator.qg.globs import path_globs
from orchestrator.qg.unseen import unseen
from orchestrator.qg.verdict import Item, Unknown, Verdict, Waiting, closed, parted

MAX_PATHS_TOLD = 20


def pull_request(project: Project, task: Task, facts: Facts) -> Verdict:
    """QG-3: changes beyond the documents, a report, and a pull request that is open on the base, no draft,
    mergeable, at the head, and touches no protected path unless an approver allowed it for this head.
    """
    unknown, head = unseen(facts.documents, facts.changed_paths, facts.pull, facts.branch), head_of(facts)
    if head is None:
        return Unknown(unknown) if unknown else Waiting((branch_gone(task),))
    work = (*_changes(task, facts, head), *_report(project, task, facts))
    missing, held = parted((*work, *_pull(task, facts, head), *_paths(project, task, facts, head)))
    return Unknown(unknown, held) if unknown else closed((), missing, held)


def head_of(facts: Facts) -> Sha | None:
    """Where the task's branch is; None when it is not there or was not seen."""
    return facts.branch.head if isinstance(facts.branch, Branch) else None


def branch_gone(task: Task) -> Item:
    return Item("branch_gone", (("branch", task.branch),), who="operator", action="restore_branch")


def _changes(task: Task, facts: Facts, head: Sha) -> tuple[Item, ...]:
    if isinstance(facts.changed_paths, Unobserved):
        return ()
    folder = f"tasks/{task.key}/"
    params = (("folder", folder),)
    if any(not path.startswith(folder) for path in facts.changed_paths):
        return (Item("changes_made", params, (head,)),)
    return (Item("changes_missing", params, who="agent", action="run"),)


def _report(project: Project, task: Task, facts: Facts) -> tuple[Item, ...]:
    if isinstance(facts.documents, Unobserved):
        return ()
    there = (one for one in facts.documents if one.name is DocumentName.DEV_REPORT)
    lacks = lacking(project, task, facts, DocumentName.DEV_REPORT)
    return lacks or tuple(there_is(project, task, one) for one in there)


def _pull(task: Task, facts: Facts, head: Sha) -> tuple[Item, ...]:
    if isinstance(facts.pull, Unobserved):
        return ()
    if isinstance(facts.pull, PullRequest):
        return (_of_pull(task, facts.pull, head),)
    params = (("branch", task.branch), ("base", task.base_branch))
    return (Item("pull_request_missing", params, who="orchestrator", action="open_pull_request"),)


def _of_pull(task: Task, pull: PullRequest, head: Sha) -> Item:
    number, evidence = (("number", str(pull.number)),), (pull.url,)
    if pull.is_merged or not pull.is_open:
        return Item("pull_request_closed", number, evidence, "maintainer", "reopen")
    if (pull.head_branch, pull.base_branch) != (task.branch, task.base_branch):
        params = (*number, ("base", task.base_branch))
        return Item("pull_request_elsewhere", params, evidence, "developer", "change_base")
    if pull.head != head:
        return Item("pull_request_behind", number, (pull.head, head), "orchestrator", "look")
    if pull.is_draft:
        return Item("pull_request_is_draft", number, evidence, "developer", "mark_ready")
    if not pull.is_mergeable:
        return Item("pull_request_not_mergeable", number, evidence, "developer", "resolve_conflicts")
    return Item("pull_request", number, (pull.url, head))


def _paths(project: Project, task: Task, facts: Facts, head: Sha) -> tuple[Item, ...]:
    if isinstance(facts.changed_paths, Unobserved):
        return ()
    protected = path_globs(project.gates.protected_paths)
    touched = [path for path in facts.changed_paths if protected.fullmatch(path.casefold())]
    if not touched:
        return (Item("paths_untouched", (), (head,)),)
    if head in task.switches.allowed:
        return (Item("paths_allowed", (("head", head),), tuple(touched[:MAX_PATHS_TOLD])),)
    params = (("count", str(len(touched))), ("head", head))
    action = f"/orch allow-paths {head}"
    return (Item("protected_paths", params, tuple(touched[:MAX_PATHS_TOLD]), "approver", action),)
