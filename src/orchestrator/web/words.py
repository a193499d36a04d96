"""Codes of the core in the reader's language. Every sentence says what is, and what to do."""

from orchestrator.domain.model import Language
from orchestrator.qg.verdict import Item

_WORDS: dict[str, tuple[str, str]] = {
    "to_be_decided": ("the next step is being decided", "решается, что дальше"),
    "posted_through_api": ("posted through the API for {repo}", "поставлено через API для {repo}"),
    "project_mapped": ("the project is mapped to {repo}", "проект сопоставлен с {repo}"),
    "triggered": ("started by {trigger} {value}", "запущено по условию {trigger} {value}"),
    "project_mapping": (
        "project not mapped: add Plane project {project} to orchestrator.yaml",
        "проект не сопоставлен: добавьте проект Plane {project} в orchestrator.yaml",
    ),
    "no_plane_token": (
        "no Plane token: set ORCH_PLANE_API_TOKEN and ORCH_PLANE_WORKSPACE_SLUG, then restart",
        "нет токена Plane: задайте ORCH_PLANE_API_TOKEN и ORCH_PLANE_WORKSPACE_SLUG и перезапустите",
    ),
    "no_gitea_token": (
        "no Gitea token: set ORCH_GITEA_TOKEN, then restart",
        "нет токена Gitea: задайте ORCH_GITEA_TOKEN и перезапустите",
    ),
    "trigger": (
        "not triggered: the project starts on {trigger} {value}",
        "не запущено: проект начинает по условию {trigger} {value}",
    ),
    "item_gone": (
        "the work item is not in Plane any more",
        "рабочего элемента больше нет в Plane",
    ),
    "item_is_draft": ("the work item is a draft: publish it", "рабочий элемент — черновик: опубликуйте его"),
    "item_is_archived": ("the work item is archived: restore it", "рабочий элемент в архиве: верните его"),
    "branch_gone": (
        "branch {branch} is gone from the forge: restore it there",
        "ветки {branch} больше нет: восстановите её",
    ),
    "run_intended": ("the {role} is about to start", "{role} сейчас начнёт"),
    "run_running": ("the {role} is at work (attempt {attempt})", "{role} работает (попытка {attempt})"),
    "run_not_successful": (
        "the run ended as {outcome} ({reason}) in attempt {attempt}: read its log, then `orch retry`",
        "запуск закончился как {outcome} ({reason}), попытка {attempt}: посмотрите его журнал, затем `orch retry`",
    ),
    "document_approval": (
        "{documents} waits to be read and approved; approving by comment comes with gate QG-1",
        "{documents} ждёт проверки и одобрения; одобрение комментарием появится с воротами QG-1",
    ),
    "stage_not_automated": (
        "nothing works at stage {stage} in this version",
        "на этапе {stage} в этой версии ничего не работает",
    ),
    "internal_error": (
        "a fault of the orchestrator: {detail}. See its log, then restart it",
        "ошибка оркестратора: {detail}. Посмотрите его журнал и перезапустите",
    ),
}


def sentence(item: Item, language: Language = Language.EN) -> str:
    """What an item says; a code without words of its own shows its detail."""
    params = dict(item.params)
    words = _WORDS.get(item.code)
    if words is None:
        detail = params.get("detail", "")
        return f"{item.code}: {detail}" if detail else item.code
    return words[language is Language.RU].format_map(_Forgiving(params))


class _Forgiving(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"
