"""Where a task's branch begins: what lies at its name already, and the base that it would be made of."""

import asyncio
import contextlib
from dataclasses import dataclass

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import Branch, RepoName
from orchestrator.ports import Forge


@dataclass(frozen=True, slots=True)
class Place:
    """Where a branch of ours is, or is to be made of its base."""

    repo: RepoName
    branch: str
    base: str


@dataclass(frozen=True, slots=True)
class Beginning:
    """What is at such a place. `base` is a help, and None as well when it could not be seen."""

    branch: Branch | None
    base: Branch | None


async def beginning_at(forge: Forge, place: Place) -> Beginning:
    """Raises as the adapter does, of our branch."""
    branch, base = await asyncio.gather(forge.branch(place.repo, place.branch), _base(forge, place))
    return Beginning(branch, base)


async def _base(forge: Forge, place: Place) -> Branch | None:
    with contextlib.suppress(Transient, Permanent):
        return await forge.branch(place.repo, place.base)
    return None
