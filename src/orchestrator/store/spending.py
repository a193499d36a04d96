"""Rows of `spending`: what ended runs cost, added up by day (UTC), role, project and outcome."""

from sqlalchemy import Connection, text

from orchestrator.domain.model import RunId

# Text: SQLAlchemy takes longer to build it than SQLite to run it.
_ADD = text(
    "INSERT INTO spending"
    " SELECT substr(finished_at, 1, 10), agent, coalesce(tasks.repo, ''), outcome, 1, started_at IS NOT NULL,"
    " turns, input_tokens, output_tokens, cost_usd"
    " FROM agent_runs JOIN tasks ON tasks.id = agent_runs.task_id WHERE agent_runs.id = :run"
    " ON CONFLICT (day, role, project, outcome) DO UPDATE SET"
    " runs = runs + excluded.runs, started = started + excluded.started,"
    " turns = turns + excluded.turns, input_tokens = input_tokens + excluded.input_tokens,"
    " output_tokens = output_tokens + excluded.output_tokens, cost_usd = cost_usd + excluded.cost_usd"
)


def add(connection: Connection, run: RunId) -> None:
    """Of a run that has just ended; once, in the transaction that ends it."""
    connection.execute(_ADD, {"run": run})
