"""A run's row shows when its agent was last heard, until when the account is used up, and which attempt it goes on
from.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("agent_runs", sa.Column("last_activity_at", sa.DateTime(timezone=True)))
    op.add_column("agent_runs", sa.Column("resets_at", sa.DateTime(timezone=True)))
    op.add_column("agent_runs", sa.Column("resumes", sa.Integer()))
