"""What scripted agents write: documents, code, verdicts. `{key}`, `{title}` … are filled in by the script."""

from orchestrator.domain.roles import DocumentName, Language, Role

DOCUMENTS: dict[Role, tuple[DocumentName, ...]] = {
    Role.ANALYST: (DocumentName.BRD,),
    Role.ARCHITECT: (DocumentName.ARCHITECTURE, DocumentName.DEV_TASK),
    Role.DEVELOPER: (DocumentName.DEV_REPORT,),
}
"""What each role leaves under `tasks/<KEY>/`. A role without an entry leaves a verdict."""

READY = {Language.EN: "\nStatus: Ready for dev\n", Language.RU: "\nСтатус: Ready for dev\n"}

REWORK_HEADING = {Language.EN: "## Rework", Language.RU: "## Доработка"}
REWORK_POINT = {
    Language.EN: "- {code} ({run}): answered by a change.",
    Language.RU: "- {code} ({run}): исправлено.",
}

TEXTS: dict[DocumentName, dict[Language, str]] = {
    DocumentName.BRD: {
        Language.EN: """\
# BRD {key}: {title}

## Goal
After this change the people who asked for "{title}" can do it in the product without a workaround, and the
team can show that it works by the criteria below.

## Context
The request came from the tracker as work item {key}. Its text is in the task file; nothing beyond it was assumed.

## Functional requirements
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

## Функциональные требования
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
    DocumentName.ARCHITECTURE: {
        Language.EN: """\
# Architecture {key}: {title}

## Summary
One new module carries the behaviour of {key}; nothing that exists is changed. The module has no state and no
dependency, so it can be taken out again by deleting it.

## Components
- `{code}`: the behaviour, new.
- `{test}`: its tests, new.

## Data and interfaces
No schema and no migration. The module's one function answers whether the behaviour is there.

## Failure and security
There is no input from outside, so nothing can be refused or injected.

## Alternatives
Extending an existing module was weighed; it would mix two reasons to change.
""",
        Language.RU: """\
# Архитектура {key}: {title}

## Итог
Поведение {key} живёт в одном новом модуле; ничего из существующего не меняется. У модуля нет ни состояния, ни
зависимостей, поэтому его можно убрать простым удалением.

## Части
- `{code}`: поведение, новый.
- `{test}`: его тесты, новый.

## Данные и интерфейсы
Ни схемы, ни миграции. Единственная функция модуля отвечает, есть ли это поведение.

## Отказы и безопасность
Ввода извне нет, поэтому отклонять нечего и внедрить ничего нельзя.

## Другие варианты
Рассмотрено расширение существующего модуля; оно смешало бы две причины для изменений.
""",
    },
    DocumentName.DEV_TASK: {
        Language.EN: """\
# Work order {key}: {title}

## Steps
1. Write `{test}` with a test that fails.
2. Write `{code}` until the test is green.
3. Write the report.

## Requirements and steps
| requirement | step |
|---|---|
| 1, 2, 3 | 2 |
| 4 | 1, 3 |

## Not to be touched
CI files, agent prompts, and the approved documents.
""",
        Language.RU: """\
# Задание {key}: {title}

## Шаги
1. Написать `{test}` с тестом, который падает.
2. Писать `{code}`, пока тест не станет зелёным.
3. Написать отчёт.

## Требования и шаги
| требование | шаг |
|---|---|
| 1, 2, 3 | 2 |
| 4 | 1, 3 |

## Не трогать
Файлы CI, промпты агентов и утверждённые документы.
""",
    },
    DocumentName.DEV_REPORT: {
        Language.EN: """\
# Report {key}: {title}

## Done
- `{code}`: the behaviour of {key}.
- `{test}`: proves it.

## Ran
Nothing but git: this is the work of a script.
""",
        Language.RU: """\
# Отчёт {key}: {title}

## Сделано
- `{code}`: поведение {key}.
- `{test}`: доказывает его.

## Запускалось
Ничего, кроме git: это работа по сценарию.
""",
    },
}

CODE = """\
\"\"\"The behaviour of {key}.\"\"\"


def is_there() -> bool:
    return True
"""
CODE_OF_REWORK = "\n\n# {code}: reworked in run {run}\n"
TEST = """\
\"\"\"{key} behaves as asked.\"\"\"

from src.{module} import is_there


def test_it_is_there() -> None:
    assert is_there()
"""
PROTECTED_PATH = ".gitea/workflows/ci.yml"
PROTECTED_TEXT = "# changed for {key}\non: [push]\njobs:\n  test:\n    runs-on: docker\n    steps: []\n"

SUMMARIES: dict[str, dict[Language, str]] = {
    "approved": {
        Language.EN: "The branch does what {key} asks; I read every change.",
        Language.RU: "Ветка делает то, чего просит {key}; я прочёл каждое изменение.",
    },
    "changes_requested": {
        Language.EN: "The branch does not yet do all that {key} asks.",
        Language.RU: "Ветка делает ещё не всё, чего просит {key}.",
    },
    "passed": {
        Language.EN: "Every acceptance criterion of {key} was seen to hold.",
        Language.RU: "Каждый критерий приёмки {key} выполнен, это видно.",
    },
    "failed": {
        Language.EN: "One acceptance criterion of {key} does not hold.",
        Language.RU: "Один критерий приёмки {key} не выполнен.",
    },
}
FINDING = {
    Language.EN: "The case of wrong input is missing: nothing refuses it. Add it, with a test.",
    Language.RU: "Нет случая неверного ввода: его ничто не отклоняет. Добавьте его вместе с тестом.",
}
CRITERIA = {
    Language.EN: ("The described result appears", "Wrong input is refused"),
    Language.RU: ("Появляется описанный результат", "Неверный ввод отклоняется"),
}
SEEN = {
    Language.EN: {
        "passed": "Done as described; it happened.",
        "failed": "Nothing was refused. Expected: a message.",
    },
    Language.RU: {
        "passed": "Сделано по описанию; так и вышло.",
        "failed": "Ничего не отклонено. Ожидалось: сообщение.",
    },
}
