"""Names in words: stages, roles, gates, who acts, and the codes that parameters hold. Pure data."""

from orchestrator.domain.forge import CheckState
from orchestrator.domain.model import Cause, Stage, TriggerKind
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import Outcome, VerdictWord

Pair = tuple[str, str]
"""English and Russian."""


def in_language(pair: Pair, language: Language) -> str:
    return pair[language is Language.RU]


STAGES: dict[str, Pair] = {
    Stage.CREATED: ("created", "создана"),
    Stage.ANALYSIS: ("analysis", "анализ"),
    Stage.ARCHITECTURE: ("architecture", "архитектура"),
    Stage.DEVELOPMENT: ("development", "разработка"),
    Stage.CI: ("CI", "проверки CI"),
    Stage.REVIEW: ("review", "ревью"),
    Stage.TESTING: ("testing", "тестирование"),
    Stage.READY: ("ready to merge", "готово к слиянию"),
    Stage.DONE: ("done", "завершено"),
}
ROLES: dict[str, Pair] = {
    Role.ANALYST: ("analyst", "аналитик"),
    Role.ARCHITECT: ("architect", "архитектор"),
    Role.DEVELOPER: ("developer", "разработчик"),
    Role.REVIEWER: ("reviewer", "ревьюер"),
    Role.TESTER: ("tester", "тестировщик"),
}
GATES: dict[str, Pair] = {
    "QG-0": ("intake", "приём"),
    "QG-1": ("requirements", "бизнес-требования"),
    "QG-2": ("architecture and work order", "архитектура и задание"),
    "QG-3": ("pull request", "пул-реквест"),
    "QG-4": ("checks", "проверки CI"),
    "QG-5": ("review", "ревью"),
    "QG-6": ("test", "тестирование"),
}
PEOPLE: dict[str, Pair] = {
    "operator": ("operator", "оператор"),
    "approver": ("approver", "согласующий"),
    "author": ("author of the work item", "автор рабочего элемента"),
    "developer": ("developer", "разработчик"),
    "reviewer": ("reviewer", "ревьюер"),
    "maintainer": ("maintainer", "мейнтейнер"),
}
"""Who can act, of people. A login stands for itself."""
MACHINES: dict[str, Pair] = {
    "agent": ("agent", "агент"),
    "ci": ("CI", "CI"),
    "orchestrator": ("orchestrator", "оркестратор"),
}
WHO = PEOPLE | MACHINES

ACTIONS: dict[str, Pair] = {
    ":approved:": (
        "comment `:approved:` anew, alone on its line",
        "напишите `:approved:` заново, отдельной строкой",
    ),
    ":rejected:": (
        "comment `:rejected: why` anew, if it still holds",
        "напишите `:rejected: причина` заново, если это ещё так",
    ),
    "orchestrator.yaml": (
        "correct `orchestrator.yaml` and restart",
        "поправьте `orchestrator.yaml` и перезапустите",
    ),
    "orch doctor": (
        "run `orch doctor`, which says how to mend it",
        "запустите `orch doctor`: он скажет, как исправить",
    ),
    "orch resume --all": ("run `orch resume --all`", "выполните `orch resume --all`"),
    "/orch budget": (
        (
            "read what its last runs did; then comment `/orch budget 10` in Plane (US dollars): one run may cost "
            "that, and the task, counted anew, that or the configured limit, whichever is more"
        ),
        (
            "посмотрите, что делали последние запуски; затем напишите в Plane `/orch budget 10` (доллары США): "
            "столько сможет стоить один запуск, а вся задача, если считать заново, — столько же или предел из "
            "настроек, смотря что больше"
        ),
    ),
    "restore": ("restore the work item", "верните рабочий элемент"),
    "publish": ("publish the work item", "опубликуйте рабочий элемент"),
    TriggerKind.NEW_ITEM: ("create a new work item", "создайте новый рабочий элемент"),
    TriggerKind.LABEL: ("set the label", "поставьте метку"),
    TriggerKind.STATE: ("move the work item to the state", "переведите рабочий элемент в это состояние"),
    TriggerKind.ASSIGNEE: ("assign the work item", "назначьте исполнителя"),
    "restore_branch": ("restore the branch", "восстановите ветку"),
    "run": ("nothing: an agent works on it", "ничего: этим займётся агент"),
    "wait": ("wait", "подождите"),
    "push": ("push a commit", "отправьте коммит"),
    "run_ci": ("run the checks", "запустите проверки"),
    "review_again": ("review the head commit again", "проверьте последний коммит снова"),
    "publish_review": ("nothing: the review is about to be published", "ничего: ревью сейчас будет опубликовано"),
    "grant_code_write": ("give the user write access to the code", "дайте пользователю право записи в код"),
    "approve_pull_request": ("review and approve the pull request", "проверьте и одобрите пул-реквест"),
    "reopen": ("reopen the pull request", "откройте пул-реквест снова"),
    "change_base": ("change the base branch", "смените базовую ветку"),
    "look": ("nothing: the orchestrator looks again", "ничего: оркестратор посмотрит снова"),
    "mark_ready": ("mark the pull request as ready", "снимите с пул-реквеста отметку черновика"),
    "resolve_conflicts": ("resolve the conflicts", "разрешите конфликты"),
    "open_pull_request": (
        "nothing: the orchestrator opens the pull request",
        "ничего: пул-реквест откроет оркестратор",
    ),
    "create_branch": ("nothing: the orchestrator makes the branch", "ничего: ветку создаст оркестратор"),
    "merge": ("merge the pull request", "слейте пул-реквест"),
    "nothing": ("nothing", "ничего"),
    "retry": (
        "read its log and mend the cause, then `orch retry`, or comment `/orch retry` in Plane",
        "посмотрите его журнал и устраните причину, затем `orch retry`, или напишите в Plane `/orch retry`",
    ),
    "/orch retry": (
        "read what the last runs did; then comment `/orch retry` in Plane, or `orch retry`",
        "посмотрите, что делали последние запуски, и напишите в Plane `/orch retry`, или `orch retry`",
    ),
    "orch retry": (
        "read what the last runs did; then run `orch retry` with the task's key: runs and money are counted anew",
        (
            "посмотрите, что делали последние запуски, и выполните `orch retry` с ключом задачи: запуски и деньги "
            "считаются заново"
        ),
    ),
    "orch resume": ("run `orch resume` with the task's key", "выполните `orch resume` с ключом задачи"),
    "cancel": ("cancel the task", "отмените задачу"),
}
"""Codes of actions. Others are what has to be typed, and are shown as they are."""
COMMENT: Pair = ("comment `{command}` in Plane", "напишите в Plane `{command}`")

CAUSES: dict[str, Pair] = {
    Cause.DOCUMENT_REJECTED: ("the document was rejected", "документ отклонён"),
    Cause.CI_RED: ("the checks were red", "проверки красные"),
    Cause.REVIEW_REJECTED: ("the review asked for changes", "ревью потребовало изменений"),
    Cause.TEST_FAILED: ("the test failed", "тестирование не пройдено"),
}
OUTCOMES: dict[str, Pair] = {
    Outcome.SUCCEEDED: ("succeeded", "успешно"),
    Outcome.FAILED: ("failed", "неудачно"),
    Outcome.TURN_CAP: ("out of turns", "кончились ходы"),
    Outcome.BUDGET: ("out of budget", "кончился бюджет"),
    Outcome.USAGE_LIMIT: ("usage limit reached", "исчерпан лимит учётной записи"),
    Outcome.UNAVAILABLE: ("model not available", "модель недоступна"),
    Outcome.DENIED: ("denied its tools", "не получил нужных инструментов"),
    Outcome.TIMED_OUT: ("out of time", "не хватило времени"),
    Outcome.STALLED: ("stalled", "завис"),
    Outcome.CANCELLED: ("cancelled", "остановлен"),
    Outcome.CRASHED: ("crashed", "упал"),
    Outcome.LOST: ("lost", "потерян"),
}
VERDICT_WORDS: dict[str, Pair] = {
    VerdictWord.APPROVED: ("approved", "одобрено"),
    VerdictWord.CHANGES_REQUESTED: ("changes requested", "нужны изменения"),
    VerdictWord.PASSED: ("passed", "пройдено"),
    VerdictWord.FAILED: ("failed", "не пройдено"),
}
CHECK_STATES: dict[str, Pair] = {
    CheckState.SUCCESS: ("green", "зелёная"),
    CheckState.PENDING: ("not finished", "не закончена"),
    CheckState.FAILURE: ("red", "красная"),
    CheckState.ERROR: ("broken", "сломалась"),
    CheckState.WARNING: ("green with a warning, which does not count", "с предупреждением, это не считается"),
    CheckState.SKIPPED: ("skipped, which does not count", "пропущена, это не считается"),
}
TRIGGERS: dict[str, Pair] = {
    TriggerKind.NEW_ITEM: ("a new work item", "новый рабочий элемент"),
    TriggerKind.LABEL: ("the label", "метка"),
    TriggerKind.STATE: ("the state", "состояние"),
    TriggerKind.ASSIGNEE: ("the assignee", "исполнитель"),
}
SECTIONS: dict[str, Pair] = {
    "goal": ("Goal", "Цель"),
    "requirements": ("Functional requirements", "Функциональные требования"),
    "acceptance_criteria": ("Acceptance criteria", "Критерии приёмки"),
}
WHYS: dict[str, Pair] = {
    "not_an_approver": ("its author is not an approver", "его автор не согласующий"),
    "edited": ("the comment was edited", "комментарий правили"),
    "document_is_newer": (
        "the document changed after it, or was not there yet",
        "документ изменился после него или его ещё не было",
    ),
    "same_person": ("another person is needed", "нужен другой человек"),
    "not_for_this_gate": (
        "it came before these documents were asked about, so it is about the others",
        "он появился раньше, чем спросили об этих документах, и относится к другим",
    ),
    "nothing_asked": ("nothing waits for an approval now", "сейчас ничто не ждёт одобрения"),
    "approved_already": ("enough people have approved it already", "одобрений уже достаточно"),
    "document_missing": ("the document is not there yet", "документа ещё нет"),
}
"""Why an approval does not count."""

EFFECTS: dict[str, Pair] = {
    "TrackerNote": ("a comment in Plane", "комментарий в Plane"),
    "ItemState": ("the work item's state", "состояние рабочего элемента"),
    "PullLink": ("the link to the pull request in Plane", "ссылка на пул-реквест в Plane"),
    "OpenPull": ("the pull request", "пул-реквест"),
    "PullNote": ("a comment on the pull request", "комментарий в пул-реквесте"),
    "PullReview": ("the review", "ревью"),
    "GateStatus": ("the commit status", "статус коммита"),
}

OF_PARAMETER: dict[str, dict[str, Pair]] = {
    "role": ROLES,
    "stage": STAGES,
    "cause": CAUSES,
    "outcome": OUTCOMES,
    "word": VERDICT_WORDS,
    "state": CHECK_STATES,
    "trigger": TRIGGERS,
    "section": SECTIONS,
    "why": WHYS,
    "what": EFFECTS,
}
"""Parameters whose values are codes."""
