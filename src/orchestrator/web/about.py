"""What a page may tell of how this process is set up: addresses and limits, never a secret."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class About:
    """`limits` by the names of their settings."""

    plane: str = ""
    gitea: str = ""
    cli: str = ""
    model: str = ""
    limits: Sequence[tuple[str, float]] = ()
