"""QG-1 and QG-2: the documents are on the branch, are what they should be, and people approved them."""

import hashlib
import re
from functools import lru_cache

from orchestrator.domain.model import DocumentName, Language, Project, Stage, Task
from orchestrator.qg.approvals import Ballots, approvers, ballots, not_counted
from orchestrator.qg.facts import Document, Facts, Unobserved
from orchestrator.qg.once import once
from orchestrator.qg.unseen import unseen
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, Waiting

BRD = (DocumentName.BRD,)
DESIGN = (DocumentName.ARCHITECTURE, DocumentName.DEV_TASK)
OF_STAGE = {Stage.ANALYSIS: BRD, Stage.ARCHITECTURE: DESIGN}

HEADINGS: dict[Language, dict[str, tuple[str, ...]]] = {
    Language.EN: {
        "goal": ("goal", "goals", "purpose", "objective", "objectives"),
        "requirements": ("functional requirements", "requirements"),
        "acceptance_criteria": ("acceptance criteria",),
    },
    Language.RU: {
        "goal": ("цель", "цели", "назначение"),
        "requirements": ("функциональные требования", "требования"),
        "acceptance_criteria": ("критерии приемки", "критерии готовности"),
    },
}
"""A BRD has one of each row; case, numbers before and words after do not matter."""
_NUMBER = re.compile(r"^[\W\d_]+")


def brd(project: Project, task: Task, facts: Facts) -> Verdict:
    """QG-1: the BRD is there, not blank, has its sections, and is approved as it is."""
    return _gate(Stage.ANALYSIS, project, task, facts)


def design(project: Project, task: Task, facts: Facts) -> Verdict:
    """QG-2: architecture and work order are there, not blank, ready, and approved as they are."""
    return _gate(Stage.ARCHITECTURE, project, task, facts)


def path_of(project: Project, task: Task, name: DocumentName) -> str:
    """A document's place in the repository."""
    return f"tasks/{task.key}/{getattr(project.documents, name)}"


def of_stage(facts: Facts, stage: Stage) -> tuple[Document, ...]:
    """The stage's documents in their order; none of them while one is missing."""
    found = _found(facts, OF_STAGE[stage])
    return found if len(found) == len(OF_STAGE[stage]) else ()


def digest(facts: Facts, stage: Stage) -> str:
    """Changes with every change of the stage's documents; empty while they were not seen."""
    if isinstance(facts.documents, Unobserved):
        return ""
    text = " ".join(f"{one.name}:{one.blob}" for one in _found(facts, OF_STAGE[stage]))
    return hashlib.sha256(text.encode()).hexdigest()


def _votes(project: Project, task: Task, facts: Facts) -> Ballots:
    """What people said of both stages' documents as they are now."""
    return ballots(project, task, facts, of_stage(facts, Stage.ANALYSIS), of_stage(facts, Stage.ARCHITECTURE))


votes = once(_votes)


def lacking(project: Project, task: Task, facts: Facts, name: DocumentName) -> tuple[Item, ...]:
    """What an agent has to mend about a document before a person is asked to read it."""
    found = _found(facts, (name,))
    params = (("document", path_of(project, task, name)),)
    if not found:
        return (Item("document_missing", params, who="agent", action="run"),)
    if found[0].is_blank:
        return (Item("document_blank", params, (found[0].blob,), who="agent", action="run"),)
    if name is DocumentName.DEV_TASK and not found[0].is_ready:
        return (Item("document_not_ready", params, (found[0].blob,), who="agent", action="run"),)
    rows = HEADINGS[project.language] if name is DocumentName.BRD else {}
    there = {_row(project.language, heading) for heading in found[0].headings} if rows else set()
    return tuple(
        Item("section_missing", (*params, ("section", row)), (found[0].blob,), who="agent", action="run")
        for row in rows
        if row not in there
    )


def _found(facts: Facts, names: tuple[DocumentName, ...]) -> tuple[Document, ...]:
    if isinstance(facts.documents, Unobserved):
        return ()
    return tuple(one for name in names for one in facts.documents if one.name is name)


def _row_of(language: Language, heading: str) -> str | None:
    """Which section it is. Whole words at its beginning: "Goal (why)" is a goal, "Goalkeeper" is none."""
    plain = _NUMBER.sub("", heading.casefold().replace("ё", "е")) + " "
    for row, names in HEADINGS[language].items():
        if any(plain.startswith(name) and not plain[len(name)].isalnum() for name in names):
            return row
    return None


_row = lru_cache(maxsize=1024)(_row_of)


def _gate(stage: Stage, project: Project, task: Task, facts: Facts) -> Verdict:
    if unknown := unseen(facts.documents, facts.remarks):
        return Unknown(unknown)
    missing = tuple(item for name in OF_STAGE[stage] for item in lacking(project, task, facts, name))
    if missing:
        return Waiting(missing)
    return _approved(stage, project, task, facts)


def _approved(stage: Stage, project: Project, task: Task, facts: Facts) -> Verdict:
    every, found = votes(project, task, facts), of_stage(facts, stage)
    ballot = every.of(stage)
    if ballot.rejection:
        said = ballot.rejection
        params = (("stage", stage.value), ("person", said.person))
        return Failed((Item("document_rejected", params, (said.comment,), who="agent", action="run"),))
    if len(ballot.approvals) >= project.gates.approvals:
        there = (Item("document", (("document", path_of(project, task, one.name)),), (one.blob,)) for one in found)
        given = (Item("approved", (("person", word.person),), (word.comment,)) for word in ballot.approvals)
        return Passed((*there, *given))
    seen = max(one.seen for one in found)
    asked = _approval(stage, project, task, facts, len(ballot.approvals))
    return Waiting((asked, *not_counted(project, facts, every, stage, seen)))


def _approval(stage: Stage, project: Project, task: Task, facts: Facts, have: int) -> Item:
    needed = project.gates.approvals
    if (people := len(approvers(project, facts))) < needed:
        few = (("needed", str(needed)), ("approvers", str(people)))
        return Item("too_few_approvers", few, who="operator", action="orchestrator.yaml")
    documents = ", ".join(path_of(project, task, name) for name in OF_STAGE[stage])
    params = (("documents", documents), ("have", str(have)), ("needed", str(needed)))
    blobs = tuple(one.blob for one in of_stage(facts, stage))
    return Item("approval", params, blobs, who="approver", action=":approved:")
