"""Figures, the machine they belong to, and the table that shows both."""

import os
import platform
import sqlite3
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scale import Bench

BUSY_SHARE = 0.5
"""Load above this share of the cores: somebody else is measured too."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure beside the limit or baseline of the same run. `judged` says what the target is about."""

    measure: str
    value: float
    unit: str
    beside: str = ""
    reference: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    judges_ratio: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.reference if self.reference else None

    @property
    def is_met(self) -> bool | None:
        """None where there is no target."""
        judged = self.ratio if self.judges_ratio else self.value
        if judged is None or (self.at_least is None and self.at_most is None):
            return None
        is_enough = self.at_least is None or judged >= self.at_least
        return is_enough and (self.at_most is None or judged <= self.at_most)

    @property
    def target(self) -> str:
        times = " x" if self.judges_ratio else ""
        least = f">= {_short(self.at_least)}{times}" if self.at_least is not None else ""
        most = f"<= {_short(self.at_most)}{times}" if self.at_most is not None else ""
        return f"{least} {most}".strip()


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed; exact, not interpolated."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def machine(folder: Path) -> dict[str, str]:
    """What the figures depend on."""
    load = os.getloadavg()
    return {
        "cores": str(os.cpu_count()),
        "cpu": _cpu_name(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "kernel": platform.release(),
        "disk": f"{_file_system(folder)} ({folder})",
        "load average": " ".join(f"{one:.2f}" for one in load),
    }


def warning(folder: Path) -> str:
    """Why the figures may mislead; empty when nothing speaks against them."""
    reasons = []
    if os.getloadavg()[0] > BUSY_SHARE * (os.cpu_count() or 1):
        reasons.append("the machine is busy with other work: absolute figures are too bad, ratios are noisy")
    if _file_system(folder) in {"tmpfs", "ramfs", "overlay"}:
        reasons.append("the folder is not on a plain disk, so commits may cost nothing: use --dir")
    return "; ".join(reasons)


def table(figures: Sequence[Figure]) -> str:
    rows = [("measure", "value", "beside it, same run", "ratio", "target", "met"), *map(_row, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    notes = [f"  {figure.measure}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *(["", "Notes", *notes] if notes else [])])


def failures(figures: Sequence[Figure]) -> list[str]:
    return [figure.measure for figure in figures if figure.is_met is False]


def announce(bench: Bench, figures: Sequence[Figure]) -> None:
    for figure in figures:
        bench.tell(f"  {figure.measure}: {_short(figure.value)} {figure.unit}")


def _row(figure: Figure) -> tuple[str, ...]:
    beside = f"{figure.beside} {_short(figure.reference)} {figure.unit}" if figure.reference is not None else ""
    ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
    met = {True: "yes", False: "NO", None: ""}[figure.is_met]
    return figure.measure, f"{_short(figure.value)} {figure.unit}", beside, ratio, figure.target, met


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _file_system(folder: Path) -> str:
    """Of the mount that holds the folder: the longest mount point that is a parent of it."""
    mounts = [(point, kind) for point, kind in _mounts() if folder.resolve().is_relative_to(point)]
    return max(mounts, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]


def _mounts() -> Iterator[tuple[str, str]]:
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, point, kind, *_ = line.split(" ")
        yield point, kind
