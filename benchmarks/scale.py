"""How much is measured, and where it is written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"


@dataclass(frozen=True, slots=True)
class Scale:
    """Counts of one kind of run. Small ones show that everything works; only `FULL` gives figures to keep."""

    repeats: int
    burst: int
    connections: int
    work_items: int
    few_rows: int
    events: int
    tasks: int
    status_calls: int
    starts: int
    kills: int
    deliveries: int
    every_s: float
    agents: int


FULL = Scale(
    repeats=5,
    burst=3000,
    connections=64,
    work_items=60,
    few_rows=100,
    events=1_000_000,
    tasks=10_000,
    status_calls=400,
    starts=5,
    kills=20,
    deliveries=60,
    every_s=5.0,
    agents=100,
)
QUICK = Scale(
    repeats=3,
    burst=1000,
    connections=64,
    work_items=20,
    few_rows=100,
    events=100_000,
    tasks=1_000,
    status_calls=100,
    starts=3,
    kills=3,
    deliveries=24,
    every_s=5.0,
    agents=20,
)
TINY = Scale(
    repeats=1,
    burst=40,
    connections=4,
    work_items=2,
    few_rows=5,
    events=50,
    tasks=10,
    status_calls=3,
    starts=1,
    kills=1,
    deliveries=3,
    every_s=1.0,
    agents=2,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every measure gets: a folder on a real disk, its counts, and somebody to tell of progress."""

    folder: Path
    scale: Scale
    tell: Callable[[str], None]

    def at(self, name: str) -> Path:
        """A fresh folder below ours."""
        path = self.folder / name
        path.mkdir()
        return path
