"""Lists and statistics in bounded time: how long tasks stayed in each stage, what was spent each day, and a number
that grows with every change of a task.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_STAYS = """
INSERT INTO stays (task_id, stage, entered_at, left_at, seconds, worked_s, cause)
SELECT task_id, left_stage, entered_at, left_at,
       CAST(round((julianday(left_at) - julianday(entered_at)) * 86400) AS INTEGER),
       (SELECT CAST(round(coalesce(sum(julianday(finished_at) - julianday(started_at)), 0) * 86400) AS INTEGER)
          FROM agent_runs
         WHERE agent_runs.task_id = moves.task_id AND agent_runs.stage = left_stage
           AND started_at >= entered_at AND finished_at <= left_at),
       cause
FROM (
    SELECT made.id, made.task_id, before AS left_stage, decided_at AS left_at, cause,
           coalesce(lag(decided_at) OVER (PARTITION BY made.task_id ORDER BY made.id), created_at) AS entered_at
    FROM (
        SELECT id, task_id, decided_at, stage,
               lag(stage, 1, 'created') OVER of_task AS before,
               CASE WHEN returned > lag(returned, 1, 0) OVER of_task THEN last_cause ELSE '' END AS cause
        FROM (
            SELECT id, task_id, decided_at, json_extract(decision, '$.stage') AS stage,
                   coalesce(json_array_length(decision, '$.returns'), 0) AS returned,
                   coalesce(json_extract(decision, '$.returns[#-1].cause'), '') AS last_cause
            FROM decisions
        )
        WINDOW of_task AS (PARTITION BY task_id ORDER BY id)
    ) AS made
    JOIN tasks ON tasks.id = made.task_id
    WHERE made.stage != before
) AS moves
ORDER BY id
"""
_SPENDING = """
INSERT INTO spending
SELECT substr(finished_at, 1, 10), agent, coalesce(repo, ''), coalesce(outcome, ''), count(*),
       sum(started_at IS NOT NULL), sum(turns), sum(input_tokens), sum(output_tokens), sum(cost_usd)
FROM agent_runs JOIN tasks ON tasks.id = agent_runs.task_id
WHERE agent_runs.state = 'ended' AND finished_at IS NOT NULL
GROUP BY 1, 2, 3, 4
"""


def upgrade() -> None:
    op.add_column("tasks", sa.Column("revision", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.execute("UPDATE tasks SET revision = id")
    op.create_index("tasks_revision", "tasks", ["revision"])
    op.create_index("events_type", "events", ["event_type"])
    op.create_index("events_flagged", "events", ["flag"], sqlite_where=sa.text("flag IS NOT NULL"))
    op.create_index("agent_runs_outcome", "agent_runs", ["outcome"])
    op.create_table(
        "stays",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("task_id", sa.Integer(), sa.ForeignKey("tasks.id"), nullable=False),
        sa.Column("stage", sa.String(20), nullable=False),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("worked_s", sa.Integer(), nullable=False),
        sa.Column("cause", sa.String(40), server_default="", nullable=False),
    )
    op.create_index("stays_task", "stays", ["task_id", "left_at"])
    op.create_index("stays_stage", "stays", ["stage", "left_at", "seconds", "worked_s"])
    op.create_index("stays_sent_back", "stays", ["left_at", "cause"], sqlite_where=sa.text("cause != ''"))
    op.create_table(
        "spending",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("role", sa.String(20), primary_key=True),
        sa.Column("project", sa.String(201), primary_key=True),
        sa.Column("outcome", sa.String(20), primary_key=True),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("started", sa.Integer(), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Float(), nullable=False),
    )
    op.execute(_STAYS)
    op.execute(_SPENDING)
