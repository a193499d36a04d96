"""What somebody said in a comment: hostile markup."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.trackers.html import (
    MAX_CHARS,
    MAX_LINE_CHARS,
    MAX_LINES,
    MAX_SPOKEN_CHARS,
    spoken,
    to_text,
)
from orchestrator.words.marks import Code, Listing, Paragraph, Quote, Text, to_html

APPROVED = ":approved:"


@pytest.mark.parametrize(
    ("html", "lines"),
    [
        ("<p>:approved:</p>", [APPROVED]),
        ('<p class="editor-paragraph-block">:approved:</p>', [APPROVED]),
        ('<p style="text-align: left" class="editor-paragraph-block">:approved:</p>', [APPROVED]),
        (APPROVED, [APPROVED]),
        ("<div><p>Good.</p><p> :approved:&nbsp;</p></div>", ["Good.", APPROVED]),
        ("<p>Good.<br>:approved:<br/>Thanks</p>", ["Good.", APPROVED, "Thanks"]),
        ("<p><strong>:approved:</strong></p>", [APPROVED]),
        ("<p>:<b>approved</b>:</p>", [APPROVED]),
        ("<p>&#58;approved&colon;</p>", [APPROVED]),
        ("<h2>:approved:</h2><p>all of it</p>", [APPROVED, "all of it"]),
        ("<ul><li><p>one</p></li><li><p>:approved:</p></li></ul>", ["one", APPROVED]),
        ("<ul><li>one<li>:approved:</ul>", ["one", APPROVED]),
        ("<table><tr><td>:approved:</td></tr></table>", [APPROVED]),
        ("<p>Quote:</p><blockquote><p>no</p></blockquote><p>:approved:</p>", ["Quote:", APPROVED]),
        ("<p>:approved:</p><pre><code>x</code></pre>", [APPROVED]),
        ("<P>:approved:</P>", [APPROVED]),
        ("<p>:approved:", [APPROVED]),
        ("<p>:rejected: a &lt; b &amp; c</p>", [":rejected: a < b & c"]),
        ("<p>\u200b:approved:\ufeff</p>", [APPROVED]),
        ('<p>ok <span data-type="emoji" data-name="approved">👍🏽</span></p>', ["ok 👍🏽"]),
        ('<p><span data-type="emoji" data-name="x">👩🏽\u200d💻</span> yes</p>', ["👩🏽\u200d💻 yes"]),
        ("<p>\u2764\ufe0f\u200d\U0001f525 yes</p>", ["\u2764\ufe0f\u200d\U0001f525 yes"]),
        ("<p>```</p><p>x</p><p>```</p><p>:approved:</p>", [APPROVED]),
        ("<p>```python<br>x<br>````<br>:approved:</p>", [APPROVED]),
        ("<p>~~~</p><p>```</p><p>~~~</p><p>:approved:</p>", [APPROVED]),
        ("<p>```no fence```</p><p>:approved:</p>", ["```no fence```", APPROVED]),
        ("<p>&gt; quoted</p><p>:approved:</p>", [APPROVED]),
        ("<p>  </p><p></p><br>", []),
        ("", []),
    ],
)
def test_what_is_said_is_heard(html: str, lines: list[str]) -> None:
    assert spoken(html) == tuple(lines)


@pytest.mark.parametrize(
    "html",
    [
        # quoted, shown as an example, taken back
        "<blockquote><p>:approved:</p></blockquote>",
        "<blockquote>:approved:",
        "<ul><li><p>x</p><blockquote><p>:approved:</p></blockquote></li></ul>",
        "<blockquote><ul><li><p>:approved:</p></li></ul></blockquote>",
        "<blockquote><blockquote>a</blockquote><p>:approved:</p></blockquote>",
        "<p><code>:approved:</code></p>",
        "<pre><code>a\n:approved:\n</code></pre>",
        "<pre>:approved:</pre>",
        "<p><code>a<br>:approved:</code></p>",
        "<code><b>x</b><p>:approved:</p></code>",
        "<p><code>x</p><p>:approved:</p>",
        "<code/>:approved:",
        "<CODE>:approved:</CODE>",
        "<p><s>:approved:</s></p>",
        "<p><q>:approved:</q></p>",
        '<ul data-type="taskList"><li data-type="taskItem" data-checked="false"><p>:approved:</p></li></ul>',
        # in Markdown, as many write by habit
        "<p>```</p><p>:approved:</p><p>```</p>",
        "<p>```text<br>:approved:<br>```</p>",
        "<p>~~~</p><p>:approved:</p><p>~~~</p>",
        "<ul><li><p>```</p></li><li><p>:approved:</p></li></ul>",
        "<p> \u200b```</p><p>:approved:</p>",
        "<p>````</p><p>```</p><p>:approved:</p><p>````</p>",
        "<p>```</p><p>~~~</p><p>:approved:</p>",
        "<p>```</p><p>``` x</p><p>:approved:</p>",
        "<p><b>`</b>``</p><p>:approved:</p>",
        "<p>&gt; :approved:</p>",
        "<p>&gt;:approved:</p>",
        # not alone on its line
        "<p>write\n:approved:\nwhen done</p>",
        "<p>never\u2028:approved:\u2028never</p>",
        "<p>never\x0b:approved:</p>",
        "<p>never\x85:approved:\x0cno</p>",
        "<p>I say <b>:approved:</b> never</p>",
        "<table><tr><td>:approved:</td><td>no</td></tr></table>",
        "<p>:approved: <code>not</code></p>",
        '<p><mention-component id="1"></mention-component> :approved:</p>',
        '<p>:approved: <img src="no.png"></p>',
        "<p>:approved:\n&#10;no</p>",
        # another word
        "<p>:app\u200broved:</p>",
        "<p>:app&#8203;roved:</p>",
        "<p>:app&shy;roved:</p>",
        "<p>:app\u200droved:</p>",
        "<p>:app\u202eroved:</p>",
        "<p>:app\x00roved:</p>",
        "<p>:app\U000e0041roved:</p>",
        "<p>:app\u2060roved:</p>",
        "<p>:app\ufe00roved:</p>",
        "<p>:app\u034froved:</p>",
        "<p>:appr<code>x</code>oved:</p>",
        "<p>:appr<wbr>oved:</p>",
        "<p>:appr<!-- x -->oved:</p>",
        "<p>:appr<br>oved:</p>",
        "<p>:\uff41pproved:</p>",
        "<p>&amp;#58;approved:</p>",
        # not said at all
        '<p title=":approved:">x</p>',
        '<p title="><p>:approved:</p>">x</p>',
        '<a href=":approved:">x</a>',
        '<img alt=":approved:">',
        '<p><span data-type="emoji" data-name=":approved:">👍</span></p>',
        "<!-- <p>:approved:</p> -->",
        "<!--\n<p>:approved:</p>",
        "<!-- --  > <p>:approved:</p> -->",
        "<!--> <p>:approved:</p> -->",
        "<!--a--!><p>:approved:</p>",
        "<a title='<!-- ' x=\"--> '><p>:approved:</p>\">y</a>",
        "<![CDATA[<p>:approved:</p>]]>",
        "<!x <p>:approved:</p>",
        "<?x <p>:approved:</p> ?>",
        "<style>:approved:</style>",
        "<p>a</p><script>\n:approved:\n</script>",
        "<script><p>:approved:</p>",
        "<code><style></code></style><p>:approved:</p>",
        "<template><p>:approved:</p></template>",
        "<textarea>:approved:</textarea>",
        "<title>:approved:</title>",
        "<noscript><p>:approved:</p></noscript>",
        "<svg><text>:approved:</text></svg>",
        "<p hidden>:approved:</p>",
        '<p style="display:none">:approved:</p>',
        "<p style='text-align:left\";display:none'>:approved:</p>",
        '<p style="text-align:left;display:none">:approved:</p>',
        '<p class="a hidden">:approved:</p>',
        '<p class="hid&#100;en">:approved:</p>',
        "<span hidden><span>x</span>:approved:</span>",
        # markup that two programs read in two ways
        "<blockquote><table><tr><td></blockquote><p>:approved:</p></td></tr></table></blockquote>",
        "<p>a</b>:approved:</p></div>",
        "</blockquote><p>:approved:</p>",
        "<p>:approved:</p></p>",
        "<p>:approved:</p><b",
        "<p>:approved:</p> a < b",
        '<p title="x>:approved:</p>',
        "<p =x>:approved:</p>",
        "<p>:approved:</p></ x>",
        "<p>:approved:</p></>",
        "<b>" * 200 + APPROVED,
    ],
)
def test_what_is_not_plainly_said_is_no_approval(html: str) -> None:
    assert APPROVED not in spoken(html)


def test_an_invisible_character_inside_a_line_shows_itself() -> None:
    assert spoken("<p>:app\u200broved:</p>") == (":app\ufffdroved:",)


def test_something_that_is_no_text_leaves_a_mark_where_text_stands_beside_it() -> None:
    assert spoken("<p>see <code>x</code> there</p><p><code>x</code></p>") == ("see \ufffc there",)


def test_the_lines_are_bounded_in_number_and_length() -> None:
    assert len(spoken("<p>x</p>" * (MAX_LINES + 1))) == MAX_LINES
    assert spoken("<p>" + "x" * (MAX_LINE_CHARS + 5))[0] == "x" * MAX_LINE_CHARS


def test_where_a_text_is_cut_no_order_comes_to_be() -> None:
    head = "<p>first</p><p>" + " " * MAX_SPOKEN_CHARS
    whole = head[: MAX_SPOKEN_CHARS - len(APPROVED)] + APPROVED + " would be wrong</p>"
    assert whole[:MAX_SPOKEN_CHARS].endswith(APPROVED)
    assert spoken(whole) == ("first",)
    assert spoken("<p>first</p><p>:approved: <i>" + "never" * MAX_SPOKEN_CHARS + "</i></p>") == ("first",)


@pytest.mark.parametrize("read", [spoken, to_text])
@pytest.mark.parametrize(
    "piece",
    [
        *("<a ", '<a b="', "<a b=\"<a c='", "<a b=", "<a/", "<!--", "<![CDATA[", "<![x[", "</a ", "<", "&", "<p>"),
        *("\u200b", "`", "@", "https://", "<script>", "<blockquote>", "\n", " ", "- x\n", "\n\n "),
    ],
)
def test_no_text_keeps_us_busy(read: Callable[[str], object], piece: str) -> None:
    started = time.perf_counter()
    read(piece * (MAX_CHARS // len(piece)))
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("begin", ["style", "style=", "style='", "style='text-align", "style='text-align:left"])
@pytest.mark.parametrize("again", [" ", "x", " style=", ";"])
def test_no_attribute_keeps_us_busy(begin: str, again: str) -> None:
    started = time.perf_counter()
    assert len(spoken(f"<p>Yes.</p><p {begin}{again * (MAX_SPOKEN_CHARS // len(again) - 100)}x'>Nice.</p>")) <= 2
    assert time.perf_counter() - started < 5


PIECES = st.sampled_from(
    [
        *(
            "<p>",
            "</p>",
            "<code>",
            "</code>",
            "<blockquote>",
            "</blockquote>",
            "<br>",
            "<b>",
            "</b>",
            "<!--",
            "-->",
        ),
        *(
            ":approved:",
            "x",
            "&",
            "\n",
            "<",
            ">",
            '"',
            "'",
            "<p title='",
            "<li>",
            "</li>",
            "<ul>",
            "</ul>",
            "\u200b",
        ),
    ]
)


@given(st.lists(PIECES, max_size=12))
def test_nothing_raises_and_a_closed_quote_around_anything_silences_it(pieces: list[str]) -> None:
    inner = "".join(pieces)
    assert all(line and "\n" not in line for line in spoken(inner))
    assert to_text(inner) is not None
    if "</blockquote>" not in inner:
        assert APPROVED not in spoken(f"<blockquote>{inner}</blockquote>")


# -- text for agents


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a &amp; <b>b</b></p><p>c</p>", "a & b\nc"),
        ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
        ("a<script>evil()</script>b<style>x{}</style>", "ab"),
        ("", ""),
        ("<<<>>>", "<<<>>>"),
        ("a<!-- <p>b</p> -->c<!-- d", "ac"),
        ("<![x[a]]>b<!DOCTYPE html>c", "bc"),
        ("a &lt; b<p title='>'>c", "a < b\nc"),
    ],
)
def test_html_becomes_plain_text(html: str, text: str) -> None:
    assert to_text(html) == text


def test_what_we_quote_as_code_is_never_heard_as_an_order() -> None:
    """Texts of ours are made in `words.marks`; this is how they are heard here."""
    ours = to_html([Paragraph((Text("To approve, write"),)), Listing(((Code(APPROVED),),)), Quote(APPROVED)])
    assert spoken(ours) == ("To approve, write",)
