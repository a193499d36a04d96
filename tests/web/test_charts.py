"""What a plot shows: its numbers as people read them, and even steps beside them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.web.charts import Point, bars, even_ticks


@pytest.mark.parametrize(
    ("most", "ticks"),
    [
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (3, [0, 1, 2, 3]),
        (7.3, [0, 2, 4, 6, 8]),
        (24, [0, 5, 10, 15, 20, 25]),
        (0.3, [0, 0.1, 0.2, 0.3]),
        (1e6, [0, 200_000, 400_000, 600_000, 800_000, 1_000_000]),
    ],
)
def test_ticks_are_even_and_reach_the_longest_bar(most: float, ticks: list[float]) -> None:
    assert even_ticks(most) == pytest.approx(ticks)


@given(st.floats(1e-6, 1e12))
def test_there_are_never_more_than_six_and_the_last_is_the_first_that_is_not_below(most: float) -> None:
    *below, last = even_ticks(most)
    assert 1 <= len(below) <= 5
    assert below[0] == 0
    assert below[-1] < most <= last * (1 + 1e-6)


def test_the_axis_tells_each_tick_once() -> None:
    svg = bars("Time", [Point("a", 7.3, "7.3 h"), Point("b", 2, "2 h")], lambda hours: f"{hours:g} h")
    assert sorted(re.findall(r">(\d[^<]*)</text>", svg)) == ["0 h", "2 h", "4 h", "6 h", "8 h"]
