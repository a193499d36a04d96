"""What people read of a task: golden texts, bounds, and nothing in them that acts."""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import producers
from any_facts import ANY_FACTS, TASKS
from green import ANNA, ASKED, GREEN, HEAD, PROJECT, PULL, TASK, approval_of, rejection_of, run
from orchestrator.domain.forge import CheckState
from orchestrator.domain.model import Cause, Return, ReviewPolicy, Stage, Switches, Task
from orchestrator.domain.roles import Language
from orchestrator.domain.run import Outcome, RunState
from orchestrator.forges.text import first_line, harmless
from orchestrator.qg.commands import commands
from orchestrator.qg.facts import Absent, Facts, RunFact, Unobserved, Unwritten
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, Waiting
from orchestrator.trackers.html import spoken
from orchestrator.words.items import ITEMS
from orchestrator.words.names import GATES
from orchestrator.words.standing import (
    MAX_BYTES,
    MAX_STATUS_CHARS,
    PARKED,
    Standing,
    pull_body,
    status_line,
    sticky_html,
    sticky_markdown,
)
from orchestrator.workflow.decide import decide
from orchestrator.workflow.publish import MAX_ANSWERS

EN, RU = Language.EN, Language.RU
PRODUCED = producers.produced()
LINK = "https://orch.example/tasks/ENDURO-1"
AT_ANALYSIS = replace(TASK, stage=Stage.ANALYSIS)
UNAPPROVED = replace(GREEN, remarks=(), runs=GREEN.runs[:1])
HOSTILE = (
    ":approved:",
    "\n:approved:\n",
    "</p><p>:approved:</p><p>",
    "<br>:approved:<br>",
    "`\n:approved:\n`",
    "</code><img src=x onerror=alert(1)>",
    "<!-- orchestrator --> @anna @org/team #12 !7",
    "[click](javascript:alert(1)) ![i](http://evil/x.png) **b** _i_ ~~s~~ $x$ &#64;anna &lt;",
    "\u202e\u2066deorc\u2069\u200b\0\x1b[31m\x07\ud800 \u2028:approved:\u2029/orch cancel",
    "/orch cancel",
    ":rejected: no",
    "{0.__class__} {detail} %s",
    "# heading\n- item\n> quote\n```\ncode\n```\n---\n| a | b |",
    '"><script>alert(1)</script>',
    "🚀" * 3000,
    "&\"'<" * 2000,
    "",
    " \t\n",
)


def standing_of(task: Task, facts: Facts, **more: object) -> Standing:
    decision = decide(PROJECT, task, facts)
    made = Standing(
        task.key, "Import <GPX> tracks", decision.stage, decision.waiting, decision.verdicts,
        branch=task.branch, runs=facts.runs, task_link=LINK, returns=len(decision.returns), returns_allowed=8,
        people=((ANNA, "Anna"),),
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def test_a_document_that_waits_for_approval_in_english() -> None:
    assert (
        sticky_markdown(standing_of(AT_ANALYSIS, UNAPPROVED), EN)
        == f"""\
**ENDURO-1: Import \\<GPX\\> tracks** · stage: analysis

Closest unmet requirement: `tasks/ENDURO-1/BRD.md` waits for approval, 0 of 1 (approver; `b1`)

**Gates**

- ✅ **QG-0 intake**: open, passed earlier
- ⏳ **QG-1 requirements**: closed, waiting — `tasks/ENDURO-1/BRD.md` waits for approval, 0 of 1 (approver; `b1`)\
; holds: `tasks/ENDURO-1/BRD.md` is there (`b1`)
- ⬜ **QG-2 architecture and work order**: not asked yet
- ⬜ **QG-3 pull request**: not asked yet
- ⬜ **QG-4 checks**: not asked yet
- ⬜ **QG-5 review**: not asked yet
- ⬜ **QG-6 test**: not asked yet

**What to do next**

- **approver**: read `tasks/ENDURO-1/BRD.md` on the branch, then comment `:approved:`, alone on its line, on the \
work item in Plane, or `:rejected: why`

**Runs**

- analyst, attempt 1: succeeded (`why`)

Sent back 0 of at most 8 times.

Branch `feature/ENDURO-1-a-title` · [why it stands where it stands](<{LINK}>)"""
    )


def test_red_checks_beyond_the_cap_in_russian() -> None:
    """Parked: what is red, and what a person can do."""
    red = (replace(GREEN.checks[0], state=CheckState.FAILURE, url="https://ci.example/9"), GREEN.checks[1])  # type: ignore[index]
    sent_back = tuple(Return(Cause.CI_RED, Stage.DEVELOPMENT, "0" * 40, 1) for _ in range(3))
    task = replace(TASK, stage=Stage.CI, returns=sent_back)
    found = standing_of(task, replace(GREEN, checks=red, runs=(run(Stage.DEVELOPMENT, 4),)), pull=PULL.url)
    assert (
        sticky_markdown(found, RU)
        == f"""\
**ENDURO-1: Import \\<GPX\\> tracks** · этап: проверки CI

Ближайшее невыполненное условие: возвратов по причине «проверки красные»: 3, всего: 3; предел достигнут \
(согласующий)

**Шлюзы**

- ✅ **QG-0 приём**: открыт, пройден раньше
- ✅ **QG-1 бизнес-требования**: открыт — `tasks/ENDURO-1/BRD.md` на месте (`b1`); одобрение: Anna (`k11`)
- ✅ **QG-2 архитектура и задание**: открыт — `tasks/ENDURO-1/ARCHITECTURE.md` на месте (`c1`); \
`tasks/ENDURO-1/DEV_TASK.md` на месте (`d1`); одобрение: Anna (`k21`)
- ✅ **QG-3 пул-реквест**: открыт — вне `tasks/ENDURO-1/` есть изменения (`aaaaaaaaaa`); \
`tasks/ENDURO-1/DEV_REPORT.md` на месте (`e1`); пул-реквест 7 открыт, и слить его можно \
([подробности](<http://forge/pulls/7>); `aaaaaaaaaa`); защищённые файлы не изменены (`aaaaaaaaaa`)
- ❌ **QG-4 проверки CI**: закрыт, отказ — проверка `ci/test` красная (разработчик; \
[подробности](<https://ci.example/9>)); уже есть: проверка `ci/lint (push)` зелёная
- ⬜ **QG-5 ревью**: ещё не спрошен
- ⬜ **QG-6 тестирование**: ещё не спрошен

**Что делать дальше**

- **согласующий**: напишите в Plane `/orch retry`, чтобы дать ещё один круг, или отправьте исправление сами
- **разработчик**: отправьте коммит

**Запуски**

- разработчик, попытка 4: успешно (`why`)

Возвратов: 3, самое большее 8.

Ветка `feature/ENDURO-1-a-title` · [пул-реквест](<http://forge/pulls/7>) · \
[почему задача стоит там, где стоит](<{LINK}>)"""
    )
    state, line = status_line(found, RU)
    assert state is CheckState.FAILURE
    assert line == "возвратов по причине «проверки красные»: 3, всего: 3; предел достигнут (согласующий)"


def test_the_work_item_gets_the_same_as_html() -> None:
    html = sticky_html(standing_of(AT_ANALYSIS, UNAPPROVED), RU)
    assert html.startswith(
        "<p><strong>ENDURO-1: Import &lt;GPX&gt; tracks</strong> · этап: анализ</p>"
        "<p>Ближайшее невыполненное условие: <code>tasks/ENDURO-1/BRD.md</code> ждёт одобрения, 0 из 1 "
        "(согласующий; <code>b1</code>)</p><p><strong>Шлюзы</strong></p>"
        "<ul><li><p>✅ <strong>QG-0 приём</strong>: открыт, пройден раньше</p></li>"
    )
    assert (
        "<li><p><strong>согласующий</strong>: прочтите <code>tasks/ENDURO-1/BRD.md</code> в ветке и напишите в "
        "Plane к рабочему элементу <code>:approved:</code> отдельной строкой или "
        "<code>:rejected: причина</code></p></li>" in html
    )
    assert html.endswith(f'<a href="{LINK}">почему задача стоит там, где стоит</a></p>')


def test_the_pull_requests_body() -> None:
    documents = (("tasks/ENDURO-1/BRD.md", "https://git.example/BRD.md"), ("tasks/ENDURO-1/DEV_TASK.md", ""))
    body = pull_body(standing_of(TASK, GREEN, documents=documents), EN)
    assert (
        body
        == f"""\
<!-- orchestrator task=ENDURO-1 -->
The work of the orchestrator's agents on work item ENDURO-1: **Import \\<GPX\\> tracks**

**Documents**

- [tasks/ENDURO-1/BRD.md](<https://git.example/BRD.md>)
- `tasks/ENDURO-1/DEV_TASK.md`

The orchestrator never merges. When all gates are open, a person does.

Opened by the orchestrator, a program. How it stands is in its comment below. \
[why it stands where it stands](<{LINK}>)"""
    )
    assert first_line(body)


ITEM_LINK = "https://plane.example/acme/browse/ENDURO-1/"


@pytest.mark.parametrize(("language", "words"), [(EN, "work item"), (RU, "рабочий элемент")])
def test_the_pull_request_links_to_the_work_item_and_the_work_item_not_to_itself(
    language: Language, words: str
) -> None:
    standing = standing_of(TASK, GREEN, item=ITEM_LINK)
    assert f"Import \\<GPX\\> tracks** ([{words}](<{ITEM_LINK}>))" in pull_body(standing, language)
    assert f" · [{words}](<{ITEM_LINK}>) · " in sticky_markdown(standing, language)
    assert ITEM_LINK not in sticky_html(standing, language)


def test_an_odd_key_stays_out_of_the_hidden_line() -> None:
    body = pull_body(
        replace(
            standing_of(TASK, GREEN), key="--> x", task_link="javascript:alert(1)", item="javascript:alert(1)"
        ),
        EN,
    )
    assert body.startswith("<!-- orchestrator -->\n")
    assert "javascript" not in body
    assert "Documents" not in body


# -- the commit status


def test_ready_only_when_a_person_may_merge() -> None:
    ready = standing_of(TASK, GREEN)
    assert status_line(ready, EN) == (CheckState.SUCCESS, "Ready to merge: all gates are open.")
    assert status_line(replace(ready, stage=Stage.DONE, waiting=()), RU)[0] is CheckState.SUCCESS
    spoiled = [
        replace(ready, stage=Stage.TESTING),
        replace(ready, waiting=()),
        replace(ready, waiting=(*ready.waiting, Item("paused"))),
        replace(ready, waiting=(Item("look_due"),)),
        replace(ready, verdicts=(*ready.verdicts[:-1], ("QG-6", Waiting((Item("test_due"),))))),
        replace(ready, verdicts=(*ready.verdicts[:-1], ("QG-6", Unknown(())))),
    ]
    for one in spoiled:
        assert status_line(one, EN)[0] is CheckState.PENDING
        assert "eady to merge: all" not in sticky_markdown(one, EN)


SPENT = replace(ASKED, answered=MAX_ANSWERS + 1, approvals_up_to=99, commands_up_to=99)
REFUSED = Unwritten("PullLink", "plane_link_refused")


@pytest.mark.parametrize(
    ("task", "facts", "note"),
    [
        (replace(TASK, switches=SPENT), GREEN, "comments are not answered any more: there were 30 answers"),
        (TASK, replace(GREEN, unwritten=(REFUSED,)), "refused by Plane or Gitea: the link to the pull request"),
    ],
    ids=["answered often", "a link that Plane does not take"],
)
def test_what_is_told_beside_keeps_nobody_from_merging(task: Task, facts: Facts, note: str) -> None:
    ready = standing_of(task, facts)
    assert status_line(ready, EN) == (CheckState.SUCCESS, "Ready to merge: all gates are open.")
    text = sticky_markdown(ready, EN)
    assert "\n\nReady to merge: all gates are open.\n\n" in text
    assert f"\n\n{note}" in text


def test_what_is_told_beside_is_nothing_that_is_missing() -> None:
    """The analyst's run begins, nothing is missing, and nobody waits for an answer."""
    task = replace(AT_ANALYSIS, switches=SPENT)
    begun = standing_of(task, replace(GREEN, documents=(), remarks=(), runs=(), unwritten=(REFUSED,)))
    assert [item.code for item in begun.waiting] == ["not_written", "answers_spent"]
    assert status_line(begun, EN) == (CheckState.PENDING, "Nothing is missing; the next step is under way.")
    assert """\
Nothing is missing; the next step is under way.

refused by Plane or Gitea: the link to the pull request in Plane; plane\\_link\\_refused

comments are not answered any more: there were 30 answers; commands and approvals go on to count

**Gates**
""" in sticky_markdown(begun, EN)


def test_what_is_refused_is_the_closest_requirement_where_our_own_next_step_hangs_on_it() -> None:
    refused = replace(GREEN, reviews=(), unwritten=(Unwritten("PullReview", "gitea_unexpected"),))
    state, line = status_line(standing_of(replace(TASK, stage=Stage.REVIEW, switches=SPENT), refused), EN)
    assert (state, line.partition(";")[0]) == (CheckState.PENDING, "refused by Plane or Gitea: the review")


@pytest.mark.parametrize("code", sorted(PARKED))
def test_a_parked_task_fails_even_at_ready(code: str) -> None:
    assert status_line(replace(standing_of(TASK, GREEN), waiting=(Item(code),)), EN)[0] is CheckState.FAILURE


def _parked_by(source: Facts, task: Task = TASK) -> str:
    return decide(PROJECT, task, source).waiting[0].code


OF_LIMITS = {"money_without_progress", "no_progress", "task_budget_spent"}
"""Told by the tests of money and of what follows a run."""


def test_what_parks_in_the_core_is_parked_here() -> None:
    denied = run(Stage.REVIEW, outcome=Outcome.DENIED)
    lost = replace(GREEN, reviews=(), runs=(denied,))
    told, refused = replace(denied, said="Bash"), replace(denied, reason="authentication_failed")
    crashed = replace(told, outcome=Outcome.FAILED)
    silent = replace(lost, runs=tuple(run(Stage.REVIEW, number) for number in (1, 2, 3)))
    capped = replace(GREEN, reviews=(rejection_of(),))
    sent_back = tuple(Return(Cause.REVIEW_REJECTED, Stage.DEVELOPMENT, "0" * 40, 1) for _ in range(3))
    assert {
        _parked_by(replace(GREEN, item=Absent())),
        _parked_by(replace(GREEN, item=replace(GREEN.item, is_archived=True))),  # type: ignore[type-var]
        _parked_by(replace(GREEN, pull=replace(PULL, is_open=False))),
        _parked_by(GREEN, replace(TASK, switches=Switches(is_cancelled=True))),
        *(_parked_by(replace(lost, runs=(last,))) for last in (denied, told, refused, crashed)),
        _parked_by(silent),
        _parked_by(capped, replace(TASK, returns=sent_back)),
    } == PARKED - OF_LIMITS - {"internal_error", "no_rest", "stage_not_automated"}


def test_that_nobody_reviewed_is_not_said_beside_a_persons_approval() -> None:
    """F30."""
    both = replace(PROJECT, gates=replace(PROJECT.gates, review=ReviewPolicy.BOTH))
    vera = replace(GREEN, runs=GREEN.runs[:3], reviews=(approval_of(HEAD, "vera"),))
    verdict = decide(both, replace(TASK, stage=Stage.REVIEW), vera).verdicts[-1]
    for language, holds, lacks in (
        (EN, "`vera` approved", "the reviewer has not looked at `aaaaaaaaaa` yet"),
        (RU, "`vera` одобряет", "`aaaaaaaaaa` ещё не проверен ревьюером"),
    ):
        text = sticky_markdown(Standing("A-1", "T", Stage.REVIEW, verdicts=(verdict,)), language)
        assert holds in text
        assert lacks in text


def test_work_that_was_sent_back_is_pending() -> None:
    found = standing_of(TASK, replace(GREEN, reviews=(rejection_of(),)))
    assert found.stage is Stage.DEVELOPMENT
    assert status_line(found, EN) == (CheckState.PENDING, "Nothing is missing; the next step is under way.")
    assert "❌ **QG-5 review**" in sticky_markdown(found, EN)


def test_verdicts_are_read_in_the_gates_order() -> None:
    back = (("QG-5", Failed((Item("change_request"),))), ("QG-3", Waiting((Item("rework_due"),))))
    assert status_line(Standing("A-1", "T", Stage.DEVELOPMENT, verdicts=back), EN)[0] is CheckState.PENDING
    assert status_line(Standing("A-1", "T", Stage.CREATED, verdicts=back[:1]), EN)[0] is CheckState.FAILURE


def test_a_status_holds_a_whole_command_or_none() -> None:
    touched = replace(GREEN, changed_paths=("src/app.py", ".gitea/ci.yml"))
    state, line = status_line(standing_of(TASK, touched), EN)
    assert (state, line) == (CheckState.PENDING, "protected files are changed: 1 (approver)")
    short = standing_of(replace(TASK, switches=Switches(is_cancelled=True)), GREEN)
    assert status_line(short, EN)[1] == "cancelled by a person: comment /orch resume in Plane"
    assert "`/orch allow-paths " + HEAD + "`" in sticky_markdown(standing_of(TASK, touched), EN)


def test_protected_files_are_named() -> None:
    touched = replace(GREEN, changed_paths=("src/app.py", ".gitea/ci.yml"))
    assert "protected files are changed: 1 (approver; `.gitea/ci.yml`)" in sticky_markdown(
        standing_of(TASK, touched), EN
    )


def test_could_not_look_is_said() -> None:
    found = standing_of(TASK, replace(GREEN, checks=Unobserved("gitea_unreachable", "timed out")))
    text = sticky_markdown(found, EN)
    assert "❔ **QG-4 checks**: closed, could not look — Gitea cannot be reached: timed out (operator)" in text
    assert "- **operator**: see that it is up; it is tried again" in text


# -- runs


def test_runs_are_told_newest_last_and_bounded() -> None:
    many = tuple(run(Stage.DEVELOPMENT, number, Outcome.LOST) for number in range(1, 31))
    open_one = RunFact(Stage.REVIEW, 1, RunState.RUNNING, base=HEAD)
    published = replace(run(Stage.ANALYSIS), head=HEAD, reason="")
    text = sticky_markdown(Standing("A-1", "T", Stage.REVIEW, runs=(open_one, *many)), EN)
    assert "- earlier runs: 21\n- developer, attempt 22: lost (`why`)" in text
    assert text.endswith("- reviewer, attempt 1: at work")
    assert "analyst, attempt 1: succeeded, published `aaaaaaaaaa`" in sticky_markdown(
        Standing("A-1", "T", Stage.REVIEW, runs=(published,)), EN
    )
    intended = RunFact(Stage.CI, 1, RunState.INTENDED)
    assert "?, attempt 1: about to start" in sticky_markdown(Standing("A-1", "T", Stage.CI, runs=(intended,)), EN)


def test_a_bare_standing_has_no_empty_parts() -> None:
    text = sticky_markdown(Standing("A-1", "", Stage.CREATED), EN)
    assert text.startswith("**A-1: —** · stage: created")
    assert text.endswith("Nothing is asked of people now.")
    assert sticky_markdown(Standing("A-1", "", Stage.DONE), EN).count("passed earlier") == len(GATES)


# -- hostile text


def _hostile(text: str, verdict: Callable[[tuple[Item, ...]], Verdict] = Waiting) -> Standing:
    """Everything that others can write says it."""
    codes = sorted(ITEMS)
    made = tuple(
        Item(
            code, tuple((name, text) for name in _parameters(code)), (text, f"https://x.example/{text}"), who, text
        )
        for code, who in zip(codes, ("", text, "operator", "agent") * 30, strict=False)
    )
    verdicts = tuple((gate, verdict(made[place :: len(GATES)])) for place, gate in enumerate(GATES))
    person = RunFact(Stage.ANALYSIS, 1, RunState.ENDED, Outcome.FAILED, text)
    return Standing(
        text or "A-1", text, Stage.REVIEW, (Item("odd", (("detail", text),), (), text, text), *made), verdicts,
        pull=text, branch=text, runs=(person,) * 30, task_link=text, item=text, documents=((text, text),) * 30,
        people=((text, text),),
    )  # fmt: skip


def _parameters(code: str) -> set[str]:
    return PRODUCED[code].params if code in PRODUCED else {"detail"}


class _Markup(HTMLParser):
    """The tags and addresses of what we write."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for _, value in attrs]


def _check_html(html: str) -> None:
    assert len(html.encode()) <= MAX_BYTES
    said = spoken(html)
    assert said
    assert commands(said) == ()
    markup = _Markup(html)
    assert markup.tags <= {"p", "ul", "li", "strong", "code", "a", "blockquote", "br"}
    assert markup.attributes <= {"href"}
    assert all(address.startswith(("http://", "https://")) and "@" not in address for address in markup.addresses)
    assert not re.search(r"@\w", html)


def _check_markdown(text: str) -> None:
    assert commands(tuple(text.split("\n"))) == ()
    assert all(char in {"\n", "\u2060"} or char.isprintable() for char in text)
    bare = re.sub(r"\A<!-- [A-Za-z0-9= -]+ -->\n", "", text)
    bare = re.sub(r"\\.|`[^`\n]*`|\[(?:\\.|[^\[\]\\\n])*\]\(<https?://[^<>\n]*>\)", "·", bare)
    assert not re.search(r"[][<>`&$~]|@\w|[#!][0-9]", bare), bare
    assert commands(tuple(harmless(text).split("\n"))) == ()


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("verdict", [Waiting, Passed, Failed, Unknown])
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_hostile_text_stays_text(
    text: str, verdict: Callable[[tuple[Item, ...]], Verdict], language: Language
) -> None:
    standing = _hostile(text, verdict)
    _check_html(sticky_html(standing, language))
    markdown = sticky_markdown(standing, language)
    assert len(markdown.encode()) <= MAX_BYTES
    _check_markdown(markdown)
    _check_markdown(pull_body(standing, language))
    line = status_line(standing, language)[1]
    assert len(line) <= MAX_STATUS_CHARS
    assert line.isprintable()
    assert commands((line,)) == ()


@settings(max_examples=40)
@given(st.text(max_size=300), st.sampled_from(Language))
def test_any_text_stays_text(text: str, language: Language) -> None:
    standing = _hostile(text)
    _check_html(sticky_html(standing, language))
    _check_markdown(sticky_markdown(standing, language))


def test_what_is_cut_away_first_are_details_not_gates() -> None:
    text = sticky_markdown(_hostile("🚀" * 3000), RU)
    for gate in GATES:
        assert f"**{gate} " in text


@given(TASKS, ANY_FACTS, st.sampled_from(Language))
def test_every_decision_can_be_told(task: Task, facts: Facts, language: Language) -> None:
    """And equal standings give equal text."""
    decision = decide(PROJECT, task, facts)
    made = Standing(task.key, task.title, decision.stage, decision.waiting, decision.verdicts, runs=facts.runs)
    again = Standing(**{one.name: getattr(made, one.name) for one in fields(made)})
    _check_html(sticky_html(made, language))
    _check_markdown(sticky_markdown(made, language))
    assert sticky_html(again, language) == sticky_html(made, language)
    assert sticky_markdown(again, language) == sticky_markdown(made, language)
    assert status_line(again, language) == status_line(made, language)
