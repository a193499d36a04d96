"""Named tokens, of which only the digest is kept, and sessions that were ended before their time."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("scope", sa.String(10), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_on", sa.Date()),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
    )
    op.create_index("tokens_name", "tokens", ["name"], unique=True, sqlite_where=sa.text("revoked_at IS NULL"))
    op.create_table(
        "ended_sessions",
        sa.Column("session", sa.String(64), primary_key=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ended_sessions_until", "ended_sessions", ["until"])
