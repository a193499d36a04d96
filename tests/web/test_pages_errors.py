"""What a person is told when something was refused or is not there: in the language of the page."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from desk import Page, add_run, add_task, page, served
from doors import ALONE, API_TOKEN, FORM, ORIGIN, House, house
from orchestrator.dbfile import unavailable
from orchestrator.domain.model import Stage
from orchestrator.domain.roles import Language
from orchestrator.web import access
from orchestrator.web.catalogue import catalogue

OWN = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
Headers = dict[str, str]


def of_boss(home: House) -> Headers:
    return home.cookie(home.session("boss")) | {"content-type": FORM}


def of_reader(home: House) -> Headers:
    reader = home.session("reader")
    return home.cookie(reader) | OWN | {"x-csrf-token": home.csrf(reader)}


REFUSED: dict[str, tuple[str, Callable[[House], Headers]]] = {
    "wrong_host": ("GET", lambda home: {"host": "evil.example", "authorization": f"Bearer {API_TOKEN}"}),
    "foreign_page": ("POST", lambda home: of_boss(home) | {"origin": "https://evil.example"}),
    "unsure_page": ("POST", of_boss),
    "no_csrf": ("POST", lambda home: of_boss(home) | OWN),
    "too_little": ("POST", of_reader),
    "unknown_token": ("GET", lambda home: {"authorization": "Bearer wrong"}),
    "loopback_only": ("GET", lambda home: {}),
}
"""By code: the method, and the headers that are refused for it."""
PLACES = {"GET": "/system", "POST": "/actions/pause"}


@pytest.mark.parametrize("code", sorted(REFUSED))
async def test_a_refusal_is_told_in_the_language_of_the_page(tmp_path: Path, code: str) -> None:
    method, headers = REFUSED[code]
    async with house(tmp_path, **(ALONE if code == "loopback_only" else {})) as home:
        sent = headers(home)
        plain = await home.client().request(method, PLACES[method], headers=sent)
        told = plain.json()["detail"]
        pages = {}
        for language in Language:
            asked = sent | {"accept": "text/html", "accept-language": language}
            answer = await home.client().request(method, PLACES[method], headers=asked)
            assert answer.status_code == plain.status_code
            pages[language] = Page(answer.text).text
    assert told in pages[Language.EN]
    assert told not in pages[Language.RU]
    assert catalogue(Language.RU)[f"errors.{code}"].partition("{")[0] in pages[Language.RU]


def test_every_refusal_that_a_page_may_tell_of_is_tried() -> None:
    tree = ast.parse(Path(str(access.__file__)).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Refusal"]
    codes = {ast.literal_eval(one.value) for call in calls for one in call.keywords if one.arg == "code"}
    assert codes == set(REFUSED)
    unsaid = [ast.unparse(call) for call in calls if not any(one.arg == "code" for one in call.keywords)]
    assert all("_UNSIGNED" in call for call in unsaid), "who has not signed in is sent to do so, or is a program"


@pytest.mark.parametrize(
    ("path", "status", "english", "russian"),
    [
        ("/tasks/NO-1", 404, "There is no task NO-1.", "Задачи NO-1 нет."),
        ("/runs/77", 404, "There is no run 77.", "Запуска 77 нет."),
        ("/journal/77", 404, "There is no event 77.", "Доставки 77 нет."),
        ("/runs/1/log.jsonl", 404, "This run has no log", "У этого запуска нет журнала"),
        ("/journal?cursor=nonsense", 422, "The cursor is not one that this list gave.", "Отсюда этот список не"),
    ],
)
async def test_what_is_not_there_is_told_in_the_language_of_the_page(
    tmp_path: Path, path: str, status: int, english: str, russian: str
) -> None:
    async with served(tmp_path) as (orchestrator, client):
        await orchestrator.database.write(
            lambda c: add_run(c, add_task(c, "E-1"), "analyst", Stage.ANALYSIS, state="intended", outcome=None)
        )
        assert english in (await page(client, path, "en", status)).text
        found = await page(client, path, "ru", status)
    assert russian in found.text
    assert english not in found.text


async def test_a_token_that_is_not_in_force_is_told_in_the_language_of_the_page(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        root = home.session("root")
        headers = home.cookie(root) | OWN | {"content-type": FORM, "accept": "text/html", "accept-language": "ru"}
        body = f"csrf={home.csrf(root)}".encode()
        answer = await home.client().post("/actions/tokens/none/revoke", headers=headers, content=body)
    assert (answer.status_code, "Действующего токена none нет." in Page(answer.text).text) == (404, True)


def test_a_database_that_cannot_be_used_has_words() -> None:
    assert f"errors.{unavailable('locked').code}" in catalogue(Language.RU)
