"""Foreign text of several lines: what can be seen of it, bounded, and how much more there is."""

import re
from dataclasses import dataclass

from orchestrator.words.marks import is_seen

_TERMINAL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|\Z)?"  # colours, moves of the cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\n\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"  # titles, links
    r"|\x1b[ -/]*[0-~]?"
)
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Folded:
    """The beginning of a text, and how many characters were left out after it."""

    text: str
    more: int = 0

    def __bool__(self) -> bool:
        return bool(self.text or self.more)


def fold(text: str, max_chars: int) -> Folded:
    """Takes time in proportion to `max_chars`, not to the text."""
    return Folded(readable(text[:max_chars]), max(len(text) - max_chars, 0))


def readable(text: str) -> str:
    """Lines of what can be seen. A terminal's orders go whole, so that no `[31m` stays of them; one that does not
    end hides nothing.
    """
    text = text.strip("\n\r")
    if text.isascii() and text.isprintable():
        return text
    text = _LINE_ENDS.sub("\n", _TERMINAL.sub("", text))
    # Long texts have few different characters, so each of these is looked at once.
    unseen = [ord(char) for char in set(text) if char not in "\n\t" and not is_seen(char)]
    return text.translate(dict.fromkeys(unseen))
