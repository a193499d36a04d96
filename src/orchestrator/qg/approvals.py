"""Whose `:approved:` and `:rejected:` count for which documents.

A comment names no document. It is about the architecture when that was asked about before it was first seen, else
about the BRD; and it stays so. What is said on our own pages names its documents. As with reviews, each person's
last word counts, and nobody's may be a rejection.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter

import msgspec

from orchestrator.domain.model import Project, Stage, Switches, UserId
from orchestrator.domain.tracker import CommentId
from orchestrator.qg.commands import END_OF_VOTE, Approve, Command, Reject, commands
from orchestrator.qg.facts import Document, Facts, Remark
from orchestrator.qg.verdict import Item

MAX_NOTED = 350
"""Of each stage. No less than facts hold remarks (reconcile/basis.py): a word that is noted no more could count
for another gate.
"""
MAX_TOLD = 5
"""Remarks that do not count are named up to so many."""
_ORDER = attrgetter("order")


class Subject(msgspec.Struct, frozen=True):
    """What people are asked about: the documents of a stage, none while one is missing, and their digest."""

    documents: tuple[Document, ...]
    digest: str

    def seen(self) -> int | None:
        """The journal's number of the newest; what was said before it is not about them."""
        return max([one.seen for one in self.documents], default=None)


class Word(msgspec.Struct, frozen=True):
    """What an approver said in one remark."""

    comment: CommentId
    person: UserId
    order: int
    rejection: str | None = None
    """None: it approves."""
    about: str = ""
    """As of a Remark."""
    is_edited: bool = False
    """A rejection that somebody changed: it sends nothing back, and what was approved before it does not stand."""


class Ballot(msgspec.Struct, frozen=True):
    """What was said of one stage's documents as they are."""

    approvals: tuple[Word, ...] = ()
    """Of people whose last word approves, as many as are needed: of each the earliest since which they do."""
    rejection: Word | None = None
    """The newest of those that are somebody's last word."""
    edited: Word | None = None
    """As `rejection`, of those that were edited."""
    said: tuple[Word, ...] = ()
    """Everything that can be about these documents, oldest first."""
    words: tuple[Word, ...] = ()
    """And what was said of older ones of this stage."""

    def heard(self) -> frozenset[CommentId]:
        return frozenset([word.comment for word in self.said if not word.is_edited])

    def rejections(self) -> list[Word]:
        """All that their authors did not take back, newest first."""
        back, found = set[UserId](), list[Word]()
        for word in reversed(self.said):
            if word.rejection is None:
                back.add(word.person)
            elif word.person not in back and not word.is_edited:
                found.append(word)
        return found

    def is_taken_back(self, comment: CommentId) -> bool:
        since = [place for place, word in enumerate(self.said) if word.comment == comment]
        later = [word for word in self.said[since[0] :] if word.rejection is not None] if since else []
        return any(word.person == self.said[since[0]].person for word in later)


NO_BALLOT = Ballot()
NO_SUBJECT = Subject((), "")


class Ballots(msgspec.Struct, frozen=True):
    """Both stages' ballots, made together so that no remark is in two."""

    analysis: Ballot = NO_BALLOT
    architecture: Ballot = NO_BALLOT
    design: Subject = NO_SUBJECT
    """What the ballot of the architecture is about."""

    def of(self, stage: Stage) -> Ballot:
        return self.analysis if stage is Stage.ANALYSIS else self.architecture

    def bound(self, switches: Switches) -> Switches:
        """With every remark noted for the stage that it is about."""
        brd, design = _noted(switches.of_brd, self.analysis), _noted(switches.of_design, self.architecture)
        if (brd, design) == (switches.of_brd, switches.of_design):
            return switches
        return replace(switches, of_brd=brd, of_design=design)

    def counted(self) -> frozenset[CommentId]:
        return frozenset([word.comment for word in (*self.analysis.approvals, *self.architecture.approvals)])

    def heard(self) -> frozenset[CommentId]:
        return self.analysis.heard() | self.architecture.heard()

    def is_taken_back(self, comment: CommentId) -> bool:
        """Whoever approved with this comment rejected the same documents later."""
        return self.analysis.is_taken_back(comment) or self.architecture.is_taken_back(comment)


def approvers(project: Project, facts: Facts) -> frozenset[UserId]:
    """People on the list; our own user is nobody's approver, whatever the list says."""
    return frozenset(project.approvers) - {UserId(facts.us.tracker_user), UserId("")}


def ballots(project: Project, switches: Switches, facts: Facts, brd: Subject, design: Subject) -> Ballots:
    """What people said of both stages' documents as they are now."""
    words = _words(
        project, facts, after=min([one.seen for one in (*brd.documents, *design.documents)], default=None)
    )
    if not words:
        return Ballots(design=design)
    needed, of_design = project.gates.approvals, [word for word in words if _is_of(word, switches, design)]
    of_brd = [word for word in words if word not in of_design and word.about in {"", brd.digest}]
    analysis = _ballot(of_brd, brd.seen(), needed)
    return Ballots(analysis, _ballot(of_design, _asked_after(switches, design), needed), design)


def asked(switches: Switches, facts: Facts, design: Subject) -> Switches:
    """When the BRD is approved, people are asked about these documents. What is seen later is about them."""
    if not design.documents:
        return not_asked(switches)
    is_known = design.digest == switches.design_asked
    if is_known and switches.design_open_after:
        return switches
    heard = facts.remarks[-1:] if isinstance(facts.remarks, tuple) else ()
    newest = max([*(one.order for one in heard), *(one.seen for one in design.documents)])
    since = switches.design_asked_after if is_known else newest
    return replace(switches, design_asked=design.digest, design_asked_after=since, design_open_after=newest)


def not_asked(switches: Switches) -> Switches:
    """The BRD is to be approved first, or a document of the architecture is missing."""
    return replace(switches, design_open_after=0)


def not_counted(project: Project, facts: Facts, all_of: Ballots, stage: Stage, seen: int) -> tuple[Item, ...]:
    """Remarks that say `:approved:` and count for no gate, with the reason; the newest, bounded."""
    remarks = facts.remarks if isinstance(facts.remarks, tuple) else ()
    allowed, taken, ballot = approvers(project, facts), all_of.counted(), all_of.of(stage)
    found: list[Item] = []
    for remark in reversed(remarks):
        if len(found) == MAX_TOLD:
            break
        if remark.comment not in taken and Approve() in commands(remark.lines):
            why = _why_not(remark, allowed, seen, ballot)
            found.append(
                Item("approval_not_counted", (("why", why),), (remark.comment,), "approver", ":approved:")
            )
    return tuple(found)


def _why_not(remark: Remark, allowed: frozenset[UserId], seen: int, ballot: Ballot) -> str:
    if remark.person not in allowed:
        return "not_an_approver"
    if not remark.is_untouched:
        return "edited"
    if remark.order <= seen:
        return "document_is_newer"
    return "same_person" if remark.comment in ballot.heard() else "not_for_this_gate"


def _words(project: Project, facts: Facts, after: int | None) -> list[Word]:
    """Oldest first; a remark that says both rejects."""
    if after is None or not isinstance(facts.remarks, tuple):
        return []
    allowed = approvers(project, facts)
    theirs = [one for one in facts.remarks if one.person in allowed and one.order > after]
    said = [_word(one, commands(one.lines)) for one in theirs if END_OF_VOTE in "\n".join(one.lines)]
    return sorted((word for word in said if word), key=_ORDER)


def _word(remark: Remark, said: Iterable[Command]) -> Word | None:
    """An approval that was edited is none; a rejection stands in the way."""
    reasons = [one.why for one in said if isinstance(one, Reject)]
    if not reasons and not (Approve() in said and remark.is_untouched):
        return None
    rejection, is_edited = reasons[-1] if reasons else None, not remark.is_untouched
    return Word(remark.comment, remark.person, remark.order, rejection, remark.about, is_edited)


def _is_of(word: Word, switches: Switches, design: Subject) -> bool:
    """About the architecture, be it these documents or older ones."""
    if word.about:
        return word.about == design.digest
    if word.comment in switches.of_brd or word.comment in switches.of_design:
        return word.comment in switches.of_design
    return 0 < switches.design_open_after < word.order


def _asked_after(switches: Switches, design: Subject) -> int | None:
    """What is newer can be about these documents; None: nobody was asked about them yet."""
    seen = design.seen()
    if seen is None or switches.design_asked != design.digest:
        return None
    return max(seen, switches.design_asked_after)


def _noted(known: tuple[str, ...], ballot: Ballot) -> tuple[str, ...]:
    """The newest last, so that notes which are full stay as they are."""
    words = [word.comment for word in ballot.words]
    if set(words) <= set(known):
        return known
    return (*[one for one in known if one not in words], *words)[-MAX_NOTED:]


def _ballot(words: Sequence[Word], after: int | None, needed: int) -> Ballot:
    if not words:
        return NO_BALLOT
    said = tuple([word for word in words if after is not None and word.order > after])
    last: dict[UserId, Word] = {}
    for word in said:
        before = last.get(word.person)
        if before is None or before.rejection is not None or word.rejection is not None:
            last[word.person] = word
    approvals = sorted([word for word in last.values() if word.rejection is None], key=_ORDER)
    given = tuple(approvals[:needed])
    if len(approvals) == len(last):
        return Ballot(given, said=said, words=tuple(words))
    against = [word for word in last.values() if word.rejection is not None]
    rejection = max([word for word in against if not word.is_edited], key=_ORDER, default=None)
    edited = max([word for word in against if word.is_edited], key=_ORDER, default=None)
    return Ballot(given, rejection, edited, said, tuple(words))
