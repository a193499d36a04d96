"""Words of our own around what the core says. Pure data; braces and backquotes as in `items`."""

from orchestrator.words.names import Pair

PHRASES: dict[str, Pair] = {
    "at_stage": (" · stage: {stage}", " · этап: {stage}"),
    "closest": ("Closest unmet requirement: ", "Ближайшее невыполненное условие: "),
    "under_way": ("Nothing is missing; the next step is under way.", "Всё есть; следующий шаг уже идёт."),
    "is_ready": ("Ready to merge: all gates are open.", "Готово к слиянию: все шлюзы открыты."),
    "is_done": ("Done: a person merged the pull request.", "Завершено: человек слил пул-реквест."),
    "gates": ("Gates", "Шлюзы"),
    "gate": ("{gate} {name}: ", "{gate} {name}: "),
    "open": ("open", "открыт"),
    "open_before": ("open, passed earlier", "открыт, пройден раньше"),
    "waiting": ("closed, waiting", "закрыт, ждёт"),
    "failed": ("closed, failed", "закрыт, отказ"),
    "unknown": ("closed, could not look", "закрыт, не удалось посмотреть"),
    "holds": ("; holds: ", "; уже есть: "),
    "not_reached": ("not asked yet", "ещё не спрошен"),
    "more": (" and {count} more", " и ещё {count}"),
    "next": ("What to do next", "Что делать дальше"),
    "nobody": (
        "Nothing is asked of people now.",
        "От людей сейчас ничего не нужно.",
    ),
    "runs": ("Runs", "Запуски"),
    "run": ("{role}, attempt {attempt}: {outcome}", "{role}, попытка {attempt}: {outcome}"),
    "intended": ("about to start", "сейчас начнёт"),
    "running": ("at work", "работает"),
    "published": (", published `{head:.10}`", ", опубликован `{head:.10}`"),
    "earlier_runs": ("earlier runs: {count}", "более ранних запусков: {count}"),
    "returns": ("Sent back {used} of at most {allowed} times.", "Возвратов: {used}, самое большее {allowed}."),
    "branch": ("Branch `{branch}`", "Ветка `{branch}`"),
    "pull": ("pull request", "пул-реквест"),
    "item": ("work item", "рабочий элемент"),
    "task": ("why it stands where it stands", "почему задача стоит там, где стоит"),
    "link": ("details", "подробности"),
    "body": (
        "The work of the orchestrator's agents on work item {key}: ",
        "Работа агентов оркестратора над рабочим элементом {key}: ",
    ),
    "documents": ("Documents", "Документы"),
    "never_merges": (
        "The orchestrator never merges. When all gates are open, a person does.",
        "Оркестратор никогда не сливает. Когда все шлюзы открыты, это делает человек.",
    ),
    "made_by": (
        "Opened by the orchestrator, a program. How it stands is in its comment below.",
        "Открыто оркестратором, это программа. Как идут дела, видно в его комментарии ниже.",
    ),
    "is_commented": (
        "The reviewer has no Gitea user of its own here: this comment opens no gate, a person has to approve.",
        "У ревьюера здесь нет своего пользователя Gitea: комментарий шлюза не откроет, одобрить должен человек.",
    ),
    "report": (
        "The {role} on `{head:.10}`, attempt {attempt}: {word}",
        "Пишет {role}, коммит `{head:.10}`, попытка {attempt}: {word}",
    ),
    "no_report": ("It wrote no report.", "Отчёта нет."),
    "cut": ("The report is longer; it is cut here.", "Отчёт длиннее; здесь он обрезан."),
}
