"""What is missing or broken in an installation. `words/findings` says it, and how to mend it, for people."""

from dataclasses import dataclass
from enum import StrEnum

Params = tuple[tuple[str, str], ...]


class Level(StrEnum):
    """`broken`: the service cannot do its duty. `missing`: some tasks wait. `fine`: looked at, nothing to do."""

    BROKEN = "broken"
    MISSING = "missing"
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class Finding:
    """`code` is stable. `said` and `mending` name the words of what is and of what to do where a code has several;
    else they are the code's own.
    """

    code: str
    level: Level
    params: Params = ()
    said: str = ""
    mending: str = ""
    without: Params = ()
    """Of a sandbox: what the machine cannot give, each with the reason."""


def about(**values: object) -> Params:
    """Parameters of a finding, as text."""
    return tuple((name, str(value)) for name, value in values.items())
