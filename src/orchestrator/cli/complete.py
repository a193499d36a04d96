"""Keys of tasks for whoever presses Tab: of the server, or of the database. Never a word, never a fault."""

from urllib.parse import urlencode

MOST = 50
WAIT_S = 1.0


def keys(incomplete: str) -> list[str]:
    """Those that begin so, the newest first."""
    try:
        return _keys(incomplete)
    except Exception:  # noqa: BLE001 - outermost: a shell shows nothing rather than a traceback
        return []


def _keys(incomplete: str) -> list[str]:
    from orchestrator.cli.answers import of_settings  # noqa: PLC0415 - only when somebody presses Tab
    from orchestrator.cli.server import Gone  # noqa: PLC0415
    from orchestrator.config import load  # noqa: PLC0415

    settings = load()
    server = of_settings(settings)
    server.timeout_s = WAIT_S
    try:
        answer = server.ask("GET", f"/api/v1/tasks?{urlencode({'limit': MOST, 'text': incomplete})}")
    except Gone:
        return [] if settings.server else _stored(settings.database, incomplete)
    found = [task["key"] for task in answer.decoded()["items"]] if answer.is_good else []
    return [key for key in found if key and key.startswith(incomplete)]


def _stored(url: str, incomplete: str) -> list[str]:
    from orchestrator.db import Database  # noqa: PLC0415
    from orchestrator.store.keys import keys_like  # noqa: PLC0415

    database = Database(url)
    try:
        if not database.path.is_file():
            return []
        return database.read_now(lambda connection: keys_like(connection, incomplete, MOST))
    finally:
        database.close()
