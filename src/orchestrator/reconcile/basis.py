"""What was seen outside and what our rows know of it, as facts for the core."""

from dataclasses import replace
from typing import Any

from orchestrator.domain.model import Project
from orchestrator.domain.roles import DocumentName
from orchestrator.domain.tracker import Comment
from orchestrator.qg.commands import MAX_COMMANDS, commands
from orchestrator.qg.facts import Document, Facts, Remark, Unobserved
from orchestrator.reconcile.course import Rows
from orchestrator.reconcile.observe import FIELDS, NOBODY, Observed
from orchestrator.reconcile.options import Options
from orchestrator.store import sightings
from orchestrator.store.decisions import Basis
from orchestrator.store.sightings import Sightings
from orchestrator.workflow.needs import Look

MAX_LINES = 40
MAX_REMARKS = 300
MAX_STRANGE_REMARKS = 50
"""Of people who are no approvers: only told of, as approvals that do not count."""


def basis_of(rows: Rows, seen: Observed, options: Options) -> Basis:
    """What a decision rests on."""
    known = rows.sightings
    facts = Facts(
        item=seen.item,
        branch=seen.branch,
        runs=rows.runs,
        since=rows.since,
        resting_until=rows.resting_until,
        documents=_documents(seen, known),
        remarks=remarks_of(rows.project, seen, known),
        changed_paths=seen.changed_paths,
        pull=seen.pull,
        rules=seen.rules,
        reviews=seen.reviews,
        checks=seen.checks,
        us=seen.us,
        unwritten=rows.unwritten,
        **limits(options),
    )
    return Basis(rows.project, rows.task, facts)


def limits(options: Options) -> dict[str, Any]:
    """The facts that an operator sets."""
    return {
        "max_attempts": options.max_attempts,
        "max_runs_without_progress": options.max_runs_without_progress,
        "spending": options.spending,
    }


def without_news(rows: Rows, seen: Observed) -> Observed | None:
    """What was seen without comments that say nothing to us; None when there is news that has to be journaled."""
    comments = () if isinstance(seen.comments, Unobserved) else tuple(seen.comments)
    documents = {} if isinstance(seen.documents, Unobserved) else blobs(seen, rows.sightings)
    new, moved = sightings.unseen(rows.sightings, comments, documents)
    if moved or any(commands(one.lines) for one in new):
        return None
    if isinstance(seen.comments, Unobserved):
        return seen
    return replace(seen, comments=tuple(one for one in comments if one.id in rows.sightings.comments))


def as_seen(last: Facts, rows: Rows, seen: Observed, looked: frozenset[Look]) -> Facts | None:
    """The facts with what our rows and the forge show now; None when a document was never seen before, or a remark
    of our pages never heard.
    """
    if isinstance(last.remarks, tuple) and not set(rows.sightings.remarks[-1:]) <= set(last.remarks):
        return None
    if Look.DOCUMENTS in looked and not isinstance(seen.documents, Unobserved):
        _, moved = sightings.unseen(rows.sightings, (), blobs(seen, rows.sightings))
        if moved:
            return None
    found: dict[str, Any] = {FIELDS[look]: getattr(seen, FIELDS[look]) for look in looked}
    if Look.DOCUMENTS in looked:
        found["documents"] = _documents(seen, rows.sightings)
    found["us"] = last.us if seen.us == NOBODY else seen.us
    of_rows = ("runs", "since", "resting_until", "unwritten")
    return replace(last, **{name: getattr(rows, name) for name in of_rows}, **found)


def blobs(seen: Observed, known: Sightings) -> dict[DocumentName, str]:
    """What lies on the branch, and "" for what lay there before and does not now."""
    there = {one.name: one.blob for one in seen.documents} if isinstance(seen.documents, tuple) else {}
    return dict.fromkeys(known.documents, "") | there


def _documents(seen: Observed, known: Sightings) -> tuple[Document, ...] | Unobserved:
    if isinstance(seen.documents, Unobserved):
        return seen.documents
    return tuple(replace(one, seen=known.documents[one.name][1]) for one in seen.documents)


def remarks_of(project: Project | None, seen: Observed, known: Sightings) -> tuple[Remark, ...] | Unobserved:
    """Comments with a command in them and what was said on our pages, oldest first; the newest when there are very
    many. What strangers write pushes out nothing that an approver said.
    """
    if isinstance(seen.comments, Unobserved):
        return seen.comments
    every = [*known.remarks, *(_remark(one, known) for one in seen.comments if commands(one.lines))]
    every.sort(key=lambda remark: remark.order)
    counted = frozenset(project.approvers) if project else frozenset()
    theirs = [one for one in every if one.person in counted][-MAX_REMARKS:]
    others = [one for one in every if one.person not in counted][-MAX_STRANGE_REMARKS:]
    return tuple(sorted((*theirs, *others), key=lambda remark: remark.order))


def _remark(comment: Comment, known: Sightings) -> Remark:
    """One that was changed has the place of its last change, so that it is answered that it does not count."""
    first = known.comments[comment.id]
    is_untouched = not comment.is_edited and first.is_same and first.digest == comment.digest
    order = first.order if is_untouched else max(first.order, first.last)
    return Remark(comment.id, comment.author, order, is_untouched, _lines(comment.lines))


def _lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The first of very many, and every command below them."""
    below = tuple(line for line in lines[MAX_LINES:] if commands((line,)))
    return (*lines[:MAX_LINES], *below[:MAX_COMMANDS])
