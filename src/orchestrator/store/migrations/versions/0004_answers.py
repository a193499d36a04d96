"""Tasks remember how many comments were answered. A row is changed only while its switches are as they were read,
so those that were written before get the new field, too.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        r"""UPDATE tasks SET switches = substr(switches, 1, length(switches) - 1) || ',"answered"\:0}'
        WHERE switches IS NOT NULL AND switches NOT LIKE '%"answered"\:%'"""
    )
