"""What of very many comments the gates get to see: nothing pushes out what an approver said."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from green import ANNA, GREEN, NOW, OURSELF, PROJECT, STRANGER, TASK, remark
from orchestrator.domain.model import Switches, UserId
from orchestrator.domain.tracker import Comment, CommentId
from orchestrator.qg.checks import GATES
from orchestrator.qg.commands import Approve, commands
from orchestrator.qg.facts import Remark, Unobserved
from orchestrator.qg.verdict import Passed
from orchestrator.reconcile.basis import MAX_LINES, MAX_REMARKS, MAX_STRANGE_REMARKS, as_seen, remarks_of
from orchestrator.reconcile.course import Rows
from orchestrator.reconcile.observe import Observed
from orchestrator.store.sightings import First, Sightings
from orchestrator.trackers.html import spoken

WORDS = (":approved:",)


def comment(number: int, author: UserId = ANNA, lines: tuple[str, ...] = WORDS) -> Comment:
    return Comment(
        CommentId(f"k{number}"), author, is_edited=False, lines=lines, digest="d", external_id="", created_at=NOW
    )


def remarks(comments: Sequence[Comment], **firsts: First) -> tuple[Remark, ...]:
    """Seen in the order of their numbers, unless said otherwise."""
    known = {one.id: firsts.get(one.id, First(int(one.id[1:]), "d")) for one in comments}
    found = remarks_of(PROJECT, Observed(comments=tuple(comments)), Sightings(known))
    assert isinstance(found, tuple)
    return found


def test_what_was_said_on_our_pages_stands_between_the_comments_by_its_number() -> None:
    ours = replace(remark(5), comment=CommentId("remark-5"))
    known = Sightings({CommentId("k4"): First(4, "d"), CommentId("k6"): First(6, "d")}, remarks=[ours])
    found = remarks_of(PROJECT, Observed(comments=(comment(6), comment(4))), known)
    assert isinstance(found, tuple)
    assert [one.comment for one in found] == ["k4", "remark-5", "k6"]


def test_older_comments_push_out_nothing_that_was_said_on_our_pages() -> None:
    crowd = [comment(number) for number in range(1, MAX_REMARKS + 50)]
    known = Sightings({one.id: First(int(one.id[1:]), "d") for one in crowd}, remarks=[remark(9_000)])
    found = remarks_of(PROJECT, Observed(comments=tuple(crowd)), known)
    assert isinstance(found, tuple)
    assert found[-1].order == 9_000


def test_what_was_said_on_our_pages_waits_for_a_tracker_that_cannot_be_read() -> None:
    """A comment that was edited or taken back could change what is to be decided."""
    away = Unobserved("plane_unreachable")
    assert remarks_of(PROJECT, Observed(comments=away), Sightings(remarks=[remark(5)])) == away


def test_a_poll_sees_that_something_new_was_said_on_our_pages() -> None:
    rows = Rows(PROJECT, TASK, (), None, 0, None, Sightings(remarks=[remark(11)]), None)
    assert as_seen(replace(GREEN, remarks=(remark(11),)), rows, Observed(), frozenset()) is not None
    rows = replace(rows, sightings=Sightings(remarks=[remark(11), remark(31)]))
    assert as_seen(replace(GREEN, remarks=(remark(11),)), rows, Observed(), frozenset()) is None


def test_strangers_push_no_approval_out() -> None:
    flood = [comment(number, STRANGER) for number in range(2, MAX_REMARKS + 100)]
    found = remarks([comment(1), *flood])
    assert found[0].comment == "k1"
    assert len(found) == 1 + MAX_STRANGE_REMARKS
    assert found[-1].comment == flood[-1].id


def test_of_the_approvers_own_the_newest_are_kept_and_all_in_their_order() -> None:
    found = remarks([comment(number, STRANGER if number % 50 == 0 else ANNA) for number in range(1, 500)])
    assert [one.order for one in found] == sorted(one.order for one in found)
    assert sum(one.person == ANNA for one in found) == MAX_REMARKS
    assert found[-1].order == 499


def test_a_command_below_very_many_lines_is_read() -> None:
    lines = tuple(f"line {number}" for number in range(3 * MAX_LINES))
    (found,) = remarks([comment(1, lines=(*lines, ":approved:"))])
    assert commands(found.lines) == (Approve(),)
    assert len(found.lines) == MAX_LINES + 1
    (crowd,) = remarks([comment(1, lines=(*lines, *(["/orch status"] * 100)))])
    assert len(crowd.lines) == MAX_LINES + 10


def test_a_changed_comment_stands_where_it_was_changed_and_one_that_was_not_where_it_was_seen_first() -> None:
    changed = First(1, "c", is_same=False, last=9)
    found = remarks([comment(1), comment(2), replace(comment(3), is_edited=True)], k1=changed)
    assert [(one.comment, one.order, one.is_untouched) for one in found] == [
        ("k2", 2, True),
        ("k3", 3, False),
        ("k1", 9, False),
    ]


SAID = {
    "in a line of code": "<p><code>:approved:</code></p>",
    "in a block of code": "<pre><code>:approved:</code></pre>",
    "between fences of Markdown": "<p>```</p><p>:approved:</p><p>```</p>",
    "in a quote": "<blockquote><p>:approved:</p></blockquote>",
    "in a quote of Markdown": "<p>&gt; :approved:</p>",
    "in a document that an agent posted": "<p>Say this:</p><pre>:approved:</pre><p>Thanks.</p>",
    "in a sentence": "<p>I would say :approved: but not today</p>",
    "with look-alike letters": "<p>:\u0430pproved:</p>",
    "with something unseen inside": "<p>:app\u200broved:</p>",
    "struck out": "<p><s>:approved:</s></p>",
    "hidden": "<p hidden>:approved:</p>",
    "as the name of a picture": '<p><span data-type="emoji" data-name="approved">\U0001f44d</span></p>',
}
"""By an approver."""
PEOPLE = {
    "a stranger": STRANGER,
    "an agent's own user": OURSELF,
    "a bot": UserId("u-bot"),
    "a removed member": UserId("u-gone"),
    "a look-alike name": UserId("u-\u0430nna"),
    "nobody": UserId(""),
}
"""Who say it plainly."""
CASES = {
    **{case: comment(50, lines=spoken(html)) for case, html in SAID.items()},
    **{case: comment(50, who) for case, who in PEOPLE.items()},
    "by edit": replace(comment(50), is_edited=True),
    "by an edit that the tracker does not tell of": replace(comment(50), digest="other"),
}


@pytest.mark.parametrize("name", ["QG-1", "QG-2"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_no_approval_of_a_person_opens_neither_gate(name: str, case: str) -> None:
    """S5: the words as the tracker has them, seen after the documents, and then a real approval."""
    before, task = ([], replace(TASK, switches=Switches())) if name == "QG-1" else ([comment(11)], TASK)
    for said, is_open in ((CASES[case], False), (comment(51), True)):
        heard = remarks([*before, said])
        verdict = GATES[name](PROJECT, task, replace(GREEN, remarks=heard))
        assert isinstance(verdict, Passed) == is_open
