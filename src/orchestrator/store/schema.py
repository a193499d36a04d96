"""The tables. Columns of the original specification keep their names; times are UTC."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

metadata = MetaData()


class UtcDateTime(TypeDecorator[datetime]):
    """Refuses naive times; SQLite keeps no zone, so UTC is put back when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


tasks = Table(
    "tasks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("plane_id", String(36), unique=True),
    Column("plane_project_id", String(36)),
    Column("repo", String(201)),
    Column("branch", String(100), nullable=False, server_default=""),
    Column("base_branch", String(100), nullable=False, server_default=""),
    Column("stage", String(20), nullable=False, server_default="created"),
    Column("agent_running", Boolean, nullable=False, server_default=text("0")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("key", String(60), unique=True),
    Column("title", Text, nullable=False, server_default=""),
    Column("brief", Text, nullable=False, server_default=""),
    Column("role", String(20)),
    Column("seen_created", Boolean, nullable=False, server_default=text("0")),
    Column("retry_after", Integer, nullable=False, server_default=text("0")),
    Column("head_sha", String(64)),
    Column("waiting", Text, nullable=False, server_default="[]"),
    Column("decided", Text),
    Column("switches", Text),
    Column("returns", Text),
)
Index("tasks_open", tasks.c.created_at.desc(), tasks.c.id.desc(), sqlite_where=tasks.c.stage != "done")
Index("tasks_branch", tasks.c.branch, tasks.c.repo)
Index("tasks_head", tasks.c.head_sha, sqlite_where=tasks.c.head_sha.is_not(None))

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("source", String(20), nullable=False),
    Column("event_type", String(80), nullable=False),
    Column("action", String(80), nullable=False, server_default=""),
    Column("payload", Text, nullable=False),
    Column("processed", Integer, nullable=False, server_default=text("0")),
    Column("delivery_id", String(100), nullable=False, server_default=""),
    Column("body_sha256", String(64), nullable=False),
    Column("event_id", String(100)),
    Column("task_id", Integer, ForeignKey("tasks.id")),
    Column("headers", Text, nullable=False, server_default="[]"),
    Column("ignored", Text),
    Column("flag", String(40)),
    Column("repeats", Integer, nullable=False, server_default=text("0")),
    Column("last_repeat_at", UtcDateTime),
    UniqueConstraint("source", "body_sha256", name="events_body"),
)
Index(
    "events_event_id",
    events.c.source,
    events.c.event_id,
    unique=True,
    sqlite_where=events.c.event_id.is_not(None),
)
Index("events_delivery", events.c.source, events.c.delivery_id)
Index("events_task", events.c.task_id, events.c.id, sqlite_where=events.c.task_id.is_not(None))
Index("events_unprocessed", events.c.task_id, sqlite_where=events.c.processed == 0)

agent_runs = Table(
    "agent_runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_id", Integer, ForeignKey("tasks.id"), nullable=False),
    Column("agent", String(20), nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("exit_code", Integer),
    Column("output_path", Text),
    Column("stage", String(20), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("intended_at", UtcDateTime, nullable=False),
    Column("session_id", String(36), nullable=False, unique=True),
    Column("base_sha", String(64), nullable=False),
    Column("head_sha", String(64)),
    Column("outcome", String(20)),
    Column("reason", String(60), nullable=False, server_default=""),
    Column("detail", Text, nullable=False, server_default=""),
    Column("turns", Integer, nullable=False, server_default=text("0")),
    Column("input_tokens", Integer, nullable=False, server_default=text("0")),
    Column("output_tokens", Integer, nullable=False, server_default=text("0")),
    Column("cost_usd", Float, nullable=False, server_default=text("0")),
    Column("denials", Text, nullable=False, server_default="[]"),
    Column("cli_version", String(60), nullable=False, server_default=""),
    Column("model", String(100), nullable=False, server_default=""),
    Column("sandbox", String(40), nullable=False, server_default="none"),
    Column("prompt_digest", String(64)),
    Column("feedback", Text),
    Column("verdict", String(20)),
    Column("report", Text),
    Column("last_activity_at", UtcDateTime),
    Column("resets_at", UtcDateTime),
    Column("resumes", Integer),
    Column("admitted_at", UtcDateTime),
    Column("waits_for", Text),
    UniqueConstraint("task_id", "stage", "attempt", name="agent_runs_attempt"),
)
Index("agent_runs_admitted", agent_runs.c.admitted_at)
Index("agent_runs_finished", agent_runs.c.finished_at)
# One task never has two runs that are not over: the database itself refuses the second.
Index("agent_runs_one_open", agent_runs.c.task_id, unique=True, sqlite_where=agent_runs.c.state != "ended")

decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_id", Integer, ForeignKey("tasks.id"), nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    Column("facts", Text, nullable=False),
    Column("verdicts", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("config_digest", String(64), nullable=False),
)
Index("decisions_task", decisions.c.task_id, decisions.c.id)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_id", Integer, ForeignKey("tasks.id"), nullable=False),
    Column("gate", String(10), nullable=False),
    Column("comment_id", String(100), nullable=False, unique=True),
    Column("person", String(100), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("approved_at", UtcDateTime, nullable=False),
    Column("position", Integer, nullable=False, server_default=text("0")),
)
Index("approvals_task", approvals.c.task_id)

effects = Table(
    "effects",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_id", Integer, ForeignKey("tasks.id"), nullable=False),
    Column("key", String(200), nullable=False, unique=True),
    Column("kind", String(40), nullable=False),
    Column("arguments", Text, nullable=False, server_default="{}"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("done_at", UtcDateTime),
    Column("error", Text, nullable=False, server_default=""),
)
Index("effects_due", effects.c.task_id, sqlite_where=effects.c.done_at.is_(None))

observations = Table(
    "observations",
    metadata,
    Column("task_id", Integer, ForeignKey("tasks.id"), primary_key=True),
    Column("facts", Text, nullable=False),
    Column("observed_at", UtcDateTime, nullable=False),
)

watermarks = Table(
    "watermarks",
    metadata,
    Column("project_id", String(36), primary_key=True),
    Column("since", UtcDateTime, nullable=False),
    Column("seen_until", UtcDateTime, nullable=False),
)

# Why nothing at all is started: one row for the account's usage limit, one for an operator's order.
pauses = Table(
    "pauses",
    metadata,
    Column("kind", String(20), primary_key=True),
    Column("since", UtcDateTime, nullable=False),
    Column("until", UtcDateTime),
    Column("guesses", Integer, nullable=False, server_default=text("0")),
)
