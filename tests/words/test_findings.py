"""Every finding has words in both languages, all words have a finding, and they ask for what is given alone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import orchestrator
import producers
from orchestrator import findings as makers
from orchestrator.agents import probe, sandboxes
from orchestrator.domain.errors import Transient
from orchestrator.domain.finding import Finding, Level, about
from orchestrator.domain.roles import Language
from orchestrator.reconcile import dispatch
from orchestrator.words import findings
from orchestrator.words.findings import MENDS, MESSAGES, in_words

SOURCE = Path(str(orchestrator.__file__)).parent
OF_FAULTS = {"fault_plane_refused", "fault_gitea_refused"}
"""Named by the code of a fault, which an adapter makes; whatever else it makes has no words of its own."""
VALUES = {
    "_MENDED.get(end.outcome, 'other_model')": {*makers._MENDED.values(), "other_model"},
    "_words_of(account, now)": {"", *producers.returned(Path(dispatch.__file__), "_words_of")},
    "said or words": OF_FAULTS,
    "f'fault_{error.code}'": OF_FAULTS,
    "error.code": {"plane_refused"},
}
"""What expressions hold that the source does not spell out. A new one fails until it is written down here."""
PAIRS = [pytest.param(pair, id=code) for table in (MESSAGES, MENDS) for code, pair in table.items()]
FIELDS = ("code", "level", "params", "said", "mending")
Made = tuple[str, str, frozenset[str]]
"""Words of the message, words of the mend, and the names of what is given for both."""


def _made() -> Iterator[Made]:
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "Finding(" in text or "of_fault(" in text:
            tree = ast.parse(text)
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield from _of_function(node)


def _of_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Made]:
    known = producers._Function(node)  # type: ignore[arg-type]
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Finding":
            given = dict(zip(FIELDS, call.args, strict=False)) | {one.arg: one.value for one in call.keywords}
            yield from _of_finding(known, given)
        elif isinstance(call, ast.Call) and ast.unparse(call.func).endswith("of_fault"):
            for one in call.keywords:
                yield from ((said, "", frozenset({"message", "hint"})) for said in _texts(known, one.value))


def _of_finding(known: producers._Function, given: dict[str | None, ast.expr]) -> Iterator[Made]:
    names = frozenset(
        str(one.arg)
        for value in (known._values(given["params"]) if "params" in given else ())
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "about"
        for one in value.keywords
    )
    names |= {"without"} if "without" in given else set()
    for code in _texts(known, given["code"]):
        for said in _texts(known, given.get("said")):
            for mending in _texts(known, given.get("mending")):
                yield said or code, mending or code, names


def _texts(known: producers._Function, expression: ast.expr | None) -> set[str]:
    found = set[str]()
    for value in known._values(expression) if expression else ():
        text = ast.unparse(value)
        found |= {str(value.value)} if isinstance(value, ast.Constant) else VALUES[text]
    return found or {""}


MADE = sorted(set(_made()), key=str)


def _holes(pair: tuple[str, str]) -> list[set[str]]:
    return [{name for _, name, _, _ in Formatter().parse(text) if name} for text in pair]


def test_the_walk_finds_what_is_made() -> None:
    assert len(MADE) > 40
    assert ("one_user", "one_gitea_user", frozenset({"login"})) in MADE
    assert ("account_guess", "account_paused", frozenset({"until"})) in MADE
    assert ("no_cli", "cli_elsewhere", frozenset({"cli", "tools"})) in MADE


def test_every_finding_has_words_and_all_words_have_a_finding() -> None:
    assert {said for said, _, _ in MADE} == set(MESSAGES)
    assert set(MENDS) <= {mending for _, mending, _ in MADE}


@pytest.mark.parametrize(("said", "mending", "names"), MADE)
def test_the_words_ask_only_for_what_every_finding_with_them_has(
    said: str, mending: str, names: frozenset[str]
) -> None:
    for pair in (MESSAGES[said], MENDS.get(mending, ("", ""))):
        for holes in _holes(pair):
            assert holes <= names


def test_what_is_not_fine_says_what_to_do() -> None:
    is_fine = {"cli", "sandbox", "database", "disk", "plane", "gitea", "roles", "model"}
    assert {mending for _, mending, _ in MADE if mending} - set(MENDS) == is_fine


@pytest.mark.parametrize("pair", PAIRS)
def test_both_languages_are_there(pair: tuple[str, str]) -> None:
    english, russian = pair
    assert english.strip()
    assert not re.search("[а-яё]", english, re.IGNORECASE)
    assert re.search("[а-яё]", russian, re.IGNORECASE)
    assert russian[0].isupper() or russian[0] == "`"
    assert english.count("`") % 2 == russian.count("`") % 2 == 0


def test_the_reasons_that_have_words_are_what_the_sandbox_says() -> None:
    said = {
        node.value
        for module in (probe, sandboxes)
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    }
    assert set(findings._WHYS) <= said


def test_a_fault_of_a_neighbour_stays_in_its_words_within_a_sentence_of_ours() -> None:
    for code, begins in (("gitea_refused", "Gitea нам отказывает: "), ("odd", "Вот что случилось: ")):
        fault = makers.of_fault(Transient(code, "Gitea said no {x}.", hint="Mend it."))
        english, russian = (in_words(fault, language) for language in (Language.EN, Language.RU))
        assert (english.message, english.mend) == ("Gitea said no {x}.", "Mend it.")
        assert russian.message == begins + english.message
    assert in_words(makers.of_fault(Transient("odd", "It is odd.")), Language.RU).mend == ""


def test_a_fault_does_not_take_the_words_of_a_finding_that_has_its_code() -> None:
    told = in_words(makers.of_fault(Transient("runs_disk_full", "It is full.", hint="Do this.")), Language.EN)
    assert (told.message, told.mend) == ("It is full.", "Do this.")


def test_what_a_sandbox_is_without_is_said_in_each_language() -> None:
    without = about(user="it needs root (or a container that starts as root)", bwrap="odd")
    found = Finding("sandbox", Level.FINE, about(sandbox="landlock", abi=7), without=without)
    english, russian = (in_words(found, language).message for language in (Language.EN, Language.RU))
    assert english == (
        "Agents are sandboxed: landlock (Landlock ABI 7). "
        "Without user: it needs root (or a container that starts as root). Without bwrap: odd."
    )
    assert russian == (
        "Агенты работают в песочнице: landlock (Landlock ABI 7). Не включена защита user: "
        "нужен root (или контейнер, который запускается от root). Не включена защита bwrap: odd."
    )


def test_parameters_are_text_not_templates() -> None:
    found = Finding("no_approvers", Level.MISSING, about(config="{0.__class__}{without}"))
    assert "{0.__class__}{without}" in in_words(found, Language.RU).mend
