"""The board: the tasks of a stage that moved last, and those that wait for people, without looking at others."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NEEDS_A_PERSON = (
    "stage != 'done' AND instr(replace(replace(replace(replace(replace(waiting,"
    """ '{"code":"dispatch_paused","params":[],"evidence":[],"who":"operator",', ''),"""
    """ '"who":"agent"', ''), '"who":"ci"', ''), '"who":"orchestrator"', ''), '"who":""', ''), '"who":"') > 0"""
)


def upgrade() -> None:
    op.create_index("tasks_stage", "tasks", ["stage", "updated_at"])
    op.create_index("tasks_needs", "tasks", ["updated_at", "id"], sqlite_where=sa.text(_NEEDS_A_PERSON))
