"""What of very many comments the gates get to see: nothing pushes out what an approver said."""

from collections.abc import Sequence
from dataclasses import replace

from green import ANNA, NOW, PROJECT, STRANGER
from orchestrator.domain.model import UserId
from orchestrator.domain.tracker import Comment, CommentId
from orchestrator.qg.commands import Approve, commands
from orchestrator.qg.facts import Remark
from orchestrator.reconcile.loop import MAX_LINES, MAX_REMARKS, MAX_STRANGE_REMARKS, _remarks
from orchestrator.reconcile.observe import Observed
from orchestrator.store.sightings import First, Sightings

WORDS = (":approved:",)


def comment(number: int, author: UserId = ANNA, lines: tuple[str, ...] = WORDS) -> Comment:
    return Comment(
        CommentId(f"k{number}"), author, is_edited=False, lines=lines, digest="d", external_id="", created_at=NOW
    )


def remarks(comments: Sequence[Comment], **firsts: First) -> tuple[Remark, ...]:
    """Seen in the order of their numbers, unless said otherwise."""
    known = {one.id: firsts.get(one.id, First(int(one.id[1:]), "d")) for one in comments}
    found = _remarks(PROJECT, Observed(comments=tuple(comments)), Sightings(known))
    assert isinstance(found, tuple)
    return found


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
