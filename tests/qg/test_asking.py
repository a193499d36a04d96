"""When people are asked about the architecture, and what is noted of their words."""

from dataclasses import replace

import pytest

from green import ANNA, ASKED, BORIS, BRD, DOCUMENTS, GREEN, PROJECT, remark
from orchestrator.domain.model import Switches
from orchestrator.qg.approvals import Ballot, Ballots, Subject, Word, asked, ballots
from orchestrator.qg.documents import digest_of
from orchestrator.qg.facts import Facts, Remark

NEVER = Switches()
DESIGN = tuple(
    replace(one, seen=1) for one in DOCUMENTS if one is not BRD and one.name in {"architecture", "dev_task"}
)
ABOUT = Subject(DESIGN, digest_of(tuple((one.name, one.blob) for one in DESIGN)))


@pytest.mark.parametrize(
    ("heard", "since"), [((), 1), ((remark(9),), 9), ((remark(4), remark(9)), 9), ((remark(9), remark(4)), 4)]
)
def test_what_was_heard_up_to_now_is_none_of_the_question(heard: tuple[Remark, ...], since: int) -> None:
    """They are in their order, so the last one is the newest."""
    found = asked(NEVER, replace(GREEN, remarks=heard), ABOUT)
    assert (found.design_asked_after, found.design_open_after) == (since, since)


def test_whoever_speaks_next_after_the_first_event_of_all_answers_the_question() -> None:
    open_since = Switches(design_asked=ABOUT.digest, design_asked_after=1, design_open_after=1)
    facts: Facts = replace(GREEN, remarks=(remark(2),))
    found = ballots(PROJECT, open_since, facts, Subject((replace(BRD, seen=1),), "brd"), ABOUT)
    assert [word.order for word in found.architecture.said] == [2]


def test_what_is_noted_already_stays_in_its_order() -> None:
    """Else each look would make another decision."""
    words = (Word(remark(1).comment, ANNA, 1), Word(remark(2).comment, BORIS, 2))
    noted = replace(ASKED, of_brd=("k2", "k1"))
    assert Ballots(analysis=Ballot(words=words)).bound(noted) is noted
