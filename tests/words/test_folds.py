"""Foreign text of several lines: what can be seen of it stays, and nothing else."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.words.folds import Folded, fold, readable


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("one\ntwo\tthree", "one\ntwo\tthree"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("a\u2028b\x0cc", "a\nb\nc"),
        ("\x1b[1;31mred\x1b[0m and \x9b4mline", "red and line"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\", "here"),
        ("\x1b]0;without an end\nthe next line", "0;without an end\nthe next line"),
        ("\x1b(Bplain\x1bc", "plain"),
        ("cut short \x1b[3", "cut short "),
        ("a\x00b\x07c\x7fd", "abcd"),
        ("\u202egnp.exe\u202c \u2066x\u2069", "gnp.exe x"),
        ("half \ud83d character", "half  character"),
        ("\ufeffmark \u200b of \u3164 nothing", "mark  of  nothing"),
        ("Привет, мир 🙂", "Привет, мир 🙂"),
    ],
)
def test_only_what_can_be_seen_stays(text: str, seen: str) -> None:
    assert readable(text) == seen


def test_a_long_text_is_cut_and_says_how_much_is_left_out() -> None:
    assert fold("x" * 25, 10) == Folded("x" * 10, 15)
    assert fold("x" * 10, 10) == Folded("x" * 10)
    assert not fold("", 10)


@given(st.text(alphabet=st.characters(), max_size=60))
def test_no_text_leaves_a_control_character(text: str) -> None:
    assert all(char in "\n\t" or unicodedata.category(char)[0] != "C" for char in readable(text))


@pytest.mark.parametrize("unit", ["\x90", "\x1b]", "\x1b[", "\x1b[1;", "\x9b0", "\x1b ", "\r", "\x1b]x\x90"])
def test_hostile_repetition_takes_no_longer_than_other_text(unit: str) -> None:
    """What takes time in proportion to its length twice over would take minutes here."""
    began = time.process_time()
    readable(unit * 300_000)
    assert time.process_time() - began < 10
