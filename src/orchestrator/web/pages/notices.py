"""What every page says above its content: what keeps all agents from starting, and what is to be mended."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from orchestrator.domain.finding import Level
from orchestrator.store import dispatch
from orchestrator.store.dispatch import PauseKind
from orchestrator.web import formats
from orchestrator.web.catalogue import Words
from orchestrator.web.services import Services
from orchestrator.workflow.account import AccountPause


@dataclass(frozen=True, slots=True)
class Notice:
    """`address` is where more is said, as `url` takes it; tone as in the style sheet."""

    code: str
    tone: str
    text: str
    address: str = ""


async def notices(services: Services, t: Words) -> list[Notice]:
    """For `rendering.page(…, notices=…)`; the most urgent first."""
    now = services.clock.now()
    found = [*_broken(services, t), *await services.database.read(lambda c: _paused(c, now, t))]
    return [*found, *_missing(services, t)]


def _paused(connection: Connection, now: datetime, t: Words) -> list[Notice]:
    rows = dispatch.pause_rows(connection)
    found = []
    if operator := rows.get(PauseKind.OPERATOR):
        found.append(Notice("paused_all", "wait", t("layout.paused_all", since=formats.utc(operator.since))))
    account = rows.get(PauseKind.ACCOUNT)
    if account and not (now >= account.until and dispatch.has_answered(connection, account)):
        found.append(Notice("account", "wait", _of_account(account, now, t)))
    return found


def _of_account(pause: AccountPause, now: datetime, t: Words) -> str:
    if now >= pause.until:
        return t("layout.account_tries")
    key = "layout.account_guess" if pause.guesses else "layout.account_until"
    return t(key, until=formats.utc(pause.until))


def _broken(services: Services, t: Words) -> list[Notice]:
    broken = [one.code for one in services.known() if one.level is Level.BROKEN]
    return [Notice("broken", "bad", t("layout.broken", code=", ".join(broken)), "/system")] if broken else []


def _missing(services: Services, t: Words) -> list[Notice]:
    count = sum(one.level is Level.MISSING for one in services.known())
    return [Notice("missing", "plain", t("layout.missing", count=count), "/system")] if count else []
