"""QG-1 and QG-2: the documents are on the branch, are what they should be, and people approved them."""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

from orchestrator.domain.model import Project, Stage, Task
from orchestrator.domain.roles import DocumentName, Language
from orchestrator.qg.approvals import Ballots, Subject, approvers, ballots, not_counted
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
    return digest_of(tuple([(one.name, one.blob) for one in _found(facts, OF_STAGE[stage])]))


def _digest_of(found: tuple[tuple[DocumentName, str], ...]) -> str:
    """Of documents and their blobs, in the order of the stage."""
    text = " ".join(f"{name}:{blob}" for name, blob in found)
    return hashlib.sha256(text.encode()).hexdigest()


digest_of = lru_cache(maxsize=1024)(_digest_of)


def subject(facts: Facts, stage: Stage) -> Subject:
    """What its gate asks people about."""
    found = of_stage(facts, stage)
    return Subject(found, digest_of(tuple([(one.name, one.blob) for one in found])))


def _votes(project: Project, task: Task, facts: Facts) -> Ballots:
    """What people said of both stages' documents as they are now."""
    brd, design = subject(facts, Stage.ANALYSIS), subject(facts, Stage.ARCHITECTURE)
    return ballots(project, task.switches, facts, brd, design)


votes = once(_votes)


def lacking(project: Project, task: Task, facts: Facts, name: DocumentName) -> tuple[Item, ...]:
    """What an agent has to mend about a document before a person is asked to read it."""
    return _lacks(project, task, name, _found(facts, (name,)))


def there_is(project: Project, task: Task, document: Document) -> Item:
    """What a gate holds of a document that lacks nothing."""
    return Item("document", (("document", path_of(project, task, document.name)),), (document.blob,))


def _found(facts: Facts, names: tuple[DocumentName, ...]) -> tuple[Document, ...]:
    if isinstance(facts.documents, Unobserved):
        return ()
    return tuple([one for name in names for one in facts.documents if one.name is name])


def _lacks(project: Project, task: Task, name: DocumentName, found: Sequence[Document]) -> tuple[Item, ...]:
    """Of the first of `found` that has this name."""
    for one in found:
        if one.name is name:
            return _faults(project, task, one)
    return (Item("document_missing", (("document", path_of(project, task, name)),), who="agent", action="run"),)


def _faults(project: Project, task: Task, one: Document) -> tuple[Item, ...]:
    if one.name is DocumentName.BRD and not one.is_blank:
        return _sections_missing(project, task, one)
    if one.is_blank or (one.name is DocumentName.DEV_TASK and not one.is_ready):
        code = "document_blank" if one.is_blank else "document_not_ready"
        return (
            Item(code, (("document", path_of(project, task, one.name)),), (one.blob,), who="agent", action="run"),
        )
    return ()


def _sections_missing(project: Project, task: Task, one: Document) -> tuple[Item, ...]:
    there = {_row(project.language, heading) for heading in one.headings}
    missing = [row for row in HEADINGS[project.language] if row not in there]
    return tuple(
        Item(
            "section_missing",
            (("document", path_of(project, task, one.name)), ("section", row)),
            (one.blob,),
            "agent",
            "run",
        )
        for row in missing
    )


def _row_of(language: Language, heading: str) -> str | None:
    """Which section it is. Whole words at its beginning: "Goal (why)" is a goal, "Goalkeeper" is none."""
    plain = _NUMBER.sub("", heading.casefold().replace("ё", "е")) + " "
    for row, names in HEADINGS[language].items():
        if any(plain.startswith(name) and not plain[len(name)].isalnum() for name in names):
            return row
    return None


_row = lru_cache(maxsize=1024)(_row_of)


def _gate(stage: Stage, project: Project, task: Task, facts: Facts) -> Verdict:
    found, ballot = _found(facts, OF_STAGE[stage]), votes(project, task, facts).of(stage)
    lacks = {name: _lacks(project, task, name, found) for name in OF_STAGE[stage]}
    there = [there_is(project, task, one) for one in found if not lacks[one.name]]
    given = [Item("approved", (("person", word.person),), (word.comment,)) for word in ballot.approvals]
    held = (*there, *given)
    if unknown := unseen(facts.documents, facts.remarks):
        return Unknown(unknown, held)
    if missing := tuple([item for items in lacks.values() for item in items]):
        return Waiting(missing, held)
    return _approved(stage, project, task, facts, held)


def _approved(stage: Stage, project: Project, task: Task, facts: Facts, held: tuple[Item, ...]) -> Verdict:
    every = votes(project, task, facts)
    ballot = every.of(stage)
    if ballot.rejection:
        said = ballot.rejection
        params = (("stage", stage.value), ("person", said.person))
        rejected = Item("document_rejected", params, (said.comment,), who="agent", action="run")
        return Failed((rejected,), held)
    if ballot.edited:
        params = (("stage", stage.value), ("person", ballot.edited.person))
        return Waiting(
            (Item("rejection_edited", params, (ballot.edited.comment,), "approver", ":approved:"),), held
        )
    if len(ballot.approvals) >= project.gates.approvals:
        return Passed(held)
    seen = max(one.seen for one in of_stage(facts, stage))
    asked = _approval(stage, project, task, facts, len(ballot.approvals))
    return Waiting((asked, *not_counted(project, facts, every, stage, seen)), held)


def _approval(stage: Stage, project: Project, task: Task, facts: Facts, have: int) -> Item:
    needed = project.gates.approvals
    if (people := len(approvers(project, facts))) < needed:
        few = (("needed", str(needed)), ("approvers", str(people)))
        return Item("too_few_approvers", few, who="operator", action="orchestrator.yaml")
    documents = ", ".join(path_of(project, task, name) for name in OF_STAGE[stage])
    params = (("documents", documents), ("have", str(have)), ("needed", str(needed)))
    blobs = tuple(one.blob for one in of_stage(facts, stage))
    return Item("approval", params, blobs, who="approver", action=":approved:")
