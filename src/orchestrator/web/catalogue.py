"""The words of the pages, by key and language: catalogues/<language>.toml, a table for each page."""

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files

from orchestrator.domain.roles import Language

Words = Callable[..., str]


@cache
def catalogue(language: Language) -> Mapping[str, str]:
    """Keys as `page.name`. Both languages have the same ones (a test holds it)."""
    text = (files("orchestrator.web") / "catalogues" / f"{language.value}.toml").read_text(encoding="utf-8")
    return {f"{page}.{name}": said for page, words in tomllib.loads(text).items() for name, said in words.items()}


def words(language: Language) -> Words:
    """`t("board.title")`, with values for `{name}` in the words. A key without words raises KeyError."""
    known = catalogue(language)

    def t(key: str, /, **values: object) -> str:
        said = known[key]
        return said.format(**values) if values else said

    return t
