"""What people order in comments. Parsing only: who may, and when it counts, is decided elsewhere."""

import re
from dataclasses import dataclass
from enum import StrEnum

MAX_COMMANDS = 10
"""Of one comment; what stands after them is not read."""
MAX_TEXT = 4000
_BUDGET = re.compile(r"[1-9][0-9]{0,4}")
_SHA = re.compile(r"[0-9a-f]{7,40}|[0-9a-f]{64}")
"""The beginning of a commit's name, or all of it: of SHA-1 or of SHA-256."""


class Verb(StrEnum):
    """The words after `/orch`."""

    STATUS = "status"
    WHY = "why"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    CANCEL = "cancel"
    BUDGET = "budget"
    ALLOW_PATHS = "allow-paths"


@dataclass(frozen=True, slots=True)
class Approve:
    """`:approved:` alone on its line."""


@dataclass(frozen=True, slots=True)
class Reject:
    """`:rejected: why`."""

    why: str


@dataclass(frozen=True, slots=True)
class Order:
    """A well-formed `/orch` command."""

    verb: Verb
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Misspelt:
    """`/orch` and something that is no command, or a command without the argument that it needs."""

    text: str


Command = Approve | Reject | Order | Misspelt

_APPROVED, _REJECTED, _ORDER = ":approved:", ":rejected:", "/orch"
END_OF_VOTE = "ed:"
"""A comment without it neither approves nor rejects: one search is quicker than to parse it."""
_VERBS = frozenset(verb.value for verb in Verb)
_ARGUMENTS = {Verb.BUDGET: _BUDGET, Verb.ALLOW_PATHS: _SHA}


def commands(lines: tuple[str, ...]) -> tuple[Command, ...]:
    """The commands of a comment's lines, in their order. The whole comment stands behind a rejection: the lines
    below it are its reason.
    """
    if not _may_command("\n".join(lines)):
        return ()
    found: list[Command] = []
    for number, line in enumerate(lines):
        text = line.strip()
        if text[:1] in {":", "/"} and (command := _command(text, lines[number + 1 :])):
            found.append(command)
            if len(found) == MAX_COMMANDS:
                break
    return tuple(found)


def has_vote(lines: tuple[str, ...]) -> bool:
    """It may approve or reject."""
    return END_OF_VOTE in "\n".join(lines)


def _may_command(text: str) -> bool:
    return _APPROVED in text or _REJECTED in text or _ORDER in text


def _command(text: str, below: tuple[str, ...]) -> Command | None:
    if text == _APPROVED:
        return Approve()
    if text.startswith(_REJECTED):
        return Reject("\n".join((text.removeprefix(_REJECTED), *below)).strip()[:MAX_TEXT])
    words = text.split(maxsplit=3)
    return _order(words[1:], text) if words[0] == _ORDER else None


def _order(words: list[str], text: str) -> Order | Misspelt:
    """Case does not matter: phones begin lines with capitals."""
    word, argument = (*(one.lower() for one in words), "", "")[:2]
    if word not in _VERBS or len(words) > 1 + (word in _ARGUMENTS):
        return Misspelt(text[:80])
    verb = Verb(word)
    if verb in _ARGUMENTS and not _ARGUMENTS[verb].fullmatch(argument):
        return Misspelt(text[:80])
    return Order(verb, argument)
