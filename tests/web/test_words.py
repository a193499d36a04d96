"""Every code that the core can give has words in both languages."""

import re
from pathlib import Path

import pytest

from orchestrator.domain.model import Language
from orchestrator.qg.verdict import Item
from orchestrator.web import words

SOURCE = Path(words.__file__).parents[1]
CODES = {
    code
    for path in (*SOURCE.glob("qg/*.py"), *SOURCE.glob("workflow/*.py"), SOURCE / "store/tasks.py")
    for code in re.findall(r'Item\(\s*"([a-z_]+)"', path.read_text())
} | {"run_intended", "run_running", "human_review", "human_review_no_reviewer_user", "status", "why"}
CODES |= {"no_plane_token", "no_gitea_token"}


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_words(code: str, language: Language) -> None:
    text = words.sentence(Item(code), language)
    assert text != code
    assert bool(re.search("[а-я]", text)) is (language is Language.RU)


def test_words_name_what_they_are_about() -> None:
    item = Item("project_mapping", (("project", "p-1"),))
    assert "p-1" in words.sentence(item)
    assert "p-1" in words.sentence(item, Language.RU)


def test_hostile_parameters_are_text_not_templates() -> None:
    item = Item("branch_gone", (("branch", "{0.__class__}{detail}"),))
    assert "{0.__class__}{detail}" in words.sentence(item)


def test_a_code_without_words_shows_its_detail() -> None:
    assert (
        words.sentence(Item("plane_busy", (("detail", "Plane answered 503."),)))
        == "plane_busy: Plane answered 503."
    )
    assert words.sentence(Item("odd")) == "odd"
