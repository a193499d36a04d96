"""Why a run ended as it did, in a sentence. Pure data; a code without one stands for itself."""

from orchestrator.domain.roles import Language
from orchestrator.words.names import Pair, in_language

REASONS: dict[str, Pair] = {
    "timed_out": (
        "It worked longer than a run may (ORCH_RUN_TIMEOUT_S).",
        "Работал дольше, чем разрешено (ORCH_RUN_TIMEOUT_S).",
    ),
    "stalled": (
        "It printed nothing for too long (ORCH_RUN_SILENCE_S).",
        "Слишком долго ничего не выводил (ORCH_RUN_SILENCE_S).",
    ),
    "cancelled": ("Somebody stopped it.", "Его остановили."),
    "not_wanted": (
        "What it was decided on had changed before it began; it counts for nothing.",
        "То, на чём основывалось решение, изменилось до начала; запуск не считается.",
    ),
    "log_full": (
        "Its log grew longer than a run's may be (ORCH_RUN_MAX_LOG_BYTES).",
        "Журнал стал длиннее разрешённого (ORCH_RUN_MAX_LOG_BYTES).",
    ),
    "disk_full": (
        "It wrote more than a run may (ORCH_RUN_MAX_DISK_BYTES).",
        "Записал на диск больше, чем разрешено (ORCH_RUN_MAX_DISK_BYTES).",
    ),
    "memory_full": (
        "It used more memory than a run may (ORCH_RUN_MAX_MEMORY_BYTES).",
        "Занял больше памяти, чем разрешено (ORCH_RUN_MAX_MEMORY_BYTES).",
    ),
    "max_turns": (
        "It used up its turns (ORCH_RUN_MAX_TURNS).",
        "Израсходовал все ходы (ORCH_RUN_MAX_TURNS).",
    ),
    "budget_exhausted": (
        "It used up its money (ORCH_RUN_MAX_BUDGET_USD).",
        "Израсходовал бюджет (ORCH_RUN_MAX_BUDGET_USD).",
    ),
    "usage_limit_reached": (
        "The account's usage limit was reached. It is tried again when the limit is over.",
        "Исчерпан лимит учётной записи. Когда он обновится, будет новая попытка.",
    ),
    "authentication_failed": (
        "The model's API refuses our credential.",
        "API модели не принимает наши учётные данные.",
    ),
    "connection_failed": ("The model's API could not be reached.", "Не удалось соединиться с API модели."),
    "overloaded_error": ("The model's API was overloaded.", "API модели был перегружен."),
    "rate_limit_error": (
        "The model's API asked to come back later.",
        "API модели попросил повторить запрос позже.",
    ),
    "invalid_request_error": ("The model's API refused the request.", "API модели отклонил запрос."),
    "not_found_error": (
        "The model's API does not know what was asked for; mostly the model's name.",
        "API модели не знает того, что запросили; чаще всего дело в имени модели.",
    ),
    "api_error": ("The model's API answered with an error.", "API модели ответил ошибкой."),
    "not_begun": (
        "The CLI ended before its first turn: the session to go on from was not there.",
        "CLI закончил работу до первого хода: не нашлось сеанса, который надо было продолжить.",
    ),
    "no_turns": (
        "The CLI ended without a single turn of the model.",
        "CLI закончил работу, а модель не сделала ни одного хода.",
    ),
    "no_result": ("The CLI ended without saying how.", "CLI закончил работу и не сообщил итог."),
    "no_verdict": (
        "The agent gave no verdict in the form that counts.",
        "Агент не дал вердикта в той форме, которая засчитывается.",
    ),
    "no_commit": (
        "The agent said that it succeeded, but it committed nothing.",
        "Агент сообщил об успехе, но ничего не закоммитил.",
    ),
    "tools_denied": (
        "The agent was denied tools, and committed nothing.",
        "Агенту отказали в инструментах, и он ничего не закоммитил.",
    ),
    "vanished": (
        "Its process died without a word; what was left was ended.",
        "Процесс исчез без следа; остатки завершены.",
    ),
    "aborted_tools": ("It was stopped while a tool worked.", "Остановлен во время работы инструмента."),
    "aborted_streaming": ("It was stopped while the model answered.", "Остановлен, пока отвечала модель."),
    "sandbox_too_weak": (
        "This machine offers no sandbox that is strong enough, so no agent is started.",
        "На этой машине нет достаточно надёжной песочницы, поэтому агент не запускается.",
    ),
}
_BY_SIGNAL: Pair = ("It was ended by signal {number}.", "Завершён сигналом {number}.")
_SIGNAL = "signal_"


def reason(code: str, language: Language) -> str:
    """Empty for a code that has no sentence."""
    if code in REASONS:
        return in_language(REASONS[code], language)
    number = code.removeprefix(_SIGNAL)
    return in_language(_BY_SIGNAL, language).format(number=number) if number.isdecimal() and number != code else ""
