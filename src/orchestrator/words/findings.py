"""What an installation lacks, in English and Russian: how it is, and how to mend it.

`{name}` is a parameter of the finding. The English is what programs and the command line get, too.
"""

from dataclasses import dataclass

from orchestrator.domain.finding import Finding, Level, Params
from orchestrator.domain.roles import Language
from orchestrator.words.names import Pair, in_language


@dataclass(frozen=True, slots=True)
class Told:
    """A finding as it is read; `/ready`, `/status` and `orch doctor --json` have these four fields."""

    code: str
    level: Level
    message: str
    mend: str


_ASKED: Pair = (
    "QG-5 asks a person to approve each pull request.",
    "QG-5 просит человека одобрить каждый пул-реквест.",
)
_NOBODY: Pair = (
    f"and nobody approves their own work: {_ASKED[0]}",
    f"а свою работу одобрять нельзя: {_ASKED[1]}",
)
_OF_SETTINGS: dict[str, Pair] = {
    "no_plane_token": (
        "No Plane token: deliveries are journaled, their tasks wait.",
        "Нет токена Plane: доставки записываются в журнал, их задачи ждут.",
    ),
    "no_gitea_token": (
        "No Gitea token: no branch can be made, so tasks wait.",
        "Нет токена Gitea: ветку создать нельзя, поэтому задачи ждут.",
    ),
    "no_model_credential": (
        "No credential for the model: agents end with 'Not logged in'.",
        "Нет учётных данных для модели: агенты заканчивают с сообщением «Not logged in».",
    ),
    "no_api_token": (
        "No API token: /status and the API answer only unforwarded requests from this machine.",
        "Нет токена API: /status и API отвечают только на прямые запросы с этой машины.",
    ),
    "no_webhook_secret": (
        "{setting} is not set: deliveries of {system} could not be verified.",
        "Не задан {setting}: доставки от {system} было бы нельзя проверить.",
    ),
    "no_projects": (
        "No project is mapped ({config} is absent or has none): every task waits.",
        "Ни один проект не сопоставлен (файла {config} нет, или он пуст): ждут все задачи.",
    ),
    "no_approvers": (
        "Nobody may approve documents: QG-1 and QG-2 stay closed.",
        "Одобрять документы некому: QG-1 и QG-2 остаются закрытыми.",
    ),
    "too_few_approvers": (
        "{repo} asks for {needed} approvals and has {there} approvers: no document passes.",
        "Для {repo} нужно одобрений: {needed}, а согласующих: {there}; ни один документ не пройдёт.",
    ),
    "no_reviewer_user": (
        f"The reviewer has no Gitea user of its own: its verdict is only a comment, and {_ASKED[0]}",
        f"У ревьюера нет своего пользователя Gitea: его вердикт — лишь комментарий, и {_ASKED[1]}",
    ),
    "one_token": (
        f"Developer and reviewer share one Gitea token, {_NOBODY[0]}",
        f"У разработчика и ревьюера один токен Gitea, {_NOBODY[1]}",
    ),
    "orchestrators_token": (
        f"The reviewer has the orchestrator's Gitea token, {_NOBODY[0]}",
        f"У ревьюера токен Gitea самого оркестратора, {_NOBODY[1]}",
    ),
    "one_user": (
        f"Developer and reviewer are one Gitea user, {{login}}, {_NOBODY[0]}",
        f"Разработчик и ревьюер — один пользователь Gitea, {{login}}, {_NOBODY[1]}",
    ),
    "orchestrators_user": (
        f"The reviewer and the orchestrator are one Gitea user, {{login}}, {_NOBODY[0]}",
        f"Ревьюер и оркестратор — один пользователь Gitea, {{login}}, {_NOBODY[1]}",
    ),
}
_OF_MACHINE: dict[str, Pair] = {
    "no_cli": (
        "No Claude Code CLI: {cli!r} does not run.",
        "Нет Claude Code CLI: программа «{cli}» не запускается.",
    ),
    "other_cli": ("The CLI is {version}, tested is {tested}.", "Версия CLI — {version}, а проверена {tested}."),
    "cli": ("The CLI runs: {version}.", "CLI работает: {version}."),
    "no_sandbox": (
        "Agents run without a sandbox, as you asked.",
        "Агенты работают без песочницы, как вы и задали.",
    ),
    "sandbox_too_weak": (
        "No agent is started: {message}",
        "Агенты не запускаются: на этой машине нет достаточно надёжной песочницы (есть {sandbox}).{without}",
    ),
    "sandbox": (
        "Agents are sandboxed: {sandbox} (Landlock ABI {abi}).{without}",
        "Агенты работают в песочнице: {sandbox} (Landlock ABI {abi}).{without}",
    ),
    "no_landlock": (
        (
            "Agents are sandboxed as {sandbox} only. Without Landlock the whole network and rare calls of the "
            "kernel are open: an agent reaches every address that this machine reaches, can send away what it "
            "reads, and can listen.{without}"
        ),
        (
            "Песочница агентов — только {sandbox}. Без Landlock открыты вся сеть и редкие вызовы ядра: агент "
            "может обратиться к любому адресу, доступному этой машине, отправить наружу то, что прочёл, и "
            "принимать соединения.{without}"
        ),
    ),
    "landlock_without_tcp": (
        (
            "Agents are sandboxed as {sandbox} only. Without Landlock TCP is open to agents: an agent reaches "
            "every address that this machine reaches, can send away what it reads, and can listen.{without}"
        ),
        (
            "Песочница агентов — только {sandbox}. Без Landlock агентам открыт TCP: агент может обратиться к "
            "любому адресу, доступному этой машине, отправить наружу то, что прочёл, и принимать "
            "соединения.{without}"
        ),
    ),
    "old_landlock": (
        "Landlock ABI {abi} lets agents signal processes of their own user.",
        "При Landlock ABI {abi} агенты могут посылать сигналы процессам своего пользователя.",
    ),
    "no_writes": ("Nothing can be stored: {message}", "Ничего нельзя сохранить: {message}"),
    "no_database": ("{message}", "База данных не открывается: {message}"),
    "database": ("The database can be written ({path}).", "В базу данных можно писать ({path})."),
    "disk_low": ("Only {mib} MiB are free at {folder}.", "Свободно только {mib} МиБ, папка {folder}."),
    "disk": ("{gib} GiB are free at {folder}.", "Свободно {gib} ГиБ, папка {folder}."),
    "runs_disk_full": (
        "The runs' folders hold {used} MiB, above {most}: no run begins.",
        "Папки запусков занимают {used} МиБ, больше разрешённых {most}: запуски не начинаются.",
    ),
}
_OF_DISPATCH: dict[str, Pair] = {
    "dispatch_paused": (
        "Everything is paused by an operator since {since}: no agent starts.",
        "Всё приостановлено оператором, начиная с {since}: агенты не запускаются.",
    ),
    "account_paused": (
        "The account's usage limit is reached: no agent starts until {until}.",
        "Лимит учётной записи исчерпан: агенты не запускаются до {until}.",
    ),
    "account_guess": (
        (
            "The account's usage limit is reached: no agent starts until {until} (nobody told when it ends, so "
            "that is a guess)."
        ),
        (
            "Лимит учётной записи исчерпан: агенты не запускаются до {until} (когда он кончится, не сообщили, так "
            "что это предположение)."
        ),
    ),
    "account_tries": (
        "The account's usage limit was reached and its reset has come; the next run tries whether it holds.",
        "Лимит учётной записи был исчерпан, время сброса пришло; следующий запуск проверит, действует ли он ещё.",
    ),
}
_OF_NEIGHBOURS: dict[str, Pair] = {
    "plane": ("Plane answers; we are user {who} there.", "Plane отвечает; мы там — пользователь {who}."),
    "gitea": ("Gitea answers; we are {who} there.", "Gitea отвечает; мы там — {who}."),
    "roles": (
        "Pull requests are opened by {writes} and reviewed by {reviews}.",
        "Пул-реквесты открывает {writes}, ревью делает {reviews}.",
    ),
    "no_such_state": (
        "{repo}: Plane has no state {name!r}.",
        "В Plane нет состояния «{name}», названного для {repo}.",
    ),
    "no_such_label": ("{repo}: Plane has no label {name!r}.", "В Plane нет метки «{name}», названной для {repo}."),
    "model": ("The model answers: {model}, for {usd} USD.", "Модель отвечает: {model}, за {usd} USD."),
    "no_model": (
        "The model does not answer ({reason}): {detail}",
        "Модель не отвечает ({reason}): {detail}",
    ),
    "model_silent": (
        "The model does not answer ({reason}): the CLI said nothing",
        "Модель не отвечает ({reason}): CLI ничего не сообщил",
    ),
    "model_not_asked": ("The model was not asked: {message}", "Модель не спросили: {message}"),
    "role_fault": ("A role's token: {message}", "Токен роли: {message}"),
}
_FAULTS: dict[str, Pair] = {
    "fault_plane_refused": ("{message}", "Plane нам отказывает: {message}"),
    "fault_gitea_refused": ("{message}", "Gitea нам отказывает: {message}"),
}
"""What stops all calls to a neighbour. What it answered stays as it is, as the fault of any adapter does."""
_OTHER_FAULT: Pair = ("{message}", "Вот что случилось: {message}")

MESSAGES: dict[str, Pair] = _OF_SETTINGS | _OF_MACHINE | _OF_DISPATCH | _OF_NEIGHBOURS | _FAULTS

MENDS: dict[str, Pair] = {
    "no_plane_token": (
        "Set ORCH_PLANE_API_TOKEN and ORCH_PLANE_WORKSPACE_SLUG.",
        "Задайте ORCH_PLANE_API_TOKEN и ORCH_PLANE_WORKSPACE_SLUG.",
    ),
    "no_gitea_token": (
        "Set ORCH_GITEA_TOKEN to the token of the orchestrator's own user.",
        "Задайте в ORCH_GITEA_TOKEN токен собственного пользователя оркестратора.",
    ),
    "no_model_credential": (
        "Set ORCH_CLAUDE_OAUTH_TOKEN (from `claude setup-token`) or ORCH_ANTHROPIC_API_KEY.",
        "Задайте ORCH_CLAUDE_OAUTH_TOKEN (его выдаёт `claude setup-token`) или ORCH_ANTHROPIC_API_KEY.",
    ),
    "no_api_token": (
        "Set ORCH_API_TOKEN to reach them from elsewhere.",
        "Чтобы обращаться к ним с других машин, задайте ORCH_API_TOKEN.",
    ),
    "no_webhook_secret": (
        "Set it, or try things out on this machine alone with --allow-unsigned-loopback.",
        "Задайте его или попробуйте всё на одной этой машине с --allow-unsigned-loopback.",
    ),
    "no_projects": (
        "Copy orchestrator.yaml.example and map a Plane project to a repository.",
        "Скопируйте orchestrator.yaml.example и сопоставьте проект Plane с репозиторием.",
    ),
    "no_approvers": (
        "Give at least one person 'approver: true' in {config}.",
        "Поставьте хотя бы одному человеку «approver: true» в {config}.",
    ),
    "too_few_approvers": (
        "Lower 'approvals' or give more people 'approver: true' in orchestrator.yaml.",
        "Уменьшите «approvals» или поставьте «approver: true» ещё кому-нибудь в orchestrator.yaml.",
    ),
    "no_reviewer_user": (
        "Make a Gitea user for it and set ORCH_GITEA_TOKEN_REVIEWER; or set 'review: human'.",
        "Заведите для него пользователя Gitea и задайте ORCH_GITEA_TOKEN_REVIEWER или поставьте «review: human».",
    ),
    "one_gitea_user": (
        "Make two Gitea users and give ORCH_GITEA_TOKEN_DEVELOPER and …_REVIEWER a token of each.",
        "Заведите двух пользователей Gitea и дайте ORCH_GITEA_TOKEN_DEVELOPER и …_REVIEWER по токену каждого.",
    ),
    "no_cli": (
        "Set ORCH_CLAUDE_BIN to it; `make setup` installs it to .tools/claude.",
        "Укажите его в ORCH_CLAUDE_BIN; `make setup` устанавливает его в .tools/claude.",
    ),
    "cli_elsewhere": (
        "Set ORCH_CLAUDE_BIN to it; `make setup` installs it to .tools/claude. There is one at {tools}.",
        "Укажите его в ORCH_CLAUDE_BIN; `make setup` устанавливает его в .tools/claude. Один уже есть: {tools}.",
    ),
    "other_cli": (
        "Install {tested}; others parse prompts and settings differently.",
        "Установите {tested}: другие версии иначе разбирают промпты и настройки.",
    ),
    "no_sandbox": (
        "Only for people you trust, on a machine of its own. ORCH_SANDBOX=auto takes all that works.",
        "Только для людей, которым вы доверяете, на отдельной машине. ORCH_SANDBOX=auto берёт всё, что работает.",
    ),
    "sandbox_too_weak": (
        "{hint}",
        (
            "Устраните это или согласитесь на меньшее: ORCH_MIN_SANDBOX=none (и ORCH_SANDBOX=auto). Что агент "
            "сможет тогда, сказано в docs/explanation/sandbox.md."
        ),
    ),
    "no_landlock": (
        (
            "Linux 6.7 or newer with Landlock on (boot parameter lsm=) and ORCH_SANDBOX=auto close that; "
            "ORCH_MIN_SANDBOX=landlock starts no agent without it. Else forbid the network around this service."
        ),
        (
            "Это закроет Linux 6.7 или новее с включённым Landlock (параметр загрузки lsm=) и ORCH_SANDBOX=auto; "
            "с ORCH_MIN_SANDBOX=landlock агенты без него не запускаются. Иначе закройте сеть вокруг этого "
            "сервиса."
        ),
    ),
    "old_landlock": (
        "Linux 6.12 closes that (ABI 6); so does bubblewrap.",
        "Это закрывает Linux 6.12 (ABI 6), и bubblewrap тоже.",
    ),
    "no_writes": (
        "Check that {folder} is writable for uid {uid} and that its disk is not full.",
        "Проверьте, что в {folder} может писать uid {uid} и что диск не заполнен.",
    ),
    "no_database": ("Check {path}.", "Проверьте {path}."),
    "disk_low": ("Free some space, or move ORCH_DATA_DIR.", "Освободите место или перенесите ORCH_DATA_DIR."),
    "runs_disk_full": (
        "Close tasks that are not wanted, raise ORCH_RUNS_MAX_DISK_BYTES or free the disk.",
        "Закройте ненужные задачи, увеличьте ORCH_RUNS_MAX_DISK_BYTES или освободите диск.",
    ),
    "dispatch_paused": ("`orch resume --all` ends it.", "Паузу снимает `orch resume --all`."),
    "account_paused": (
        "Nothing has to be done: then one run tries it, and after it all go on. No attempt is lost.",
        "Делать ничего не нужно: тогда один запуск проверит, и за ним продолжат все. Попытки не теряются.",
    ),
    "no_such_state": (
        "Plane has {there}: name one of them in orchestrator.yaml, or add it in Plane.",
        "В Plane есть состояния: {there}. Назовите одно из них в orchestrator.yaml или добавьте это в Plane.",
    ),
    "no_such_label": (
        "Add it in Plane, or name another one in orchestrator.yaml: until then no task starts.",
        "Добавьте её в Plane или назовите другую в orchestrator.yaml: до тех пор задачи не начинаются.",
    ),
    "sign_in_again": (
        "Renew ORCH_CLAUDE_OAUTH_TOKEN (from `claude setup-token`) or ORCH_ANTHROPIC_API_KEY.",
        "Обновите ORCH_CLAUDE_OAUTH_TOKEN (его выдаёт `claude setup-token`) или ORCH_ANTHROPIC_API_KEY.",
    ),
    "other_model": (
        "Set ORCH_CLAUDE_MODEL to a model that your account may use, or leave it out.",
        "Задайте в ORCH_CLAUDE_MODEL модель, доступную вашей учётной записи, или не задавайте никакой.",
    ),
    "usage_limit": (
        "Wait for the account's reset: no agent starts before, and all go on by themselves then.",
        "Дождитесь сброса лимита: до него агенты не запускаются, а потом все продолжат сами.",
    ),
    "come_again": (
        "See ORCH_CLAUDE_BASE_URL, ORCH_CLAUDE_PROXY, ORCH_CLAUDE_CA_CERTS and the network; agents go on then.",
        "Проверьте ORCH_CLAUDE_BASE_URL, ORCH_CLAUDE_PROXY, ORCH_CLAUDE_CA_CERTS и сеть; агенты тогда продолжат.",
    ),
    "fault_plane_refused": (
        "{hint}",
        "Проверьте ORCH_PLANE_API_TOKEN и участие его пользователя в проекте.",
    ),
    "fault_gitea_refused": (
        "{hint}",
        (
            "Проверьте ORCH_GITEA_TOKEN: нужны read:repository, write:repository, write:issue и read:user, а его "
            "пользователь должен быть соавтором с правом записи."
        ),
    ),
}
"""By code, or by what the finding says of its mending; what needs none has none here."""
_HINT: Pair = ("{hint}", "{hint}")
_WITHOUT: Pair = (" Without {name}: {why}.", " Не включена защита {name}: {why}.")
_WHYS: dict[str, str] = {
    "bubblewrap is not installed (package bubblewrap)": "bubblewrap не установлен (пакет bubblewrap)",
    "it needs root (or a container that starts as root)": (
        "нужен root (или контейнер, который запускается от root)"
    ),
    "not asked for": "не запрошено",
    "this kernel has no Landlock, or it is switched off (boot parameter lsm=)": (
        "в этом ядре нет Landlock, или он выключен (параметр загрузки lsm=)"
    ),
}
"""In Russian, why a machine has no better sandbox, where it is one of the common reasons."""


def in_words(finding: Finding, language: Language) -> Told:
    """Both sentences in the reader's language. The mend is empty where nothing is to be done."""
    known = _Known(dict(finding.params), without=_without(finding.without, language))
    message = MESSAGES.get(finding.said or finding.code, _OTHER_FAULT)
    mend = MENDS.get(finding.mending or finding.code, _HINT)
    return Told(
        finding.code,
        finding.level,
        in_language(message, language).format_map(known),
        in_language(mend, language).format_map(known),
    )


def _without(lacking: Params, language: Language) -> str:
    whys = _WHYS if language is Language.RU else {}
    said = in_language(_WITHOUT, language)
    return "".join(said.format(name=name, why=whys.get(why, why)) for name, why in lacking)


class _Known(dict[str, str]):
    """Parameters; one that a finding does not have is nothing, as the hint of a fault that has none."""

    def __missing__(self, name: str) -> str:
        return ""
