"""What goes to a terminal or a pipe. Foreign text goes through `plain`: it rules neither terminal nor markup."""

import json
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.cli.wishes import Wishes
from orchestrator.words.marks import is_seen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

MAX_CHARS = 2000
ROOMY = 110
"""Columns of a terminal on which every column of a table has room."""
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_INSTEAD = "�"


def say(*lines: str) -> None:
    """To people, on standard error: standard output is for results."""
    for line in filter(None, lines):
        print(plain(line), file=sys.stderr)


def is_for_people(wishes: Wishes) -> bool:
    """Tables and colours; else JSON."""
    return not wishes.as_json and sys.stdout.isatty()


def print_json(body: Any) -> None:
    """ASCII alone: nothing in it rules a terminal, whatever it is shown on."""
    print(json.dumps(body, indent=2 if sys.stdout.isatty() else None))


def print_line(body: Any) -> None:
    """One of many: a line is a whole value."""
    print(json.dumps(body), flush=True)


def console(wishes: Wishes) -> "Console":
    return _console(wishes)


def _console(wishes: Wishes, *, stderr: bool = False) -> "Console":
    from rich.console import Console  # noqa: PLC0415 - JSON needs none of it

    is_plain = wishes.no_color or bool(os.environ.get("NO_COLOR"))
    colours: Literal["auto"] | None = None if is_plain else "auto"
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, color_system=colours)


def busy(wishes: Wishes, words: str) -> AbstractContextManager[object]:
    """Says what is waited for while it lasts, to whoever looks on; on standard error, and gone afterwards."""
    if wishes.as_json or not sys.stderr.isatty():
        return nullcontext()
    return _console(wishes, stderr=True).status(words)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], without: Collection[str] = ()) -> "Table":
    """Without lines, and without the columns that there is no room for. A column whose name begins with > has
    numbers, one that begins with = is never broken.
    """
    from rich.table import Table  # noqa: PLC0415

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), show_header=any(columns))
    kept = [number for number, name in enumerate(columns) if name.lstrip(">=") not in without]
    for name in (columns[number] for number in kept):
        is_whole = name.startswith((">", "="))
        made.add_column(name.lstrip(">="), justify="right" if name.startswith(">") else "left", no_wrap=is_whole)
    for row in rows:
        made.add_row(*(row[number] for number in kept))
    return made


def plain(text: object, max_chars: int = MAX_CHARS) -> str:
    """One bounded line. What cannot be seen leaves a mark, so that a forged text looks like one."""
    whole = str(text)
    line = whole[:max_chars].rstrip()
    if not (line.isascii() and line.isprintable()):
        line = "".join(" " if char.isspace() else char if is_seen(char) else _INSTEAD for char in line)
    return line if len(whole) <= max_chars else f"{line}…"


def safe(text: object, style: str = "", max_chars: int = MAX_CHARS) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    return Text(plain(text, max_chars), style)


def age(seconds: float) -> str:
    """In its largest unit."""
    size, unit = next((one for one in _UNITS if seconds >= one[0]), (1, "s"))
    return f"{int(max(seconds, 0) // size)} {unit}"


def age_of(moment: str | None, now: datetime) -> str:
    """Since a time as the API tells it; empty for none, and for what is no time."""
    found = time(moment)
    return age((now - found).total_seconds()) if found else ""


def time(moment: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(moment) if moment else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else None


def clock(moment: str | None) -> str:
    """In the time zone of whoever reads."""
    found = time(moment)
    return f"{found.astimezone():%Y-%m-%d %H:%M:%S}" if found else ""


def money(usd: float) -> str:
    return f"${usd:.2f}" if usd >= 1 or not usd else f"${usd:.4f}"


def cost(run: Mapping[str, Any]) -> str:
    """Of one that is at work it is an estimate, and nothing while no run of its model has ended."""
    if run["state"] == "ended":
        return money(run["cost_usd"])
    return f"~{money(run['cost_usd'])}" if run["cost_usd"] else ""


def cost_in_all(runs: Collection[Mapping[str, Any]]) -> str:
    """An estimate while one of them is at work."""
    about = "" if all(run["state"] == "ended" for run in runs) else "~"
    return about + money(sum(run["cost_usd"] for run in runs))


def count(number: int) -> str:
    """Short: 1.2k, 3.4M."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= 10 * size:
            return f"{number / size:.0f}{unit}"
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)
