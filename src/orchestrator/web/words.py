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
    "look_due": ("about to be looked at again", "сейчас будет проверено снова"),
    "branch_missing": ("branch {branch} is being created", "создаётся ветка {branch}"),
    "document": ("{document} is there", "{document} на месте"),
    "approved": ("approved by {person}", "одобрил {person}"),
    "document_missing": ("{document} is not on the branch", "{document} нет на ветке"),
    "document_blank": ("{document} is empty", "{document} пуст"),
    "document_not_ready": (
        "{document} lacks its line `Status: Ready for dev`",
        "в {document} нет строки `Статус: Ready for dev`",
    ),
    "section_missing": ("{document} lacks its section {section}", "в {document} нет раздела {section}"),
    "document_rejected": ("rejected by {person}", "отклонил {person}"),
    "approval": (
        "read {documents} and answer with a comment `:approved:` ({have} of {needed})",
        "прочтите {documents} и ответьте комментарием `:approved:` ({have} из {needed})",
    ),
    "too_few_approvers": (
        "{needed} approvals are needed and {approvers} people may approve: name more in orchestrator.yaml",
        "нужно одобрений: {needed}, а одобрять могут: {approvers}; добавьте людей в orchestrator.yaml",
    ),
    "approval_not_counted": ("this approval does not count: {why}", "это одобрение не засчитано: {why}"),
    "changes_missing": ("nothing was changed outside {folder}", "вне {folder} ничего не изменено"),
    "pull_request": (
        "pull request #{number} is open and mergeable",
        "запрос на слияние №{number} открыт и сливается",
    ),
    "pull_request_missing": (
        "the pull request from {branch} is being opened",
        "открывается запрос на слияние из {branch}",
    ),
    "pull_request_closed": (
        "pull request #{number} was closed and not merged: reopen it to go on",
        "запрос на слияние №{number} закрыт без слияния: откройте его снова, чтобы продолжить",
    ),
    "pull_request_elsewhere": (
        "pull request #{number} does not lead to {base}: change its base",
        "запрос на слияние №{number} ведёт не в {base}: смените основу",
    ),
    "pull_request_behind": (
        "pull request #{number} does not show the branch's head yet",
        "запрос на слияние №{number} ещё не видит последний коммит ветки",
    ),
    "pull_request_is_draft": (
        "pull request #{number} is a draft: mark it as ready",
        "запрос на слияние №{number} — черновик: пометьте его готовым",
    ),
    "pull_request_not_mergeable": (
        "pull request #{number} cannot be merged: resolve its conflicts",
        "запрос на слияние №{number} не сливается: разрешите конфликты",
    ),
    "protected_paths": (
        "{count} protected paths were changed: undo that, or an approver writes `/orch allow-paths {head}`",
        "изменены защищённые пути ({count}): отмените или пусть одобряющий напишет `/orch allow-paths {head}`",
    ),
    "ci_none": ("the project says that it has no CI", "проект указал, что CI у него нет"),
    "no_required_contexts": (
        "no check is required on {branch}: name contexts in orchestrator.yaml, or say `ci: none`",
        "для {branch} не требуется ни одной проверки: назовите их в orchestrator.yaml или укажите `ci: none`",
    ),
    "check_green": ("{context} is green", "{context} — зелёный"),
    "check_missing": ("{context} was not reported for the head", "{context} не сообщён для последнего коммита"),
    "check_red": ("{context} is red ({state})", "{context} — красный ({state})"),
    "check_not_green": ("{context} is not green yet ({state})", "{context} ещё не зелёный ({state})"),
    "check_of_wrong_creator": (
        "{context} was reported by {creator}, whose word does not count here",
        "{context} сообщил {creator}, чьё слово здесь не считается",
    ),
    "change_request": (
        "{login} asked for changes on {commit}: that review has to be answered",
        "{login} просит изменений на {commit}: на эту рецензию нужно ответить",
    ),
    "reviewer_requests_changes": (
        "the reviewer asks for changes (attempt {attempt})",
        "рецензент просит изменений (попытка {attempt})",
    ),
    "reviewer_verdict": ("the reviewer looked at {head}", "рецензент посмотрел {head}"),
    "review_due": ("the reviewer has not looked at {head} yet", "рецензент ещё не смотрел {head}"),
    "review_approved": ("approved by {login}", "одобрено: {login}"),
    "reviewer_approval": ("{login}'s approval of {head} is missing", "нет одобрения {login} для {head}"),
    "review_dismissed": (
        "{login}'s approval was dismissed: push a commit for a new review",
        "одобрение {login} отклонено: отправьте коммит, и рецензия будет новой",
    ),
    "review_not_official": (
        "{login}'s approval is not official: give that user write access to code",
        "одобрение {login} не официальное: дайте этому пользователю право записи в код",
    ),
    "review_stale": (
        "{login}'s approval is stale: push a commit for a new review",
        "одобрение {login} устарело: отправьте коммит, и рецензия будет новой",
    ),
    "review_superseded": (
        "{login} spoke of another commit since: push a commit for a new review",
        "{login} с тех пор высказался о другом коммите: отправьте коммит, и рецензия будет новой",
    ),
    "human_review": (
        "{have} of {needed} people approved the pull request",
        "запрос на слияние одобрили {have} из {needed}",
    ),
    "human_review_no_reviewer_user": (
        "the reviewer has no Gitea user of its own, so a person approves the pull request ({have} of {needed})",
        "у рецензента нет своего пользователя Gitea, поэтому запрос одобряет человек ({have} из {needed})",
    ),
    "test_due": ("the tester has not tested {head} yet", "тестировщик ещё не проверил {head}"),
    "tester_verdict": ("the tester says {word} of {head}", "тестировщик о {head}: {word}"),
    "test_failed": ("the tester says {word} of {head}", "тестировщик о {head}: {word}"),
    "rework_due": ("sent back to the {role}: {cause}", "возвращено: {role}, причина {cause}"),
    "cap_reached": (
        "sent back {returns} times for {cause} ({returns_in_all} in all): `/orch retry` grants one more",
        "возвращено по причине {cause}: {returns} (всего {returns_in_all}); `/orch retry` даст ещё попытку",
    ),
    "output_missing": (
        "the {role} ended {attempts} attempts without {missing}: `/orch retry`, or push it",
        "{role}: попыток без результата {attempts}, нет {missing}; `/orch retry` или отправьте сами",
    ),
    "cancelled": (
        "cancelled by an approver: `/orch resume` goes on",
        "отменено одобряющим: `/orch resume` продолжит",
    ),
    "paused": ("paused by an approver: `/orch resume` goes on", "на паузе: `/orch resume` продолжит"),
    "merge": ("pull request #{number} is ready: merge it", "запрос на слияние №{number} готов: слейте его"),
    "unknown_command": (
        "I do not know `{command}`. There are: :approved:, :rejected: why, {commands}",
        "не знаю `{command}`. Есть: :approved:, :rejected: почему, {commands}",
    ),
    "not_the_head": (
        "{given} is not the branch's head ({head})",
        "{given} — не последний коммит ветки ({head})",
    ),
    "status": ("at stage {stage}", "на этапе {stage}"),
    "why": ("at stage {stage}, waiting for:", "на этапе {stage}, ждёт:"),
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
