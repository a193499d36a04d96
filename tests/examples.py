"""How many examples a property is tried with: so many by day, and TESTS_TIMES as many by night and for mutants."""

import os

from hypothesis import settings

TIMES = int(os.environ.get("TESTS_TIMES", "1"))


def by_day(count: int) -> settings:
    """For `@given`: to make the examples costs far more than to look at what becomes of them."""
    return settings(max_examples=count * TIMES)
