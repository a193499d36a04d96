"""What the next agent is told of why its stage is worked on again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feedback:
    """Why a stage is worked on again, for the next agent. `code` is stable; `text` is foreign and untrusted."""

    code: str
    source: str
    """Who or what said it: a login, a context's name, a role."""
    text: str
    url: str = ""
