"""Every code that the core can give has words in both languages, and they ask for nothing that is not given."""

import re
from string import Formatter

import pytest

import producers
from orchestrator.domain.forge import CheckState
from orchestrator.domain.model import Cause, Stage, TriggerKind
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import Outcome, VerdictWord
from orchestrator.qg.checks import GATES as REAL_GATES
from orchestrator.qg.documents import HEADINGS
from orchestrator.qg.verdict import Item
from orchestrator.words import names
from orchestrator.words.items import ITEMS
from orchestrator.words.phrases import PHRASES
from orchestrator.words.sentences import sentence, spans, what_to_do, who_can

PRODUCED = producers.produced()
ELSEWHERE = {"to_be_decided", "internal_error", "run_unpublished", "key_taken"}
"""Made by the store, the engine, the loop and whoever carries runs out."""
PAIRS = (
    [said.is_so() for said in ITEMS.values()]
    + [said.todo() for said in ITEMS.values() if said.todo_en or said.todo_ru]
    + list(PHRASES.values())
    + [pair for pairs in names.OF_PARAMETER.values() for pair in pairs.values()]
    + [pair for pairs in (names.WHO, names.ACTIONS, names.GATES) for pair in pairs.values()]
)


def _holes(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_the_walk_finds_what_the_core_makes() -> None:
    assert len(PRODUCED) > 60
    assert PRODUCED["check_red"].params == {"context", "state", "creator"}
    assert PRODUCED["reviewer_approval"].who == {"orchestrator", "agent"}
    assert PRODUCED["pull_request_elsewhere"].params == {"number", "base"}
    assert {"run_intended", "run_running", "human_review", "human_review_no_reviewer_user"} <= set(PRODUCED)


def test_every_code_has_words_and_all_words_have_a_code() -> None:
    assert set(ITEMS) == set(PRODUCED) | ELSEWHERE


@pytest.mark.parametrize("code", sorted(PRODUCED))
def test_the_words_ask_only_for_what_every_item_of_the_code_has(code: str) -> None:
    said = ITEMS[code]
    for text in (*said.is_so(), *said.todo()):
        assert _holes(text) <= PRODUCED[code].params
    assert _holes(said.en) == _holes(said.ru)


@pytest.mark.parametrize("code", sorted(PRODUCED))
def test_what_to_do_and_who_are_said_in_words(code: str) -> None:
    for who in PRODUCED[code].who:
        assert who in names.WHO
    for action in PRODUCED[code].actions:
        is_typed = action.startswith("/orch")
        assert is_typed or action in names.ACTIONS, f"{code}: {action}"


def test_no_action_has_words_that_nobody_needs() -> None:
    assert set(names.ACTIONS) <= {action for one in PRODUCED.values() for action in one.actions}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0][:40])
def test_both_languages_are_there(pair: names.Pair) -> None:
    english, russian = pair
    assert english.strip()
    assert not re.search("[а-яё]", english, re.IGNORECASE)
    is_only_holes = not re.search("[A-Za-z]{3}", re.sub(r"\{[^}]*\}|`[^`]*`", "", english))
    assert is_only_holes or re.search("[а-яё]", russian, re.IGNORECASE)
    assert english.count("`") % 2 == russian.count("`") % 2 == 0


@pytest.mark.parametrize("pair", [said.is_so() for said in ITEMS.values()], ids=lambda pair: pair[0][:40])
def test_no_line_that_we_write_begins_with_somebody_elses_words(pair: names.Pair) -> None:
    for text in pair:
        assert not text.startswith(("{", ":", "/"))
        assert not text.endswith(":")


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        (names.STAGES, set(Stage)),
        (names.ROLES, set(Role)),
        (names.GATES, set(REAL_GATES)),
        (names.CAUSES, set(Cause)),
        (names.OUTCOMES, set(Outcome)),
        (names.VERDICT_WORDS, set(VerdictWord)),
        (names.CHECK_STATES, set(CheckState)),
        (names.TRIGGERS, set(TriggerKind)),
        (names.SECTIONS, set(HEADINGS[Language.EN]) | set(HEADINGS[Language.RU])),
        (
            names.WHYS,
            producers.returned(producers.FOLDERS[0] / "approvals.py", "_why_not")
            | producers.returned(producers.FOLDERS[1] / "publish.py", "_why"),
        ),
    ],
)
def test_every_code_in_a_parameter_has_words(words: dict[str, names.Pair], codes: set[str]) -> None:
    assert set(words) == codes


def test_who_acts_is_as_the_verdicts_say() -> None:
    text = (Item.__doc__ or "").replace("\n", " ")
    for who in names.WHO:
        assert re.search(rf"\b{who}\b", text), who


def test_words_name_what_they_are_about() -> None:
    item = Item("project_mapping", (("project", "p-1"),))
    assert sentence(item) == ("project not mapped: add Plane project `p-1` to `orchestrator.yaml` and restart")
    assert "p-1" in sentence(item, Language.RU)


def test_codes_in_parameters_are_said_in_words() -> None:
    item = Item("rework_due", (("cause", "ci_red"), ("role", "developer")), who="agent", action="run")
    assert sentence(item).startswith("sent back to the developer: the checks were red")
    assert sentence(item, Language.RU).startswith("возвращено, этап ведёт разработчик: проверки красные")


def test_a_person_is_called_by_name_where_it_is_known() -> None:
    item = Item("approved", (("person", "u-1"),))
    assert sentence(item, people=(("u-1", "Anna"),)) == "approved by Anna"
    assert sentence(item) == "approved by u-1"


def test_hostile_parameters_are_text_not_templates() -> None:
    item = Item("branch_gone", (("branch", "{0.__class__}{detail}"),))
    assert "{0.__class__}{detail}" in sentence(item)


def test_a_sentence_is_one_bounded_line_without_control_characters() -> None:
    item = Item("internal_error", (("detail", "a\n:approved:\r\x1b[31m\u202e\u2028\ud800\0" + "x" * 9999),))
    for language in Language:
        text = sentence(item, language)
        assert len(text) < 700
        assert text.isprintable()
        text.encode()


def test_a_code_without_words_shows_its_detail() -> None:
    assert sentence(Item("odd_code", (("detail", "It is odd."),))) == "odd_code: It is odd."
    assert sentence(Item("odd")) == "odd"


def test_a_missing_parameter_is_a_question_mark() -> None:
    assert sentence(Item("approved")) == "approved by ?"


def test_only_backquotes_of_ours_make_code() -> None:
    assert [type(one).__name__ for one in spans("a `b {c}` d", {"c": "x`y"})] == ["Text", "Code", "Text"]


def test_a_command_that_is_the_action_is_shown_as_what_to_type() -> None:
    item = Item("paused", who="approver", action="/orch resume")
    assert sentence(item) == "paused by a person: comment `/orch resume` in Plane"
    assert what_to_do(Item("odd", action="odd_step"), Language.EN)[0].text == "odd_step"
    assert what_to_do(Item("odd"), Language.EN) == ()


def test_a_login_can_be_the_one_who_acts() -> None:
    who = who_can(Item("change_request", who="anna"), Language.RU)
    assert who is not None
    assert who.text == "anna"
    assert who_can(Item("status"), Language.EN) is None
