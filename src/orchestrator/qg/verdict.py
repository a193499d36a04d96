"""What a gate answers. Items are codes with parameters and evidence; words are made outside the core."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec


class Item(msgspec.Struct, frozen=True):
    """One thing that holds, is missing or is wrong. Where something is missing, `action` is the smallest step that
    supplies it (a stable code, or the text of a comment) and `who` can take it: operator, approver, author (of the
    work item), developer, reviewer, maintainer (who may merge), agent, ci, or orchestrator; or a person, as
    `by_login` writes it.

    A decision makes more of these than of all else, hence a struct: that takes a third of the time.
    """

    code: str
    params: tuple[tuple[str, str], ...] = ()
    evidence: tuple[str, ...] = ()
    who: str = ""
    action: str = ""


LOGIN = "@"
"""Begins a `who` that is a login: people may be called as roles are."""


def by_login(login: str) -> str:
    """A person as `who`; whoever may merge where the forge names none."""
    return f"{LOGIN}{login}" if login else "maintainer"


@dataclass(frozen=True, slots=True)
class Passed:
    """Open. `held` is what it rested on."""

    held: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Closed until somebody supplies what is missing; `held` is what is there already."""

    missing: tuple[Item, ...]
    held: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """Closed by something that has to be undone; `held` is what is there beside it."""

    reasons: tuple[Item, ...]
    held: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """Closed because we could not look; `held` is what was seen all the same."""

    observations: tuple[Item, ...]
    held: tuple[Item, ...] = ()


Verdict = Passed | Waiting | Failed | Unknown


def items(verdict: Verdict) -> tuple[Item, ...]:
    """What keeps it closed; nothing when it is open."""
    if isinstance(verdict, Passed):
        return ()
    if isinstance(verdict, Waiting):
        return verdict.missing
    return verdict.reasons if isinstance(verdict, Failed) else verdict.observations


def parted(found: Iterable[Item]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """What is missing, and what holds: an item that names nobody who has to take a step."""
    every = tuple(found)
    return tuple(item for item in every if item.who), tuple(item for item in every if not item.who)


def closed(reasons: Collection[Item], missing: Collection[Item], held: Collection[Item]) -> Verdict:
    """What has to be undone comes before what is missing; open only when there is neither."""
    if reasons:
        return Failed(tuple(reasons), tuple(held))
    return Waiting(tuple(missing), tuple(held)) if missing else Passed(tuple(held))
