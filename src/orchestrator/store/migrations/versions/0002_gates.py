"""What the gates remember: switches and returns of a task, feedback and verdict of a run, faults of an effect."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("switches", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("returns", sa.Text(), nullable=True))
    op.add_column("agent_runs", sa.Column("feedback", sa.Text(), nullable=True))
    op.add_column("agent_runs", sa.Column("verdict", sa.String(length=20), nullable=True))
    op.add_column("agent_runs", sa.Column("report", sa.Text(), nullable=True))
    op.add_column("effects", sa.Column("error", sa.Text(), server_default="", nullable=False))
    op.create_index("effects_due", "effects", ["task_id"], sqlite_where=sa.text("done_at IS NULL"))
