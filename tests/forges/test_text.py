"""Text of others in our comments calls nobody, links nothing and hides nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import Permanent
from orchestrator.forges.text import MAX_CHARS, first_line, harmless, hidden, log_end, one_line, outgoing

FORGE_MENTION = re.compile(r"(?:\s|^|\(|\[|['\"*_~`>,.;:-])@[0-9a-zA-Z_-]")
FORGE_REFERENCE = re.compile(r"[#!][0-9]|/(?:issues|pulls)/[0-9]")


@pytest.mark.parametrize(
    "text",
    [
        "@dev",
        "hi @dev!",
        "(@dev)",
        "**@dev**",
        "@acme/team",
        "@-odd @_odd",
        "a@b.example",
        "closes #12",
        "fixes acme/enduro-trails#12, resolves !7",
        "closes https://git.example.test/acme/enduro-trails/issues/12",
        "https://git.example.test/acme/enduro-trails/pulls/12#issuecomment-5",
        "@\u200bdev @\u2060dev #\u200b12",
        "@\x00dev",
        "@\x1b[0mdev",
        "&#64;dev &#x40;dev &#35;12",
    ],
)
def test_mentions_and_references_are_dead(text: str) -> None:
    made = harmless(text)
    assert not FORGE_MENTION.search(made)
    assert not FORGE_REFERENCE.search(made)
    assert not re.search(r"&#[0-9xX]", made)
    assert made.replace("\u200b", "").replace("\x1b", "")


def test_the_page_that_a_text_is_for_stays_an_address_and_every_other_is_dead() -> None:
    own = "/acme/enduro-trails/pulls/7"
    address = f"https://git.example.test{own}"
    kept = f"[pull request](<{address}>), {address}/files, {address}#issuecomment-5"
    assert harmless(kept, own=own) == kept
    assert not FORGE_REFERENCE.search(harmless(kept))
    for other in (
        f"{address}7", "https://git.example.test/acme/enduro-trails/pulls/8", "/acme/enduro-trails/issues/7",
        "https://git.example.test/acme/xenduro-trails/pulls/7", "/pulls/7", "trails/pulls/7",
    ):  # fmt: skip
        assert not FORGE_REFERENCE.search(harmless(f"{other} {other}", own=own)), other
    assert not FORGE_REFERENCE.search(harmless("/pulls/7", own="/pulls/"))


@given(st.text(alphabet=st.sampled_from("/acmepulisu0178 "), max_size=60))
def test_no_text_refers_to_another_page(text: str) -> None:
    made = harmless(f"{text}/acme/pulls/7{text}", own="/acme/pulls/7")
    assert not FORGE_REFERENCE.search(re.sub(r"/acme/pulls/7(?![0-9])", "", made))


def test_ordinary_text_stays_as_it_is() -> None:
    text = "# Отчёт\n\n- [x] tests: 12 of 12\n\n```python\nx = 1  # one\n```\nhttps://ci.example.test/job/7\n"
    assert harmless(text) == text


@given(st.text(alphabet=st.sampled_from("@#!<>-/& ;\n\u200b\u2060\x1b[0maxissues12pulld"), max_size=60))
def test_no_text_gets_through_and_once_is_enough(text: str) -> None:
    made = harmless(text)
    assert not FORGE_MENTION.search(made)
    assert not FORGE_REFERENCE.search(made)
    assert "<!--" not in made
    assert harmless(made) == made


@given(st.text(max_size=80))
def test_no_text_of_others_is_taken_for_our_marker(text: str) -> None:
    assert first_line(harmless(text)) == ""
    assert first_line(harmless("<!-- orch:task -->\n" + text)) == ""


def test_our_own_marker_is_kept_and_found() -> None:
    line = hidden("orch:task:ENDURO-5")
    assert first_line(outgoing(f"{line}\n<!-- orch:task:OTHER -->\n@dev")) == line
    assert outgoing(f"{line}\n<!-- x -->").endswith("<\u200b!-- x -->")
    assert hidden(line) == line
    assert outgoing("") == ""


@pytest.mark.parametrize("key", ["", "a -->", "a--b", "a\nb", "<!--", "я", "x" * 201, "-->\n@dev"])
def test_a_key_that_could_end_its_own_hiding_place_is_refused(key: str) -> None:
    with pytest.raises(Permanent):
        hidden(key)


@pytest.mark.parametrize(
    "line", ["<!-- a --> b", " <!-- a -->", "<!-- a -- b -->", "<!---->", "<!-- a --><!-- b -->", "x"]
)
def test_a_line_that_only_resembles_a_marker_is_none(line: str) -> None:
    assert first_line(line) == ""


def test_everything_has_an_end() -> None:
    assert len(harmless("x" * 10 * MAX_CHARS)) < MAX_CHARS + 10
    assert one_line("a\nb\tc" + "x" * 500, 20) == "a b cxxxxxxxxxxxxxx…"
    assert len(log_end(b"y" * 1000, 100)) == 100


def test_a_log_is_what_a_terminal_would_show() -> None:
    raw = b"\x1b[1;31mred\x1b[0m\r\nprogress 1\rprogress 2\n\x1b]0;title\x07\x9bok\x08\n"
    assert log_end(raw, 1000) == "red\nprogress 1\nprogress 2\n\ufffdok"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x1b[31m" * 1000 + b"cut\nwhole\n", "whole"),
        (b"first\n" + "я".encode() * 399 + b"\nlast", "last"),
        (b"x" + "я".encode() * 1000, "я" * 100),
        (b"x\x1b" + "\U0001f600".encode() * 1000 + b"y", "\U0001f600" * 99 + "y"),
        (b"one\n" * 1000, "one\n" * 24 + "one"),
    ],
)
def test_of_a_long_log_only_the_end_is_cleaned_from_a_whole_line_or_character(raw: bytes, shown: str) -> None:
    assert log_end(raw, 100) == shown
