"""The real clock: the one place that asks the system for the time."""

import time
from datetime import UTC, datetime


class SystemClock:
    """See ports.Clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this is the clock's home

    def monotonic(self) -> float:
        return time.monotonic()
