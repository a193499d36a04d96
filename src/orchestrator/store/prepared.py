"""Statements of every look: SQLAlchemy writes each one once, and then SQLite is handed its text.

Each time through SQLAlchemy, a statement takes several times as long as SQLite needs to run it; and some twenty of
them lie between a delivery and its agent.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Delete, Insert, Select, String, Update, literal_column
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeEngine

from orchestrator.db import say

_DIALECT = sqlite.dialect()
_NOTHING: Mapping[str, Any] = {}
_Convert = Callable[[Any], Any]
Statement = Select[Any] | Insert | Update | Delete


def constant(value: str) -> ColumnElement[str]:
    """A word of ours that is part of a statement's text. SQLite plans a statement anew each time it is handed one
    beside the text that decides about a partial index.
    """
    return literal_column(f"'{value}'", String)


class Prepared:
    """`columns` are those that an INSERT or UPDATE is given values for, beside what the statement itself says.

    Values and columns are converted as their types say. KeyError when a value is missing; ValueError, at first
    use, for a statement whose text depends on its values (`in_` of a list).
    """

    def __init__(self, statement: Statement, columns: Sequence[str] = ()) -> None:
        self._statement = statement
        self._columns = columns
        self._plan: _Plan | None = None

    def prepare(self) -> "_Plan":
        """Writes the text. Otherwise made at first use: at the start of the program nobody waits for it."""
        if self._plan is None:
            self._plan = _Plan(self._statement, self._columns)
        return self._plan

    def run(self, connection: Connection, values: Mapping[str, Any] = _NOTHING) -> int:
        """How many rows it changed."""
        plan = self.prepare()
        return say(connection, plan.text, plan.bound(values)).rowcount

    def rows(self, connection: Connection, values: Mapping[str, Any] = _NOTHING) -> list[Any]:
        """All of them, each with its columns as attributes."""
        plan = self.prepare()
        return [plan.row(found) for found in say(connection, plan.text, plan.bound(values)).fetchall()]

    def first(self, connection: Connection, values: Mapping[str, Any] = _NOTHING) -> Any:
        """None when there is no row."""
        return next(iter(self.rows(connection, values)), None)

    def scalar(self, connection: Connection, values: Mapping[str, Any] = _NOTHING) -> Any:
        """The first column of the first row; None when there is no row."""
        row = self.first(connection, values)
        return None if row is None else row[0]


class _Plan:
    """The text, how values go into it, and how its rows come out."""

    def __init__(self, statement: Statement, columns: Sequence[str]) -> None:
        compiled = statement.compile(dialect=_DIALECT, column_keys=list(columns) or None)
        self.text = str(compiled)
        if "POSTCOMPILE" in self.text:
            raise ValueError(f"The text depends on the values: {self.text}")
        binds = [(name, compiled.binds[name]) for name in compiled.positiontup or ()]
        into = {name: _of(bind.type).bind_processor(_DIALECT) for name, bind in binds}
        self._names = tuple(name for name, _ in binds)
        self._into = {name: convert for name, convert in into.items() if convert}
        self._constant = {name: self._inward(name, bind.value) for name, bind in binds if not bind.required}
        found = list(statement.exported_columns)
        self._row: Callable[..., Any] = namedtuple("Row", [one.key for one in found])  # type: ignore[misc]  # noqa: PYI024 - only the statement knows its fields
        outward = [(place, _of(one.type).result_processor(_DIALECT, None)) for place, one in enumerate(found)]
        self._outward = [(place, convert) for place, convert in outward if convert]

    def bound(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        constant = self._constant
        return tuple(
            [constant[name] if name in constant else self._inward(name, values[name]) for name in self._names]
        )

    def row(self, found: Sequence[Any]) -> Any:
        if not self._outward:
            return self._row(*found)
        converted = list(found)
        for place, convert in self._outward:
            converted[place] = convert(converted[place])
        return self._row(*converted)

    def _inward(self, name: str, value: Any) -> Any:
        convert = self._into.get(name)
        return convert(value) if convert else value


def _of(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type as SQLite has it."""
    return kind.dialect_impl(_DIALECT)
