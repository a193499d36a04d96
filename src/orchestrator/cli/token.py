"""`orch token`: works on the database, beside a running server or without one."""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from orchestrator.cli.setup import NOT_FOUND, read, say
from orchestrator.clock import SystemClock
from orchestrator.db import Database
from orchestrator.domain.errors import OrchestratorError
from orchestrator.store import tokens as rows
from orchestrator.store.tokens import Token
from orchestrator.web.signin import tokens
from orchestrator.web.signin.people import People

USAGE = 2
WAIT_S = 10.0
"""For a server that is writing."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


def create(name: str, scope: str, login: str, *, as_json: bool) -> int:
    """The token alone on standard output, so that it can be piped to where it belongs. Without a scope it may what
    the person with the login may, or with none read.
    """
    if not NAME.fullmatch(name):
        say("A token's name has up to 60 letters, digits, dots, dashes and underscores, like ci or alice-laptop.")
        return USAGE
    may = _may(login)
    if may is None:
        return 1
    scope, token, now = scope or may, tokens.new(), SystemClock().now()
    made = partial(rows.create, name=name, scope=scope, sha256=tokens.digest(token), now=now, login=login)
    is_made = _written(made)
    if not is_made:
        if is_made is False:
            say(f"There is a token {name} already: `orch token revoke {name}` ends it, or take another name.")
        return 1
    made_so = {"name": name, "scope": scope, "login": login, "token": token}
    print(json.dumps(made_so) if as_json else token)
    whose = f" It speaks for {login}: who has it can approve as {login} may." if login else ""
    say(f"This is {name}, with the scope {scope}.{whose} It is shown this once: put it where it is needed now.")
    return 0


def _may(login: str) -> str | None:
    """A scope. None for a login that is nobody's; then that was said."""
    if not login:
        return "read"
    _, directory = read()
    found = People(directory.people).scope(login)
    if not found:
        say(
            f"Nobody in orchestrator.yaml has the login {login[:60]} in Gitea: a token for them would do nothing.",
            "Add them to `people` with `gitea_login`, and restart the server.",
        )
    return found.name.lower() if found else None


def show(*, as_json: bool) -> int:
    try:
        with _database() as database:
            found = database.read_now(rows.listed) if database.path.exists() else []
    except OrchestratorError as error:
        say(error.message, error.hint)
        return 1
    if as_json or not sys.stdout.isatty():
        print(json.dumps([_shown(one) for one in found], indent=2))
        return 0
    if not found:
        say("There is no token. `orch token create NAME --scope read` makes one.")
        return 0
    table = Table("name", "scope", "speaks for", "made", "last used", "revoked", box=None, header_style="dim")
    for one in found:
        table.add_row(*(str(value or "") for value in _shown(one).values()))
    Console(highlight=False).print(table)
    return 0


def revoke(name: str) -> int:
    is_revoked = _written(partial(rows.revoke, name=name, now=SystemClock().now()))
    if is_revoked:
        print(f"{name} is revoked: nothing is answered to it any more, nor to sessions by it.")
        return 0
    if is_revoked is False:
        say(f"There is no token {name[:60]} in force; `orch token list` shows those that are.")
        return NOT_FOUND
    return 1


def _written(work: Callable[[Connection], bool]) -> bool | None:
    """None when the database could not be written; then that was said."""
    try:
        with _database() as database:
            database.open()
            return asyncio.run(database.write(work))
    except OrchestratorError as error:
        say(error.message, error.hint)
        return None


@contextmanager
def _database() -> Iterator[Database]:
    settings, _ = read()
    database = Database(settings.database, wait_s=WAIT_S)
    try:
        yield database
    finally:
        database.close()


def _shown(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "scope": token.scope,
        "login": token.login,
        "created_at": token.created_at.isoformat(timespec="seconds"),
        "last_used_on": token.last_used_on.isoformat() if token.last_used_on else None,
        "revoked_at": token.revoked_at.isoformat(timespec="seconds") if token.revoked_at else None,
    }
