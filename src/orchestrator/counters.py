"""Plain counts since the process began, for /metrics. To count costs some dozen nanoseconds; nothing is global."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

LOOK_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class Durations:
    """How many took no longer than each bound, but longer than the one before it; the last has no bound."""

    bounds: tuple[float, ...] = LOOK_BOUNDS_S
    counts: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds


@dataclass(slots=True)
class Counters:
    """`deliveries` by source and answer (`accepted`, `duplicate`); `refused` by source, status and code; `looks`
    and `resyncs` by how they ended (`done`, `put_off`, `broke`).
    """

    deliveries: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    looks: Counter[str] = field(default_factory=Counter)
    look_times: Durations = field(default_factory=Durations)
    resyncs: Counter[str] = field(default_factory=Counter)
