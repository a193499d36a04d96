"""Approvals are written, with their place in the journal; tasks are found by branch first, for a repository may be
written in other capitals than ours.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("approvals", sa.Column("position", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.create_index("approvals_task", "approvals", ["task_id"])
    op.drop_index("tasks_branch", "tasks")
    op.create_index("tasks_branch", "tasks", ["branch", "repo"])
