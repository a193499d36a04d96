"""Writes what the migrations make of an empty SQLite file: `store/migrations/sqlite.sql`, see `dbfile.py`.

`make schema` calls it after a new migration.
"""

import sqlite3
import sys
import tempfile
from pathlib import Path

from orchestrator.dbfile import FRESH, bring_up_to_date


def statements(database: Path) -> str:
    """Everything but rows, in the order in which it was made."""
    connection = sqlite3.connect(database)
    made = connection.execute(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    )
    texts = [str(text) for (text,) in made]
    connection.close()
    return "".join(f"{text};\n" for text in texts)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        migrated = Path(folder, "migrated.db")
        bring_up_to_date(migrated, by_migrations=True)
        FRESH.write_text(statements(migrated), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
