"""What is missing or broken in an installation, and how to mend it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """`broken`: the service cannot do its duty. `missing`: some tasks wait. `fine`: looked at, nothing to do."""

    BROKEN = "broken"
    MISSING = "missing"
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class Finding:
    """`code` is stable; `message` says what is, `mend` what to do."""

    code: str
    level: Level
    message: str
    mend: str = ""
