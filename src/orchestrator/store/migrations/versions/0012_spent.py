"""What a day's runs cost is summed from the index alone."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("agent_runs_finished", "agent_runs")
    op.create_index("agent_runs_finished", "agent_runs", ["finished_at", "cost_usd"])
