"""What the core's codes say, in English and Russian: what is, and, where the action alone does not say it, what to
do. Pure data.

`{name}` is a parameter of the item; backquotes go around what is code. No sentence begins with a bare parameter,
so that no parameter can look like a command.
"""

from dataclasses import dataclass

from orchestrator.words.names import Pair


@dataclass(frozen=True, slots=True)
class Said:
    """What is, and what to do about it; without the latter, the item's action says it."""

    en: str
    ru: str
    todo_en: str = ""
    todo_ru: str = ""

    def is_so(self) -> Pair:
        return self.en, self.ru

    def todo(self) -> Pair:
        return self.todo_en, self.todo_ru


_INTAKE = {
    "to_be_decided": Said("the next step is being decided", "решается, что дальше"),
    "posted_through_api": Said("posted through the API for `{repo}`", "поставлено через API для `{repo}`"),
    "project_mapped": Said("the project is mapped to `{repo}`", "проект сопоставлен с `{repo}`"),
    "new_work_item": Said("the work item is new", "рабочий элемент новый"),
    "triggered": Said("started by {trigger} `{value}`", "запущено по условию: {trigger} `{value}`"),
    "project_mapping": Said(
        "project not mapped",
        "проект не сопоставлен",
        "add Plane project `{project}` to `orchestrator.yaml` and restart",
        "добавьте проект Plane `{project}` в `orchestrator.yaml` и перезапустите",
    ),
    "no_plane_token": Said(
        "no Plane token",
        "нет токена Plane",
        "set `ORCH_PLANE_API_TOKEN` and `ORCH_PLANE_WORKSPACE_SLUG`, then restart",
        "задайте `ORCH_PLANE_API_TOKEN` и `ORCH_PLANE_WORKSPACE_SLUG` и перезапустите",
    ),
    "no_gitea_token": Said(
        "no Gitea token",
        "нет токена Gitea",
        "set `ORCH_GITEA_TOKEN`, then restart",
        "задайте `ORCH_GITEA_TOKEN` и перезапустите",
    ),
    "trigger": Said(
        "not triggered: the project starts on {trigger} `{value}`",
        "не запущено: проект начинает по условию: {trigger} `{value}`",
    ),
    "item_gone": Said(
        "the work item is not in Plane any more",
        "рабочего элемента больше нет в Plane",
        "nothing, if it was deleted on purpose",
        "ничего, если его удалили намеренно",
    ),
    "item_is_draft": Said(
        "the work item is a draft", "рабочий элемент — черновик", "publish it", "опубликуйте его"
    ),
    "item_is_archived": Said("the work item is archived", "рабочий элемент в архиве", "restore it", "верните его"),
    "branch_missing": Said("branch `{branch}` is not there yet", "ветки `{branch}` ещё нет"),
    "branch_gone": Said(
        "branch `{branch}` is gone from the forge",
        "ветки `{branch}` больше нет",
        "restore it there",
        "восстановите её",
    ),
}
_DOCUMENTS = {
    "document": Said("`{document}` is there", "`{document}` на месте"),
    "document_missing": Said("`{document}` is not on the branch", "`{document}` нет в ветке"),
    "document_blank": Said("`{document}` is blank", "`{document}` пуст"),
    "document_not_ready": Said(
        "`{document}` has no line `Status: Ready for dev`", "в `{document}` нет строки `Статус: Ready for dev`"
    ),
    "section_missing": Said("`{document}` has no section “{section}”", "в `{document}` нет раздела «{section}»"),
    "approval": Said(
        "`{documents}` waits for approval, {have} of {needed}",
        "`{documents}` ждёт одобрения, {have} из {needed}",
        "read `{documents}` on the branch, then comment `:approved:`, alone on its line, on the work item in "
        "Plane, or `:rejected: why`",
        "прочтите `{documents}` в ветке и напишите в Plane к рабочему элементу `:approved:` отдельной строкой или "
        "`:rejected: причина`",
    ),
    "approved": Said("approved by {person}", "одобрение: {person}"),
    "approval_not_counted": Said("an `:approved:` does not count: {why}", "`:approved:` не считается: {why}"),
    "rejection_not_counted": Said("a `:rejected:` does not count: {why}", "`:rejected:` не считается: {why}"),
    "too_few_approvers": Said(
        "the project asks for {needed} approvals and has {approvers} approvers",
        "проект требует одобрений: {needed}, а согласующих: {approvers}",
        "name more approvers in `orchestrator.yaml`, or ask for fewer approvals, then restart",
        "назовите в `orchestrator.yaml` больше согласующих или требуйте меньше одобрений и перезапустите",
    ),
    "rejection_edited": Said(
        "rejected by {person} at stage “{stage}” in a comment that was edited",
        "отклонено: {person}, этап «{stage}», но комментарий правили",
        "who wrote it says it anew: `:approved:`, or `:rejected: why`; or deletes that comment",
        "автору: написать заново `:approved:` или `:rejected: почему` либо удалить тот комментарий",
    ),
    "document_rejected": Said("rejected by {person} at stage “{stage}”", "отклонено: {person}, этап «{stage}»"),
}
_PULL = {
    "pull_request": Said(
        "pull request {number} is open and can be merged", "пул-реквест {number} открыт, и слить его можно"
    ),
    "changes_made": Said("something is changed outside `{folder}`", "вне `{folder}` есть изменения"),
    "paths_untouched": Said("no protected file is changed", "защищённые файлы не изменены"),
    "changes_missing": Said("nothing is changed outside `{folder}`", "вне `{folder}` ничего не изменено"),
    "pull_request_missing": Said(
        "there is no pull request from `{branch}` onto `{base}`", "нет пул-реквеста из `{branch}` в `{base}`"
    ),
    "pull_request_closed": Said(
        "pull request {number} was closed and not merged",
        "пул-реквест {number} закрыт без слияния",
        "reopen it; or leave it, if this is the end",
        "откройте его снова; или оставьте, если это конец",
    ),
    "pull_request_elsewhere": Said(
        "pull request {number} does not lead onto `{base}`",
        "пул-реквест {number} ведёт не в `{base}`",
        "change its base branch to `{base}`",
        "смените его базовую ветку на `{base}`",
    ),
    "pull_request_behind": Said(
        "pull request {number} does not show the branch's head yet",
        "пул-реквест {number} ещё не показывает конец ветки",
    ),
    "pull_request_is_draft": Said(
        "pull request {number} is a draft",
        "пул-реквест {number} — черновик",
        "take `WIP:` from its title",
        "уберите `WIP:` из его названия",
    ),
    "pull_request_not_mergeable": Said(
        "pull request {number} cannot be merged, or the forge still checks it",
        "пул-реквест {number} нельзя слить, или сервер ещё проверяет",
        "resolve conflicts with the base branch, if there are any",
        "разрешите конфликты с базовой веткой, если они есть",
    ),
    "protected_paths": Said(
        "protected files are changed: {count}",
        "изменено защищённых файлов: {count}",
        "look at them in the pull request; if they are right, comment `/orch allow-paths {head}` in Plane",
        "посмотрите их в пул-реквесте; если всё верно, напишите в Plane `/orch allow-paths {head}`",
    ),
    "merge": Said(
        "all gates are open",
        "все шлюзы открыты",
        "merge pull request {number}; the orchestrator never merges",
        "слейте пул-реквест {number}; оркестратор сам никогда не сливает",
    ),
}
_CHECKS = {
    "ci_none": Said("the project has no CI, by its own word", "у проекта нет CI: так сказано в его настройках"),
    "no_required_contexts": Said(
        "no check is required on `{branch}`",
        "на `{branch}` нет обязательных проверок",
        "require contexts in the branch's protection or in `orchestrator.yaml`, or say `ci: none` there",
        "назовите обязательные проверки в защите ветки или в `orchestrator.yaml`, или напишите там `ci: none`",
    ),
    "check_missing": Said(
        "check `{context}` is not there",
        "проверки `{context}` нет",
        "run it; or see that the required name is right",
        "запустите её; или проверьте, верно ли названа обязательная проверка",
    ),
    "check_green": Said("check `{context}` is {state}", "проверка `{context}` {state}"),
    "check_red": Said("check `{context}` is {state}", "проверка `{context}` {state}"),
    "check_not_green": Said("check `{context}` is {state}", "проверка `{context}` {state}"),
    "check_of_wrong_creator": Said(
        "check `{context}` is {state}, by `{creator}`, who does not count",
        "проверка `{context}` {state}, но её автор `{creator}` не считается",
        "see who posts it; add the login to `check_creators` in `orchestrator.yaml`, if it is right",
        "узнайте, кто её ставит; если это верно, добавьте логин в `check_creators` в `orchestrator.yaml`",
    ),
}
_REVIEW = {
    "change_request": Said(
        "`{login}` asks for changes, on commit `{commit:.10}`",
        "`{login}` требует изменений (коммит `{commit:.10}`)",
        "review the newest commit again, or dismiss the review",
        "проверьте последний коммит снова или снимите ревью",
    ),
    "reviewer_requests_changes": Said(
        "the reviewer asks for changes on `{head:.10}` (attempt {attempt})",
        "ревьюер требует изменений в `{head:.10}` (попытка {attempt})",
    ),
    "review_due": Said(
        "the reviewer has not looked at `{head:.10}` yet", "`{head:.10}` ещё не проверен ревьюером"
    ),
    "reviewer_verdict": Said(
        "the reviewer looked at `{head:.10}` (attempt {attempt})",
        "ревьюер посмотрел `{head:.10}` (попытка {attempt})",
    ),
    "review_approved": Said("`{login}` approved (review {review})", "`{login}` одобряет (ревью {review})"),
    "review_superseded": Said(
        "the approval of `{head:.10}` by `{login}` was taken back",
        "одобрение `{head:.10}` пользователем `{login}` отозвано",
        "push a commit, so that it is reviewed anew",
        "отправьте коммит, тогда ревью пройдёт заново",
    ),
    "reviewer_approval": Said("`{login}` has not approved `{head:.10}`", "`{login}` ещё не одобряет `{head:.10}`"),
    "review_dismissed": Said(
        "the approval of `{head:.10}` by `{login}` was dismissed",
        "одобрение `{head:.10}` пользователем `{login}` снято",
        "push a commit, so that it is reviewed anew",
        "отправьте коммит, тогда ревью пройдёт заново",
    ),
    "review_not_official": Said(
        "the approval by `{login}` is not official",
        "одобрение пользователя `{login}` неофициальное",
        "give `{login}` write access to the code, or put it on the branch protection's list",
        "дайте `{login}` право записи в код или внесите в список защиты ветки",
    ),
    "human_review_not_official": Said(
        "`{login}` approved `{head:.10}`, but may not write to the code there, so that does not count",
        "`{login}` одобрил(а) `{head:.10}`, но не имеет там права записи в код, и это не считается",
        "ask somebody else for a review; or give `{login}` write access to the code, and let them approve anew",
        "попросите о ревью кого-нибудь другого; или дайте `{login}` право записи в код, и пусть одобрит заново",
    ),
    "review_asked_again": Said(
        "a review of `{login}` was asked for again, which took the standing of its approval of `{head:.10}` away",
        "у `{login}` снова запросили ревью, и его одобрение `{head:.10}` потеряло силу",
        "push a commit, so that it is reviewed anew",
        "отправьте коммит, тогда ревью пройдёт заново",
    ),
    "review_stale": Said(
        "the approval of `{head:.10}` by `{login}` is stale",
        "одобрение `{head:.10}` пользователем `{login}` устарело",
        "push a commit, so that it is reviewed anew",
        "отправьте коммит, тогда ревью пройдёт заново",
    ),
    "human_review": Said("approved by {have} of {needed} people", "одобрений людей: {have} из {needed}"),
    "human_review_no_reviewer_user": Said(
        "the reviewer has no Gitea user of its own, so people approve: {have} of {needed}",
        "у ревьюера нет своего пользователя Gitea, поэтому одобряют люди: {have} из {needed}",
        "read the reviewer's comment, then review and approve the pull request",
        "прочтите комментарий ревьюера, затем проверьте и одобрите пул-реквест",
    ),
}
_TESTING = {
    "test_due": Said("nobody tested `{head:.10}` yet", "`{head:.10}` ещё не испытан"),
    "tester_verdict": Said(
        "the tester on `{head:.10}`: {word} (attempt {attempt})",
        "тестировщик о `{head:.10}`: {word} (попытка {attempt})",
    ),
    "test_failed": Said(
        "the tester on `{head:.10}`: {word} (attempt {attempt})",
        "тестировщик о `{head:.10}`: {word} (попытка {attempt})",
    ),
}
_WORK = {
    "look_due": Said("to be looked at next", "это будет проверено следующим"),
    "run_intended": Said("the {role} is about to start", "сейчас начнёт {role}"),
    "run_unpublished": Said(
        "the {role} has ended; what it made is kept and not published yet: {detail}",
        "закончил работу {role}; сделанное сохранено и ещё не опубликовано: {detail}",
        "mend what is named; it is tried again by itself, and no agent is started anew",
        "устраните названное; попытка повторится сама, агент заново не запускается",
    ),
    "run_running": Said("the {role} is at work (attempt {attempt})", "работает {role} (попытка {attempt})"),
    "rework_due": Said("sent back to the {role}: {cause}", "возвращено, этап ведёт {role}: {cause}"),
    "cap_reached": Said(
        "sent back {returns} times because {cause}, {returns_in_all} times in all: the limit is reached",
        "возвратов по причине «{cause}»: {returns}, всего: {returns_in_all}; предел достигнут",
        "comment `/orch retry` in Plane for one more round, or push a fix",
        "напишите в Plane `/orch retry`, чтобы дать ещё один круг, или отправьте исправление сами",
    ),
    "output_missing": Said(
        "the {role} ended well {attempts} times, and what the gate needs is not there (`{missing}`)",
        "этап ведёт {role}, попыток: {attempts}, закончились хорошо, но нужного шлюзу нет (`{missing}`)",
        "read the log of attempt {attempt}, then comment `/orch retry` in Plane, or push what is missing",
        "посмотрите журнал попытки {attempt} и напишите в Plane `/orch retry` или отправьте недостающее сами",
    ),
    "run_not_successful": Said(
        "the run ended in attempt {attempt}: {outcome} (`{reason}`)",
        "запуск закончился, попытка {attempt}: {outcome} (`{reason}`)",
    ),
    "run_crashed": Said(
        "the run crashed in attempt {attempt} (`{reason}`), and it said: {detail}",
        "запуск упал, попытка {attempt} (`{reason}`), и вот что он сказал: {detail}",
    ),
    "tools_denied": Said(
        "the agent was denied tools in attempt {attempt} ({detail}) and committed nothing",
        "агент в попытке {attempt} не получил инструменты ({detail}) и ничего не закоммитил",
    ),
    "model_refuses": Said(
        "the model's API refuses our credential (attempt {attempt})",
        "API модели не принимает наши учётные данные (попытка {attempt})",
        "set a valid `ORCH_CLAUDE_OAUTH_TOKEN` or `ORCH_ANTHROPIC_API_KEY`, restart, then `orch retry`",
        "задайте верный `ORCH_CLAUDE_OAUTH_TOKEN` или `ORCH_ANTHROPIC_API_KEY`, перезапустите, затем `orch retry`",
    ),
    "not_written": Said(
        "refused by Plane or Gitea: {what}; {detail}",
        "Plane или Gitea не принимает: {what}; {detail}",
        "usually a user of ours lacks a right: `orch doctor` looks; it is tried again every five minutes",
        "обычно нашему пользователю не хватает прав: проверит `orch doctor`; повтор каждые пять минут",
    ),
    "resting": Said(
        "the last run ended with “{outcome}”; the next attempt is not made before {until}",
        "последний запуск закончился так: {outcome}; следующая попытка не раньше {until}",
    ),
    "no_progress": Said(
        "the task came no further in {runs} runs: a loop is assumed",
        "запусков: {runs}, а задача не продвинулась; похоже на зацикливание",
    ),
    "stage_not_automated": Said(
        "nothing works at stage “{stage}” by itself", "на этапе «{stage}» само ничего не работает"
    ),
    "paused": Said("paused by a person", "на паузе по слову человека"),
    "cancelled": Said("cancelled by a person", "отменено человеком"),
    "internal_error": Said(
        "a fault of the orchestrator: {detail}",
        "ошибка оркестратора: {detail}",
        "see its log, then restart it",
        "посмотрите его журнал и перезапустите",
    ),
}
_ADMISSION = {
    "slots_full": Said(
        "waits for a slot: {limit} of {limit} agents are at work",
        "ждёт места: работают агенты, {limit} из {limit}",
        "nothing; or raise `ORCH_MAX_CONCURRENT_RUNS`",
        "ничего; или увеличьте `ORCH_MAX_CONCURRENT_RUNS`",
    ),
    "repository_full": Said(
        "waits for a slot: {limit} of {limit} agents are at work in `{repo}`",
        "ждёт места: в `{repo}` работают агенты, {limit} из {limit}",
        "nothing; or raise `ORCH_MAX_CONCURRENT_RUNS_PER_REPOSITORY`",
        "ничего; или увеличьте `ORCH_MAX_CONCURRENT_RUNS_PER_REPOSITORY`",
    ),
    "role_full": Said(
        "waits for a slot: {limit} of {limit} agents of the role {role} are at work",
        "ждёт места: роль {role}, работают агенты, {limit} из {limit}",
        "nothing; or raise `ORCH_MAX_CONCURRENT_RUNS_PER_ROLE`",
        "ничего; или увеличьте `ORCH_MAX_CONCURRENT_RUNS_PER_ROLE`",
    ),
    "day_budget_spent": Said(
        "today's budget of {budget} USD is spent; runs start again at {until}",
        "дневной бюджет {budget} USD потрачен; запуски продолжатся {until}",
        "nothing; or raise `ORCH_DAY_BUDGET_USD` and restart",
        "ничего; или увеличьте `ORCH_DAY_BUDGET_USD` и перезапустите",
    ),
    "day_runs_spent": Said(
        "today's {limit} runs have been started; the next start at {until}",
        "сегодня запусков уже {limit}; следующие начнутся {until}",
        "nothing; or raise `ORCH_MAX_RUNS_PER_DAY` and restart",
        "ничего; или увеличьте `ORCH_MAX_RUNS_PER_DAY` и перезапустите",
    ),
    "account_paused": Said(
        "the account's usage limit is reached; runs start again at {until}",
        "лимит учётной записи исчерпан; запуски продолжатся {until}",
        "nothing: they go on by themselves, and no attempt is lost",
        "ничего: они продолжатся сами, попытка не пропадёт",
    ),
    "account_on_probe": Said(
        "one run tries whether the account's usage limit has really ended",
        "один запуск проверяет, закончился ли лимит учётной записи",
        "nothing; when the model answers it, all go on",
        "ничего; когда модель ему ответит, продолжат все",
    ),
    "dispatch_paused": Said(
        "everything is paused by an operator",
        "всё приостановлено оператором",
        "run `orch resume --all`",
        "выполните `orch resume --all`",
    ),
    "task_budget_spent": Said(
        "the task's runs have cost {spent} USD, of at most {budget}",
        "запуски задачи стоили {spent} USD, разрешено {budget}",
    ),
    "money_without_progress": Said(
        "the task gets no further: its runs have cost {spent} USD since it last reached a new stage, of at most "
        "{budget}",
        "задача не движется: после выхода на последний новый этап запуски стоили {spent} USD, разрешено {budget}",
    ),
}
_ANSWERS = {
    "status": Said("stage “{stage}”", "этап «{stage}»"),
    "why": Said("stage “{stage}”, and it waits for this", "этап «{stage}», и вот чего он ждёт"),
    "unknown_command": Said(
        "`{command}` is no command",
        "`{command}` — не команда",
        "use one of `{commands}`",
        "есть такие: `{commands}`",
    ),
    "command_not_counted": Said(
        "as the comment stands now, its `/orch` commands do not count: {why}; what was carried out before that "
        "stays so",
        "в нынешнем виде команды `/orch` в комментарии не действуют: {why}; что было выполнено раньше, остаётся в "
        "силе",
        "comment anew what is still to be done",
        "напишите заново то, что ещё нужно сделать",
    ),
    "no_more_answers": Said(
        "this is the last answer: comments on this work item were answered {answers} times",
        "это последний ответ: на комментарии к этому рабочему элементу отвечено {answers} раз",
        "look at the comment that shows how the task stands; commands and approvals go on to count",
        "смотрите комментарий о состоянии задачи; команды и одобрения по-прежнему действуют",
    ),
    "answers_spent": Said(
        "comments are not answered any more: there were {answers} answers",
        "на комментарии больше нет ответов: их было {answers}",
        "commands and approvals go on to count",
        "команды и одобрения по-прежнему действуют",
    ),
    "budget_set": Said(
        "from the next run on, one run may cost {usd} USD, and what the task may cost is counted anew",
        "со следующего запуска один запуск может стоить {usd} USD, а расходы задачи считаются заново",
    ),
    "paths_allowed": Said(
        "the protected paths of `{head:.10}` are allowed, and of no other commit",
        "защищённые пути разрешены для `{head:.10}` и ни для какого другого коммита",
    ),
    "head_unseen": Said(
        "which commit `{given}` is cannot be seen at present, so nothing is allowed",
        "сейчас не видно, какой это коммит — `{given}`, поэтому ничего не разрешено",
        "comment `/orch allow-paths` with all the digits of the commit's name, or once more later",
        "напишите `/orch allow-paths` с полным именем коммита или ещё раз позже",
    ),
    "not_the_head": Said(
        "`{given}` is not the newest commit, which is `{head:.10}`",
        "`{given}` — не последний коммит, последний — `{head:.10}`",
        "look at the newest commit, then comment `/orch allow-paths {head}`",
        "посмотрите последний коммит и напишите `/orch allow-paths {head}`",
    ),
}
_OUTSIDE = {
    "plane_unreachable": Said(
        "Plane cannot be reached: {detail}",
        "Plane недоступен: {detail}",
        "see that it is up; it is tried again",
        "проверьте, работает ли он; попытка повторится",
    ),
    "plane_busy": Said(
        "Plane asks for patience: {detail}",
        "Plane просит подождать: {detail}",
        "nothing; it is tried again",
        "ничего; попытка повторится",
    ),
    "plane_refused": Said(
        "Plane refuses us: {detail}",
        "Plane нам отказывает: {detail}",
        "check `ORCH_PLANE_API_TOKEN` and its user's membership",
        "проверьте `ORCH_PLANE_API_TOKEN` и участие его пользователя в проекте",
    ),
    "gitea_unreachable": Said(
        "Gitea cannot be reached: {detail}",
        "Gitea недоступна: {detail}",
        "see that it is up; it is tried again",
        "проверьте, работает ли она; попытка повторится",
    ),
    "gitea_busy": Said(
        "Gitea asks for patience: {detail}",
        "Gitea просит подождать: {detail}",
        "nothing; it is tried again",
        "ничего; попытка повторится",
    ),
    "plane_odd_answer": Said(
        "Plane's answer is not its own: {detail}",
        "Ответ не от самого Plane: {detail}",
        "nothing while it restarts; else check `ORCH_PLANE_API_URL` and the proxy in front",
        "ничего, пока он перезапускается; иначе проверьте `ORCH_PLANE_API_URL` и прокси перед ним",
    ),
    "plane_not_found": Said(
        "Plane has no such address: {detail}",
        "В Plane нет такого адреса: {detail}",
        "check `ORCH_PLANE_API_URL` and `ORCH_PLANE_WORKSPACE_SLUG`, and that Plane is 1.1 or later",
        "проверьте `ORCH_PLANE_API_URL` и `ORCH_PLANE_WORKSPACE_SLUG` и что Plane не старше 1.1",
    ),
    "gitea_odd_answer": Said(
        "Gitea's answer is not its own: {detail}",
        "Ответ не от самой Gitea: {detail}",
        "nothing while it restarts; else check `ORCH_GITEA_URL` and the proxy in front",
        "ничего, пока она перезапускается; иначе проверьте `ORCH_GITEA_URL` и прокси перед ней",
    ),
    "gitea_refused": Said(
        "Gitea refuses us: {detail}",
        "Gitea нам отказывает: {detail}",
        "check `ORCH_GITEA_TOKEN`, its scopes and its user's rights",
        "проверьте `ORCH_GITEA_TOKEN`, его области и права его пользователя",
    ),
    "gitea_not_found": Said(
        "Gitea shows no such repository or branch: {detail}",
        "Gitea не показывает такого репозитория или ветки: {detail}",
        "check `repository` and `base_branch` in `orchestrator.yaml`, and that our user is a collaborator",
        "проверьте `repository` и `base_branch` в `orchestrator.yaml` и что наш пользователь — соавтор",
    ),
    "gitea_moved": Said(
        "Gitea sends us elsewhere: {detail}",
        "Gitea отсылает нас в другое место: {detail}",
        "put the repository's new name into `orchestrator.yaml`, or correct `ORCH_GITEA_URL`; restart",
        "впишите новое имя репозитория в `orchestrator.yaml` или исправьте `ORCH_GITEA_URL`; перезапустите",
    ),
    "key_taken": Said(
        "the key `{key}` belongs to another task already: “{other}”",
        "ключ `{key}` уже у другой задачи: «{other}»",
        "give the project another identifier in Plane: branches and documents are named by it",
        "дайте проекту в Plane другой идентификатор: по нему называются ветки и документы",
    ),
    "gitea_archived": Said(
        "the repository is archived: {detail}",
        "репозиторий в архиве: {detail}",
        "unarchive it, or remove its project from `orchestrator.yaml`",
        "верните его из архива или уберите его проект из `orchestrator.yaml`",
    ),
    "plane_moved": Said(
        "Plane sends us elsewhere: {detail}",
        "Plane отсылает нас в другое место: {detail}",
        "correct `ORCH_PLANE_API_URL`, restart",
        "исправьте `ORCH_PLANE_API_URL`, перезапустите",
    ),
}

ITEMS: dict[str, Said] = {
    **_INTAKE,
    **_DOCUMENTS,
    **_PULL,
    **_CHECKS,
    **_REVIEW,
    **_TESTING,
    **_WORK,
    **_ADMISSION,
    **_ANSWERS,
    **_OUTSIDE,
}
