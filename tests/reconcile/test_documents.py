"""What is read from a document's text, whoever wrote it."""

import asyncio
from typing import Any

import pytest

from orchestrator.domain.forge import FileEntry
from orchestrator.domain.model import RepoName, Sha
from orchestrator.reconcile.documents import MAX_BYTES, Library, Text

BOM = "utf-8-sig"
"""As Windows' Notepad and PowerShell write a file; a forge shows it as any other."""


def headings(text: str) -> tuple[str, ...]:
    return Text(text.encode()).headings


@pytest.mark.parametrize(
    ("line", "heading"),
    [
        ("# Goal", "Goal"),
        ("  ### **Goal** ###", "Goal"),
        ("###### Goal #1 \t", "Goal #1"),
        ("# C# ", "C#"),
        ("# #", ""),
    ],
)
def test_a_heading_is_known_by_its_marks_which_may_stand_behind_it_too(line: str, heading: str) -> None:
    assert headings(f"{line}\ntext\n") == (heading,)


@pytest.mark.parametrize("line", ["#Goal", "    # Goal", "####### Goal", "Goal", "#"])
def test_what_a_forge_shows_as_text_is_no_heading(line: str) -> None:
    assert headings(line) == ()


@pytest.mark.parametrize("encoding", ["utf-8", BOM])
def test_a_mark_of_byte_order_hides_no_first_line(encoding: str) -> None:
    assert Text("# Цель\nЭкспорт.\n".encode(encoding)).headings == ("Цель",)
    assert Text("Статус: Ready for dev\n\nСделать.\n".encode(encoding)).is_ready


@pytest.mark.parametrize(
    "hidden", ["```\n# Goal\ntext\n```\n", "<!--\n# Goal\ntext\n-->\n", " <!-- # Goal\ntext\n# Scope\n"]
)
def test_code_and_comments_say_nothing(hidden: str) -> None:
    found = Text(hidden.encode())
    assert (found.headings, found.is_blank) == ((), True)


def test_what_stands_around_a_comment_is_read() -> None:
    assert headings("# One <!-- a -->\n<!-- b\n# No\n-->\n# Two\na <!-- that never ends\n# Three\n") == (
        "One",
        "Two",
        "Three",
    )


@pytest.mark.parametrize(
    ("begin", "again", "end"),
    [
        ("# a", " ", "x"),
        ("# ", "#", "x"),
        ("#", "\t", ""),
        ("", "<!--", ""),
        ("", "` ", ""),
        ("status:", " ", "x"),
    ],
)
def test_no_text_takes_longer_than_its_length_says(begin: str, again: str, end: str) -> None:
    """With a step back for each character it would be hours: this test would never end."""
    count = (MAX_BYTES - len(begin + end)) // len(again)
    assert Text(f"{begin}{again * count}{end}\n".encode()).is_ready is False


class Holding:
    """A forge that has one file."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def file(self, *_: object, **__: object) -> bytes:
        return self.content


async def test_nobody_waits_while_a_long_document_is_read() -> None:
    """Half a mebibyte of line feeds takes most of a second."""
    forge: Any = Holding(b"\n" * MAX_BYTES)
    entry = FileEntry("tasks/A-1/BRD.md", "b" * 40, MAX_BYTES)
    reading = asyncio.ensure_future(Library().text(forge, RepoName("acme", "shop"), entry, Sha("a" * 40)))
    turns = 0
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10
    found = reading.result()
    assert found is not None
    assert found.is_blank
