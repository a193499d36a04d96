"""Whose `:approved:` and `:rejected:` count for which documents. Each remark counts for one gate at most."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.model import Project, Stage, Switches, Task, UserId
from orchestrator.domain.tracker import CommentId
from orchestrator.qg.commands import END_OF_VOTE, Approve, Command, Reject, commands
from orchestrator.qg.facts import Document, Facts, Remark
from orchestrator.qg.verdict import Item

MAX_NOTED = 50
MAX_TOLD = 5
"""Remarks that do not count are named up to so many."""


@dataclass(frozen=True, slots=True)
class Word:
    """An approver's last word in one remark."""

    comment: CommentId
    person: UserId
    order: int
    rejection: str | None = None
    """None: it approves."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """What was said of one stage's documents."""

    approvals: tuple[Word, ...] = ()
    """The earliest of each person, as many as are needed."""
    rejection: Word | None = None
    """Newer than all of `approvals`."""


NO_BALLOT = Ballot()


@dataclass(frozen=True, slots=True)
class Ballots:
    """Both stages' ballots, made together so that no remark is in two."""

    analysis: Ballot = NO_BALLOT
    architecture: Ballot = NO_BALLOT

    def of(self, stage: Stage) -> Ballot:
        return self.analysis if stage is Stage.ANALYSIS else self.architecture

    def bound(self, switches: Switches) -> Switches:
        """With every remark noted for the stage that took it."""
        brd, design = _noted(switches.of_brd, self.analysis), _noted(switches.of_design, self.architecture)
        if (brd, design) == (switches.of_brd, switches.of_design):
            return switches
        return replace(switches, of_brd=brd, of_design=design)

    def counted(self) -> frozenset[CommentId]:
        return frozenset(word.comment for word in (*self.analysis.approvals, *self.architecture.approvals))


def approvers(project: Project, facts: Facts) -> frozenset[UserId]:
    """People on the list; our own user is nobody's approver, whatever the list says."""
    return frozenset(project.approvers) - {UserId(facts.us.tracker_user), UserId("")}


def ballots(
    project: Project, task: Task, facts: Facts, brd: Sequence[Document], design: Sequence[Document]
) -> Ballots:
    """`brd` and `design` are the documents of the two stages, each empty while one of them is not there."""
    words = _words(project, facts, after=min((one.seen for one in (*brd, *design)), default=None))
    if not words:
        return Ballots()
    needed, design_seen, switches = project.gates.approvals, _seen(design), task.switches
    free = [word for word in words if word.comment not in switches.of_design]
    analysis = _count(free, _seen(brd), needed)
    since = analysis[-1].order if len(analysis) >= needed else None
    # Once the BRD is approved, a rejection that follows the newer documents is about them.
    of_brd = [
        word for word in free if since is None or design_seen is None or word.order <= max(since, design_seen)
    ]
    rest = [word for word in words if word not in analysis and word.comment not in switches.of_brd]
    of_design = [word for word in rest if word not in of_brd]
    # Nobody is asked about the design before the BRD is approved: what was said until then is not about it.
    for_design = [
        word for word in rest if word.comment in switches.of_design or (since is not None and word.order > since)
    ]
    architecture = _count(for_design, design_seen, needed)
    return Ballots(
        Ballot(analysis, _rejection(of_brd, _seen(brd), analysis)),
        Ballot(architecture, _rejection(of_design, design_seen, architecture)),
    )


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
    is_double = any(remark.person == one.person for one in ballot.approvals)
    return "same_person" if is_double else "not_for_this_gate"


def _words(project: Project, facts: Facts, after: int | None) -> list[Word]:
    """Oldest first; a remark that says both rejects."""
    if after is None or not isinstance(facts.remarks, tuple):
        return []
    allowed = approvers(project, facts)
    theirs = [one for one in facts.remarks if one.person in allowed and one.order > after and one.is_untouched]
    said = [_word(one, commands(one.lines)) for one in theirs if END_OF_VOTE in "\n".join(one.lines)]
    return sorted((word for word in said if word), key=lambda word: word.order)


def _word(remark: Remark, said: Iterable[Command]) -> Word | None:
    reasons = [one.why for one in said if isinstance(one, Reject)]
    if reasons or Approve() in said:
        return Word(remark.comment, remark.person, remark.order, reasons[-1] if reasons else None)
    return None


def _noted(known: tuple[str, ...], ballot: Ballot) -> tuple[str, ...]:
    taken = (*ballot.approvals, *((ballot.rejection,) if ballot.rejection else ()))
    new = tuple(word.comment for word in taken if word.comment not in known)
    return (*known, *new)[-MAX_NOTED:]


def _seen(documents: Sequence[Document]) -> int | None:
    return max((one.seen for one in documents), default=None)


def _count(words: Sequence[Word], seen: int | None, needed: int) -> tuple[Word, ...]:
    """The earliest fitting approval of each person, up to the number needed."""
    people: dict[UserId, Word] = {}
    for word in words:
        if seen is not None and word.order > seen and word.rejection is None and len(people) < needed:
            people.setdefault(word.person, word)
    return tuple(people.values())


def _rejection(words: Sequence[Word], seen: int | None, approvals: Sequence[Word]) -> Word | None:
    """The newest, unless an approval that counts is newer."""
    newest = max((one.order for one in approvals), default=seen)
    fitting = [word for word in words if newest is not None and word.rejection is not None and word.order > newest]
    return fitting[-1] if fitting else None
