"""Rows of every table that lists show, written straight into the file."""

import contextlib
import sqlite3
from pathlib import Path

AT = "2026-11-22 12:00:00.000000"
BASIS = '{"type":"Basis","project":null}'
DECISION = (
    '{"type":"Decision","stage":"analysis","actions":[{"type":"EnsureBranch","repo":{"type":"RepoName",'
    '"owner":"acme","name":"trails"},"name":"b","base":"main"}],"waiting":[{"type":"Item","code":"approval"}],'
    '"verdicts":[["QG-1",{"type":"Unknown","observations":[]}]]}'
)


def fill(file: Path, key: str) -> None:
    """One task with a run, a decision and an event, all with the number 1."""
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "INSERT INTO tasks (id, plane_id, plane_project_id, key, title, repo, branch, stage, created_at,"
            " updated_at, waiting, revision)"
            " VALUES (1, 'w', 'p', ?, 'Title', 'acme/trails', 'b', 'analysis', ?, ?, '[]', 1)",
            (key, AT, AT),
        )
        connection.execute(
            "INSERT INTO agent_runs (task_id, agent, stage, attempt, state, intended_at, started_at, finished_at,"
            " session_id, base_sha, outcome, cost_usd) VALUES (1, 'analyst', 'analysis', 1, 'ended', ?, ?, ?, 's',"
            " 'a', 'succeeded', 0.5)",
            (AT, AT, AT),
        )
        connection.execute(
            "INSERT INTO decisions (task_id, decided_at, facts, verdicts, decision, config_digest)"
            " VALUES (1, ?, ?, '[]', ?, 'c')",
            (AT, BASIS, DECISION),
        )
        connection.execute(
            "INSERT INTO events (timestamp, source, event_type, payload, body_sha256, task_id, headers, processed)"
            " VALUES (?, 'gitea', 'push', '{}', 'b', 1, '[[\"x-gitea-event\",\"push\"]]', 1)",
            (AT,),
        )
