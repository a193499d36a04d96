"""What a scripted agent does in a run: one table for the scripted Messages API and the scripted `claude`."""

import hashlib
import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Self

from orchestrator.domain.model import Language, Role
from orchestrator.domain.run import TASK_FILES

MAX_TITLE_CHARS = 120
MAX_HEADER_LINES = 8
MAX_TASK_FILE_CHARS = 50_000
LONG_TOOL_S = 600
MAX_DELAY_S = 3600.0

_MARKER = re.compile(
    r"Task: (?P<key>[A-Za-z0-9][A-Za-z0-9_-]{0,63}) \| Role: (?P<role>[a-z]+) \| Run: (?P<run>[0-9a-f-]{36})"
)
_LINE_NUMBER = re.compile(r"^\s*\d+(?:\t|→)", re.MULTILINE)
_LABELLED_TITLE = re.compile(r"^(?:title|название|заголовок):[ \t]*(?P<title>\S.*)$", re.MULTILINE | re.IGNORECASE)
_HEADING = re.compile(r"^#[ \t]+(?P<title>\S.*)$", re.MULTILINE)
_MARKUP = re.compile(r"[\\`*_#<>\[\]|]")


class ScenarioName(StrEnum):
    """What may happen to a run. Not every stand-in can play every one of them; each says which it knows."""

    WORK = "work"
    NO_COMMIT = "no_commit"
    SLOW = "slow"
    LONG_TOOL = "long_tool"
    HTTP_401 = "http_401"
    HTTP_429 = "http_429"
    OVERLOADED_THEN_WORK = "overloaded_then_work"
    CUT_STREAM_THEN_WORK = "cut_stream_then_work"
    USAGE_LIMIT = "usage_limit"  # the API answers so
    LIMIT = "limit"  # the CLI ends so
    FAIL = "fail"
    HANG = "hang"
    CRASH = "crash"
    FORK_DAEMON = "fork_daemon"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A name and, for `slow:SECONDS`, the delay before each answer."""

    name: ScenarioName
    delay_s: float = 0.0

    @classmethod
    def parse(cls, text: str, known: frozenset[ScenarioName]) -> Self:
        """`work`, `slow:3` …; ValueError names what this stand-in can play."""
        name, _, delay = text.strip().partition(":")
        if name not in known:
            raise ValueError(f"unknown scenario {text[:80]!r}; known are: {', '.join(sorted(known))}")
        if not delay:
            return cls(ScenarioName(name))
        if name != ScenarioName.SLOW or not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", delay):
            raise ValueError(f"scenario {text[:80]!r}: only slow takes a value, in seconds, as in slow:3")
        return cls(ScenarioName.SLOW, min(float(delay), MAX_DELAY_S))


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the first lines of our prompt say. `scenario` is the raw text of a `Scenario:` line, or empty."""

    key: str
    role: Role
    run: str
    language: Language
    scenario: str = ""


def read_assignment(prompt: str) -> Assignment | None:
    """None unless the very first line is the marker: quoted or injected markers further down do not count."""
    header = prompt.split("\n", MAX_HEADER_LINES)[:MAX_HEADER_LINES]
    marker = _MARKER.fullmatch(header[0].strip())
    if marker is None or marker["role"] not in list(Role):
        return None
    fields = dict(line.strip().partition(": ")[::2] for line in header[1:])
    language = Language.RU if fields.get("Language") == Language.RU else Language.EN
    scenario = fields.get("Scenario", "")
    return Assignment(marker["key"], Role(marker["role"]), marker["run"], language, scenario)


@dataclass(frozen=True, slots=True)
class Say:
    """Text only: the turn ends here."""

    text: str


@dataclass(frozen=True, slots=True)
class Read:
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Write:
    path: str
    content: str


@dataclass(frozen=True, slots=True)
class Bash:
    """Commands as argv lists, joined by `&&` for the real CLI; the scripted one needs no shell for them."""

    commands: tuple[tuple[str, ...], ...]
    description: str
    timeout_s: int = 120

    @property
    def line(self) -> str:
        return " && ".join(shlex.join(command) for command in self.commands)


Tool = Read | Write | Bash
Step = Say | Tool


def tool_arguments(tool: Tool) -> tuple[str, dict[str, str | int]]:
    """The tool's name and input as the CLI's tools want them."""
    match tool:
        case Read():
            return "Read", {"file_path": tool.path}
        case Write():
            return "Write", {"file_path": tool.path, "content": tool.content}
        case Bash():
            call: dict[str, str | int] = {"command": tool.line, "description": tool.description}
            return "Bash", call | {"timeout": tool.timeout_s * 1000}


def tool_id(assignment: Assignment, step: int) -> str:
    """The same step of the same run has the same id, so that a retried request gets the same answer."""
    return "toolu_" + hashlib.sha256(f"{assignment.run}/{step}".encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Document:
    """A file that a role leaves under `tasks/<KEY>/`; `texts` holds `{key}` and `{title}`."""

    name: str
    texts: dict[Language, str]


_BRD = Document(
    "BRD.md",
    {
        Language.EN: """\
# BRD {key}: {title}

## Goal
After this change the people who asked for "{title}" can do it in the product without a workaround, and the
team can show that it works by the criteria below.

## Context
The request came from the tracker as work item {key}. Its text is in the task file; nothing beyond it was assumed.

## Requirements
1. The behaviour described in {key} is available to the users it names.
2. Wrong or incomplete input is refused with a message that says what to correct; nothing is saved then.
3. Existing behaviour and data stay as they are unless {key} says otherwise.
4. The change is covered by automated tests and described in the user documentation.

## Acceptance criteria
- Given the situation of {key}, when the user follows the described steps, the described result appears.
- Given wrong input, when the user sends it, then a clear message appears and the data is unchanged.
- All existing tests pass.

## Out of scope
Changes that {key} does not name, and the migration of historical data.

## Risks and open questions
- Who approves the wording that users see?
- Are there limits of time or volume that the request does not mention?
""",
        Language.RU: """\
# BRD {key}: {title}

## Цель
После изменения те, кто просил «{title}», могут сделать это в продукте без обходных путей, а команда может
показать по критериям ниже, что оно работает.

## Контекст
Запрос пришёл из трекера как задача {key}. Её текст лежит в файле задачи; сверх него ничего не предполагалось.

## Требования
1. Поведение, описанное в {key}, доступно тем пользователям, которых она называет.
2. Неверный или неполный ввод отклоняется с сообщением, что исправить; данные при этом не сохраняются.
3. Существующее поведение и данные не меняются, если {key} не говорит иного.
4. Изменение покрыто автоматическими тестами и описано в документации пользователя.

## Критерии приёмки
- Дано: ситуация из {key}; когда пользователь выполняет описанные шаги, тогда он видит описанный результат.
- Дано: неверный ввод; когда пользователь его отправляет, тогда он видит сообщение, а данные не изменены.
- Все существующие тесты проходят.

## Вне рамок
Изменения, которых {key} не называет, и перенос исторических данных.

## Риски и открытые вопросы
- Кто утверждает тексты, которые видит пользователь?
- Есть ли ограничения по времени или объёму, о которых в запросе не сказано?
""",
    },
)

DOCUMENTS: dict[Role, tuple[Document, ...]] = {Role.ANALYST: (_BRD,)}
"""What each role leaves behind. A role without an entry reads its task file and answers in words."""


def title_from(task_file: str, fallback: str) -> str:
    """The title named in a task file, made harmless: it goes into documents, so no markup and one line."""
    text = _LINE_NUMBER.sub("", task_file[:MAX_TASK_FILE_CHARS])
    found = _LABELLED_TITLE.search(text) or _HEADING.search(text)
    printable = "".join(c if c.isprintable() else " " for c in _MARKUP.sub(" ", found["title"] if found else ""))
    return " ".join(printable.split())[:MAX_TITLE_CHARS].strip() or fallback


def steps(assignment: Assignment, scenario: ScenarioName, cwd: str, title: str) -> tuple[Step, ...]:
    """The whole conversation. Only `title` depends on what was read, and only from the second step on."""
    task_file = str(PurePosixPath(cwd, TASK_FILES[assignment.role]))
    documents = DOCUMENTS.get(assignment.role, ())
    found: list[Step] = [Read(task_file, f"I read the task file of {assignment.key} first.")]
    if scenario is ScenarioName.LONG_TOOL:
        found.append(Bash((("sleep", str(LONG_TOOL_S)),), "Wait", LONG_TOOL_S))
    found += [_write(document, assignment, cwd, title) for document in documents]
    if documents and scenario is not ScenarioName.NO_COMMIT:
        found.append(_commit(documents, assignment))
    found.append(Say(_summary(documents, assignment)))
    return tuple(found)


def step_at(number: int, conversation: tuple[Step, ...]) -> Step:
    """The last step answers everything that comes after it."""
    return conversation[min(number, len(conversation) - 1)]


def _path(document: Document, assignment: Assignment) -> str:
    return f"tasks/{assignment.key}/{document.name}"


def _write(document: Document, assignment: Assignment, cwd: str, title: str) -> Write:
    text = document.texts[assignment.language].format(key=assignment.key, title=title)
    return Write(str(PurePosixPath(cwd, _path(document, assignment))), text)


def _commit(documents: tuple[Document, ...], assignment: Assignment) -> Bash:
    paths = tuple(_path(document, assignment) for document in documents)
    names = ", ".join(document.name for document in documents)
    commands = (("git", "add", "--", *paths), ("git", "commit", "-q", "-m", f"{assignment.key}: {names}"))
    return Bash(commands, f"Commit {names}")


def _summary(documents: tuple[Document, ...], assignment: Assignment) -> str:
    if not documents:
        return f"The script of the {assignment.role} leaves no document; {assignment.key} was read."
    return f"{', '.join(_path(document, assignment) for document in documents)} is written."
