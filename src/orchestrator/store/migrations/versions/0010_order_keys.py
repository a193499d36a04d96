"""Who posts a task may name the order by a key of their own, so that sent again it is carried out once."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("order_key", sa.String(255)))
    is_named = sa.text("order_key IS NOT NULL")
    op.create_index("tasks_order_key", "tasks", ["order_key"], unique=True, sqlite_where=is_named)
