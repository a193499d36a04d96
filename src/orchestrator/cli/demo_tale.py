"""How the demo tells its story: each change once, with the time since the start, and a summary."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.domain.roles import Language
from orchestrator.words.names import CAUSES, GATES, OUTCOMES, STAGES, in_language

Json = Mapping[str, Any]
MAX_SAID_CHARS = 160
_SHA = re.compile(r"[0-9a-f]{40,64}")
_WORKSPACE = re.compile(r"/\S*/workspace/")


@dataclass(slots=True)
class Tale:
    """What was told so far is not told again."""

    console: Console
    people: Mapping[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    _gates: dict[str, str] = field(default_factory=dict)
    _read: dict[int, int] = field(default_factory=dict)
    _runs: dict[int, str] = field(default_factory=dict)
    _returns: int = 0
    _stage: str = ""

    def tell(self, text: str) -> None:
        shown = "".join(char if char.isprintable() else " " for char in text)
        self.console.print(f"{time.monotonic() - self.began:6.1f} s  {shown}", markup=False)

    def task(self, client: httpx.Client, task: Json) -> None:
        """What changed since the last time."""
        for run in task.get("runs", ()):
            if run["id"] in self._runs:
                self._run(client, run)
        for gate in task.get("gates", ()):
            self._gate(gate)
            if gate["state"] != "open":
                break  # those behind a closed gate are for later
        for cause in task.get("returns", ())[self._returns :]:
            self._returns += 1
            self.tell(f"◄ {task['key']} is sent back to the developer: {_word(CAUSES, cause)}")
        self._stands(task)
        for run in task.get("runs", ()):
            if run["id"] not in self._runs:
                self._run(client, run)

    def _stands(self, task: Json) -> None:
        if task and task["stage"] != self._stage:
            self._stage = task["stage"]
            branch = f", branch {task['branch']}" if self._stage == "analysis" else ""
            self.tell(f"► {task['key']} is at stage {_word(STAGES, self._stage)}{branch}")

    def _gate(self, gate: Json) -> None:
        name, state = gate["gate"], gate["state"]
        if self._gates.get(name, "closed") == state or state == "unknown":
            return
        self._gates = {one: was for one, was in self._gates.items() if one < name} | {name: state}
        title = f"{name} {in_language(GATES[name], Language.EN)}"
        if state == "open":
            self.tell(f"✔ {title} is OPEN. It rests on:")
            for held in gate["held"]:
                self.tell(f"      · {self._rested(held)}")
        else:
            why = "; ".join(item["text"] for item in gate["missing"])
            self.tell(f"✘ {title} is closed again: {why}")

    def _run(self, client: httpx.Client, run: Json) -> None:
        was = self._runs.get(run["id"], "")
        if was == "ended":
            return
        if not was:
            self.tell(f"  {run['role']} starts (run {run['id']}, attempt {run['attempt']} at this stage)")
        self._log(client, run)
        self._runs[run["id"]] = run["state"]
        if run["state"] == "ended":
            published = f", published {run['head_sha'][:10]}" if run["head_sha"] else ""
            self.tell(f"  {run['role']} {_outcome(run)}, {run['turns']} turns{published}")

    def _log(self, client: httpx.Client, run: Json) -> None:
        offset = self._read.get(run["id"], 0)
        whole, newline, _ = client.get(run["log"], params={"offset": offset}).content.rpartition(b"\n")
        for line in whole.splitlines():
            for said in _said(line):
                self.tell(f"      {run['role']}: {said}")
        self._read[run["id"]] = offset + len(whole) + len(newline)

    # the end

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Cells are foreign text: nothing in them is markup."""
        table = Table(title=title, title_justify="left", show_header=bool(columns), show_lines=False)
        for name in columns or rows[0]:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(
                *(Text("".join(c if c.isprintable() or c == "\n" else " " for c in cell)) for cell in row)
            )
        self.console.print(table)

    def runs(self, task: Json) -> None:
        rows = [
            (
                str(run["id"]),
                run["role"],
                _outcome(run),
                str(run["turns"]),
                f"{run['input_tokens']} + {run['output_tokens']}",
                f"${run['cost_usd']:.4f}",
                (run["head_sha"] or "")[:10],
            )
            for run in task.get("runs", ())
        ]
        if rows:
            columns = ("run", "agent", "outcome", "turns", "tokens in + out", "cost", "published")
            self.table("Runs", columns, [*rows, _sum(task["runs"])])

    def gates(self, task: Json) -> None:
        rows = [
            (
                f"{gate['gate']} {in_language(GATES[gate['gate']], Language.EN)}",
                gate["state"],
                "\n".join([*map(self._rested, gate["held"]), *(item["text"] for item in gate["missing"])]),
            )
            for gate in task.get("gates", ())
        ]
        if rows:
            self.table("Gates", ("gate", "", "rests on, or waits for"), rows)

    def _rested(self, held: Json) -> str:
        """What held, and the evidence that its words do not name already; people by their names."""
        text = str(held["text"])
        for person, name in self.people.items():
            text = text.replace(person, name)
        found = [one[:10] if _SHA.fullmatch(one) else one[:100] for one in dict.fromkeys(held["evidence"])]
        shown = [one for one in found if one not in text][:3]
        return f"{text} ({', '.join(shown)})" if shown else text


def returns(task: Json) -> str:
    """How often and why."""
    causes = [_word(CAUSES, cause) for cause in task.get("returns", ())]
    return f"{len(causes)}: {'; '.join(causes)}" if causes else "none"


def _sum(runs: Sequence[Json]) -> tuple[str, ...]:
    tokens = f"{sum(run['input_tokens'] for run in runs)} + {sum(run['output_tokens'] for run in runs)}"
    cost = f"${sum(run['cost_usd'] for run in runs):.4f}"
    return "", f"{len(runs)} runs", "", str(sum(run["turns"] for run in runs)), tokens, cost, ""


def _outcome(run: Json) -> str:
    if run["state"] != "ended":
        return str(run["state"])
    return _word(OUTCOMES, run["outcome"]) + (f" ({run['reason']})" if run["reason"] else "")


def _word(pairs: Mapping[str, tuple[str, str]], code: str) -> str:
    return in_language(pairs[code], Language.EN) if code in pairs else code


def _said(line: bytes) -> Iterator[str]:
    """What a person wants to see of a record: texts and tool calls, one line each."""
    try:
        record = json.loads(line)
    except ValueError:
        return
    if record.get("type") != "assistant":
        return
    for block in record["message"]["content"]:
        if block["type"] == "text":
            yield " ".join(block["text"].split())[:MAX_SAID_CHARS]
        elif block["type"] == "tool_use":
            yield f"[{block['name']}] {_about(block['input'])}"[:MAX_SAID_CHARS]


def _about(known: Json) -> str:
    if "verdict" in known:
        return f"{known['verdict']}: {known.get('summary', '')}"
    return _WORKSPACE.sub("", str(known.get("file_path") or known.get("command") or ""))
