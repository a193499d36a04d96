"""A token may speak for a person, who can then approve where no browser is."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tokens", sa.Column("login", sa.String(255), nullable=False, server_default=""))
