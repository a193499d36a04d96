"""The first schema."""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.schema import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("plane_id", sa.String(length=36), nullable=True),
        sa.Column("plane_project_id", sa.String(length=36), nullable=True),
        sa.Column("repo", sa.String(length=201), nullable=True),
        sa.Column("branch", sa.String(length=100), server_default="", nullable=False),
        sa.Column("base_branch", sa.String(length=100), server_default="", nullable=False),
        sa.Column("stage", sa.String(length=20), server_default="created", nullable=False),
        sa.Column("agent_running", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("key", sa.String(length=60), nullable=True),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("brief", sa.Text(), server_default="", nullable=False),
        sa.Column("role", sa.String(length=20), nullable=True),
        sa.Column("seen_created", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.Column("retry_after", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("head_sha", sa.String(length=64), nullable=True),
        sa.Column("waiting", sa.Text(), server_default="[]", nullable=False),
        sa.Column("decided", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
        sa.UniqueConstraint("plane_id"),
    )
    op.create_index("tasks_branch", "tasks", ["repo", "branch"], unique=False)
    op.create_index(
        "tasks_head", "tasks", ["head_sha"], unique=False, sqlite_where=sa.text("head_sha IS NOT NULL")
    )
    op.create_index(
        "tasks_open",
        "tasks",
        [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        sqlite_where=sa.text("stage != 'done'"),
    )
    op.create_table(
        "watermarks",
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("seen_until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("project_id"),
    )
    op.create_table(
        "agent_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("agent", sa.String(length=20), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("output_path", sa.Text(), nullable=True),
        sa.Column("stage", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("intended_at", UtcDateTime(), nullable=False),
        sa.Column("session_id", sa.String(length=36), nullable=False),
        sa.Column("base_sha", sa.String(length=64), nullable=False),
        sa.Column("head_sha", sa.String(length=64), nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.Column("reason", sa.String(length=60), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("turns", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("input_tokens", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("output_tokens", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("cost_usd", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("denials", sa.Text(), server_default="[]", nullable=False),
        sa.Column("cli_version", sa.String(length=60), server_default="", nullable=False),
        sa.Column("model", sa.String(length=100), server_default="", nullable=False),
        sa.Column("sandbox", sa.String(length=40), server_default="none", nullable=False),
        sa.Column("prompt_digest", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("session_id"),
        sa.UniqueConstraint("task_id", "stage", "attempt", name="agent_runs_attempt"),
    )
    op.create_index(
        "agent_runs_one_open", "agent_runs", ["task_id"], unique=True, sqlite_where=sa.text("state != 'ended'")
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("gate", sa.String(length=10), nullable=False),
        sa.Column("comment_id", sa.String(length=100), nullable=False),
        sa.Column("person", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("approved_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("comment_id"),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("decided_at", UtcDateTime(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("verdicts", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("config_digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("decisions_task", "decisions", ["task_id", "id"], unique=False)
    op.create_table(
        "effects",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("arguments", sa.Text(), server_default="{}", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("done_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("timestamp", UtcDateTime(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("event_type", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=80), server_default="", nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("processed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("delivery_id", sa.String(length=100), server_default="", nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=100), nullable=True),
        sa.Column("task_id", sa.Integer(), nullable=True),
        sa.Column("headers", sa.Text(), server_default="[]", nullable=False),
        sa.Column("ignored", sa.Text(), nullable=True),
        sa.Column("flag", sa.String(length=40), nullable=True),
        sa.Column("repeats", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_repeat_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source", "body_sha256", name="events_body"),
    )
    op.create_index("events_delivery", "events", ["source", "delivery_id"], unique=False)
    op.create_index(
        "events_event_id",
        "events",
        ["source", "event_id"],
        unique=True,
        sqlite_where=sa.text("event_id IS NOT NULL"),
    )
    op.create_index(
        "events_task", "events", ["task_id", "id"], unique=False, sqlite_where=sa.text("task_id IS NOT NULL")
    )
    op.create_index(
        "events_unprocessed", "events", ["task_id"], unique=False, sqlite_where=sa.text("processed = 0")
    )
    op.create_table(
        "observations",
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("observed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("task_id"),
    )
