"""Keys of tasks, for completion: it loads little, since somebody waits at a prompt."""

from sqlalchemy import Connection, select

from orchestrator.store.schema import tasks

_LAST = "\U0010ffff"


def keys_like(connection: Connection, beginning: str, limit: int) -> list[str]:
    """Those that begin so, the newest first."""
    within = tasks.c.key.between(beginning, beginning + _LAST)
    query = select(tasks.c.key).where(within).order_by(tasks.c.id.desc()).limit(limit)
    return list(connection.execute(query).scalars())
