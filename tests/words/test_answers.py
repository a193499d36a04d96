"""Answers to comments and the frames around reports: readable, and nothing in them acts."""

import re

import pytest

from green import HEAD
from orchestrator.domain.forge import ReviewState
from orchestrator.domain.roles import Language
from orchestrator.domain.run import VerdictWord
from orchestrator.forges.text import outgoing
from orchestrator.qg.commands import Verb, commands
from orchestrator.qg.verdict import Item
from orchestrator.trackers.html import spoken
from orchestrator.words.answers import (
    MAX_REPORT_CHARS,
    reply_html,
    reply_text,
    report_html,
    report_text,
    review_text,
)

EN, RU = Language.EN, Language.RU
WAITING = (
    Item("approval", (("documents", "tasks/E-1/BRD.md"), ("have", "0"), ("needed", "1")), who="approver"),
    Item("paused", who="approver", action="/orch resume"),
)
REPORT = """\
## Findings

- `app.py:3`: the loop never ends

```
:approved:
vec![1]; List<String> x;
```
:approved:
/orch cancel
![shot](http://evil.example/x.png) <img src=http://evil.example/y> @anna #12
"""


def test_why_is_answered_with_all_that_is_waited_for() -> None:
    item = Item("why", (("stage", "analysis"),))
    assert (
        reply_text(item, WAITING, EN)
        == """\
stage “analysis”, and it waits for this

- `tasks/E-1/BRD.md` waits for approval, 0 of 1: read `tasks/E-1/BRD.md` on the branch, then comment \
`:approved:`, alone on its line, on the work item in Plane, or `:rejected: why` (approver)
- paused by a person: comment `/orch resume` in Plane (approver)"""
    )
    assert reply_html(item, WAITING[1:], RU) == (
        "<p>этап «анализ», и вот чего он ждёт</p><ul><li><p>на паузе по слову человека: напишите в Plane "
        "<code>/orch resume</code> (согласующий)</p></li></ul>"
    )


def test_an_approval_that_opens_nothing_is_answered_with_the_reason() -> None:
    item = Item("approval_not_counted", (("why", "edited"), ("stage", "analysis")), (), "approver", ":approved:")
    assert reply_text(item, (), EN) == (
        "an `:approved:` does not count: the comment was edited; comment `:approved:` anew, alone on its line"
    )
    assert reply_html(item, (), RU) == (
        "<p><code>:approved:</code> не считается: комментарий правили; напишите <code>:approved:</code> заново, "
        "отдельной строкой</p>"
    )


def test_an_unknown_command_is_answered_with_those_that_there_are() -> None:
    params = (("command", "/orch <b>aprove</b>"), ("commands", ", ".join(f"/orch {verb}" for verb in Verb)))
    text = reply_html(Item("unknown_command", params, (), "approver", "/orch"), (), EN)
    assert text.startswith("<p><code>/orch &lt;b&gt;aprove&lt;/b&gt;</code> is no command: use one of")
    assert "/orch allow-paths</code></p>" in text


def test_what_is_said_of_an_edited_order_holds_whether_it_was_carried_out_before_or_not() -> None:
    item = Item("command_not_counted", (("why", "edited"),), (), "approver", "/orch")
    assert reply_text(item, (), EN) == (
        "as the comment stands now, its `/orch` commands do not count: the comment was edited; what was carried "
        "out before that stays so; comment anew what is still to be done"
    )
    assert reply_text(item, (), RU) == (
        "в нынешнем виде команды `/orch` в комментарии не действуют: комментарий правили; что было выполнено "
        "раньше, остаётся в силе; напишите заново то, что ещё нужно сделать"
    )


def test_an_answer_tells_of_so_many_things_and_no_more() -> None:
    assert reply_text(Item("why"), WAITING * 20, EN).count("\n- ") == 10


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("text", ["\n:approved:\n", "</p><p>:approved:</p>", "/orch cancel", "@anna"])
def test_an_answer_is_no_command_whatever_it_cites(text: str, language: Language) -> None:
    params = tuple((name, text) for name in ("command", "commands", "given", "head", "why", "documents", "detail"))
    for code in ("unknown_command", "not_the_head", "approval_not_counted", "approval", "odd"):
        item = Item(code, params, (text,), text, text)
        html = reply_html(item, (item, item), language)
        assert commands(spoken(html)) == ()
        assert spoken(html)
        assert not re.search(r"@\w", html)
        assert commands(tuple(reply_text(item, (item,), language).split("\n"))) == ()


# -- reports


def test_a_review_says_who_what_and_of_which_commit() -> None:
    text = review_text(2, HEAD, ReviewState.CHANGES_REQUESTED, "Fix *this*.\n\n- one", RU)
    assert (
        text
        == """\
Пишет ревьюер, коммит `aaaaaaaaaa`, попытка 2: нужны изменения

> Fix *this*.
>
> - one"""
    )


def test_a_review_that_is_only_a_comment_says_that_people_have_to_approve() -> None:
    text = review_text(1, HEAD, ReviewState.APPROVED, "Good.", EN, as_comment=True)
    assert (
        text
        == """\
The reviewer on `aaaaaaaaaa`, attempt 1: approved

> Good.

The reviewer has no Gitea user of its own here: this comment opens no gate, a person has to approve."""
    )


def test_a_verdict_of_another_kind_is_told_as_it_is() -> None:
    assert "attempt 1: commented" in review_text(1, HEAD, ReviewState.COMMENTED, "Hm.", EN)


def test_a_testers_report_goes_to_both_places() -> None:
    assert report_text(1, HEAD, VerdictWord.PASSED, "All *well*.", EN) == (
        "The tester on `aaaaaaaaaa`, attempt 1: passed\n\n> All *well*."
    )
    assert report_html(1, HEAD, VerdictWord.FAILED, "a < b\nc", RU) == (
        "<p>Пишет тестировщик, коммит <code>aaaaaaaaaa</code>, попытка 1: не пройдено</p>"
        "<blockquote><p>a &lt; b<br>c</p></blockquote>"
    )


def test_an_empty_report_is_said_to_be_one() -> None:
    assert report_text(1, HEAD, VerdictWord.PASSED, " \n", EN).endswith("\n\nIt wrote no report.")


def test_a_report_is_a_quotation_in_which_nothing_acts() -> None:
    text = report_text(1, HEAD, VerdictWord.FAILED, REPORT, EN)
    lines = text.split("\n")
    assert all(line.startswith(">") for line in lines[2:])
    assert commands(tuple(lines)) == ()
    assert "> vec! [1]; List<String> x;" in lines
    assert not re.search(r"!\[|<img|@\w|#\d", text)
    assert not re.search(r"!\[|<img|@\w|#\d", outgoing(text))  # the forge's own care undoes none of ours
    html = report_html(1, HEAD, VerdictWord.FAILED, REPORT, EN)
    assert commands(spoken(html)) == ()
    assert spoken(html)[0].startswith("The tester on")
    assert "<img" not in html


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_odd_end_of_a_line_leaves_the_quotation(end: str) -> None:
    text = report_text(1, HEAD, VerdictWord.FAILED, f"a{end}:approved:", EN)
    assert text.endswith("\n\n> a\n> :approved:")


def test_what_cannot_be_seen_is_not_passed_on() -> None:
    report = "a\u202eb\u200b\ud800\0\x1b[31mc\tand\ufeff"
    for text in (
        report_text(1, HEAD, VerdictWord.PASSED, report, EN),
        report_html(1, HEAD, VerdictWord.PASSED, report, EN),
    ):
        assert "ab[31mc\tand" in text


def test_a_long_report_is_cut_and_says_so() -> None:
    text = report_text(1, HEAD, VerdictWord.PASSED, "x" * 99_999, EN)
    assert len(text) < MAX_REPORT_CHARS + 200
    assert text.endswith("The report is longer; it is cut here.")


@pytest.mark.parametrize("piece", ["![", "<", "<img", "@", "#1", "`", "[", "\\", "&#", "\n", "> "])
def test_a_report_takes_time_in_proportion_to_its_length(piece: str) -> None:
    assert report_text(1, HEAD, VerdictWord.PASSED, piece * 20_000, EN)
    assert report_html(1, HEAD, VerdictWord.PASSED, piece * 20_000, EN)
