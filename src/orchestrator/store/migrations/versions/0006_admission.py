"""Runs say when they were admitted, or what they wait for; pauses of all dispatch are kept; a task's switches say
after how many runs its money is counted anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, kind in (("admitted_at", sa.DateTime(timezone=True)), ("waits_for", sa.Text())):
        op.add_column("agent_runs", sa.Column(name, kind))
    op.execute("UPDATE agent_runs SET admitted_at = started_at WHERE started_at IS NOT NULL")
    op.create_index("agent_runs_admitted", "agent_runs", ["admitted_at"])
    op.create_index("agent_runs_finished", "agent_runs", ["finished_at"])
    op.create_table(
        "pauses",
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True)),
        sa.Column("guesses", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    # The column's text is compared as a whole, so it has every field that a version knows.
    op.execute(
        "UPDATE tasks SET switches = json_set(switches, '$.retry_runs', 0, '$.budget_after', 0)"
        " WHERE switches IS NOT NULL"
    )
