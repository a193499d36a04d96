"""The tables. Columns of the original specification keep their names; times are UTC."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    ScalarSelect,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    func,
    select,
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


MAX_ORDER_KEY_CHARS = 255

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
    Column("revision", Integer, nullable=False, server_default=text("0")),
    Column("order_key", String(MAX_ORDER_KEY_CHARS)),
)
Index("tasks_order_key", tasks.c.order_key, unique=True, sqlite_where=tasks.c.order_key.is_not(None))
Index("tasks_open", tasks.c.created_at.desc(), tasks.c.id.desc(), sqlite_where=tasks.c.stage != "done")
Index("tasks_stage", tasks.c.stage, tasks.c.updated_at)
NEEDS_A_PERSON = (
    "tasks.stage != 'done' AND instr(replace(replace(replace(replace(replace(tasks.waiting,"
    """ '{"code":"dispatch_paused","params":[],"evidence":[],"who":"operator",', ''),"""
    """ '"who":"agent"', ''), '"who":"ci"', ''), '"who":"orchestrator"', ''), '"who":""', ''), '"who":"') > 0"""
)
"""It waits for somebody, and not only because everything is paused. SQL, since an index and a query have to say it
alike; quotes within JSON's strings are escaped, so no text of others can look like a name here.
"""
Index("tasks_needs", tasks.c.updated_at, tasks.c.id, sqlite_where=text(NEEDS_A_PERSON.replace("tasks.", "")))
Index("tasks_branch", tasks.c.branch, tasks.c.repo)
Index("tasks_head", tasks.c.head_sha, sqlite_where=tasks.c.head_sha.is_not(None))
Index("tasks_revision", tasks.c.revision)


def next_revision() -> ScalarSelect[int]:
    """For every write that changes what people see of a task: who follows asks for what is above a number."""
    return select(func.coalesce(func.max(tasks.c.revision), 0) + 1).scalar_subquery()


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
Index("events_type", events.c.event_type)
Index("events_flagged", events.c.flag, sqlite_where=events.c.flag.is_not(None))

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
Index("agent_runs_finished", agent_runs.c.finished_at, agent_runs.c.cost_usd)
Index("agent_runs_outcome", agent_runs.c.outcome)
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

# A token itself is never stored: whoever reads this file can do nothing with it.
tokens = Table(
    "tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(60), nullable=False),
    Column("scope", String(10), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_on", Date),
    Column("revoked_at", UtcDateTime),
    Column("login", String(255), nullable=False, server_default=""),  # of the person that it speaks for, in Gitea
)
Index("tokens_name", tokens.c.name, unique=True, sqlite_where=tokens.c.revoked_at.is_(None))

# Sign-outs. A session is a signed cookie, so only what ended before its time needs a row, and only until then.
ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("session", String(64), primary_key=True),
    Column("until", UtcDateTime, nullable=False),
)
Index("ended_sessions_until", ended_sessions.c.until)

# Statistics are read from these two: to add them up from runs and decisions would take seconds.
stays = Table(
    "stays",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_id", Integer, ForeignKey("tasks.id"), nullable=False),
    Column("stage", String(20), nullable=False),
    Column("entered_at", UtcDateTime, nullable=False),
    Column("left_at", UtcDateTime, nullable=False),
    Column("seconds", Integer, nullable=False),
    Column("worked_s", Integer, nullable=False),
    Column("cause", String(40), nullable=False, server_default=""),
)
Index("stays_task", stays.c.task_id, stays.c.left_at)
Index("stays_stage", stays.c.stage, stays.c.left_at, stays.c.seconds, stays.c.worked_s)
Index("stays_sent_back", stays.c.left_at, stays.c.cause, sqlite_where=stays.c.cause != "")

spending = Table(
    "spending",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("role", String(20), primary_key=True),
    Column("project", String(201), primary_key=True),
    Column("outcome", String(20), primary_key=True),
    Column("runs", Integer, nullable=False),
    Column("started", Integer, nullable=False),
    Column("turns", Integer, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("cost_usd", Float, nullable=False),
)
