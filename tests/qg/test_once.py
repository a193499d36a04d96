"""`once` answers the very same objects from memory, and never other ones."""

from dataclasses import replace
from typing import Any

import pytest

from green import GREEN, PROJECT, TASK
from orchestrator.qg.once import once

SAME = (PROJECT, TASK, GREEN)
EQUAL_COPIES = (replace(PROJECT), replace(TASK), replace(GREEN))


def counted() -> tuple[Any, list[tuple[Any, ...]]]:
    asked: list[tuple[Any, ...]] = []

    def answer(*given: Any) -> list[Any]:
        asked.append(given)
        return [*given]

    return once(answer), asked


def test_the_same_question_is_asked_once_and_gets_the_same_answer() -> None:
    ask, asked = counted()
    first = ask(*SAME)
    assert first == [*SAME]
    assert ask(*SAME) is first
    assert asked == [SAME]


@pytest.mark.parametrize("place", range(3))
def test_one_other_object_is_another_question(place: int) -> None:
    ask, asked = counted()
    other = tuple(EQUAL_COPIES[at] if at == place else one for at, one in enumerate(SAME))
    for question in (SAME, other, SAME):
        assert all(got is given for got, given in zip(ask(*question), question, strict=True))
    assert len(asked) == 3


@pytest.mark.parametrize("place", range(3))
def test_one_same_object_does_not_make_it_the_same_question(place: int) -> None:
    ask, asked = counted()
    other = tuple(one if at == place else EQUAL_COPIES[at] for at, one in enumerate(SAME))
    ask(*SAME)
    ask(*other)
    assert len(asked) == 2
