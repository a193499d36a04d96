"""The pages' words: both languages say the same things, and every template's key is there."""

import re
from pathlib import Path

import pytest

from orchestrator import web
from orchestrator.domain.roles import Language
from orchestrator.web.catalogue import catalogue, words

TEMPLATES = sorted((Path(web.__file__).parent / "templates").rglob("*.html"))
KEY = re.compile(r"""\bt\(\s*"([a-z_]+\.[a-z_0-9]+)"\s*[,)]""")
VALUE = re.compile(r"\{([a-z_]+)\}")


def test_both_languages_have_the_same_keys_with_the_same_values_in_them() -> None:
    english, russian = catalogue(Language.EN), catalogue(Language.RU)
    assert set(english) == set(russian)
    for key, said in english.items():
        assert sorted(set(VALUE.findall(said))) == sorted(set(VALUE.findall(russian[key]))), key


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_key_of_a_template_has_words(template: Path) -> None:
    used = set(KEY.findall(template.read_text(encoding="utf-8")))
    assert used <= set(catalogue(Language.EN)), sorted(used - set(catalogue(Language.EN)))


def test_a_key_without_words_is_a_fault() -> None:
    with pytest.raises(KeyError):
        words(Language.EN)("layout.no_such_key")
