"""What a gate answers. Items are codes with parameters and evidence; words are made outside the core."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that holds, is missing or is wrong. `who` can supply it: operator, approver, author, agent."""

    code: str
    params: tuple[tuple[str, str], ...] = ()
    evidence: tuple[str, ...] = ()
    who: str = ""


@dataclass(frozen=True, slots=True)
class Passed:
    """Open. `held` is what it rested on."""

    held: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Closed until somebody supplies what is missing."""

    missing: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """Closed by something that has to be undone."""

    reasons: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Closed because we could not look."""

    observations: tuple[Item, ...]


Verdict = Passed | Waiting | Failed | Unknown
