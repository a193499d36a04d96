"""`orch task`: one task with its gates, its runs and what sent it back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli import screen
from orchestrator.cli.answers import answers
from orchestrator.cli.runs import runs_table
from orchestrator.cli.screen import age_of, count, safe
from orchestrator.cli.wishes import Wishes
from orchestrator.clock import SystemClock
from orchestrator.domain.roles import Language
from orchestrator.words.names import CAUSES, GATES, in_language

Json = Mapping[str, Any]
STATE_STYLES = {"open": "green", "closed": "yellow", "unknown": "red"}


def run(wishes: Wishes, key: str) -> int:
    with answers(wishes) as asked:
        body = asked.get(f"/api/v1/tasks/{quote(key, safe='')}")
    if screen.is_for_people(wishes):
        console = screen.console(wishes)
        console.print(picture(body, SystemClock().now(), console.width))
    else:
        screen.print_json(body)
    return 0


def picture(task: Json, now: datetime, width: int = screen.ROOMY) -> Group:
    where = f"{task['repo']} {task['branch']}" if task["branch"] else "no branch yet"
    parts: list[RenderableType] = [safe(f"{task['key']} is at {task['stage']}: {task['title']}", "bold")]
    parts.append(safe(f"{where}, changed {age_of(task['updated_at'], now)} ago", "dim"))
    if task["item_link"]:
        parts.append(safe(task["item_link"], "dim"))
    parts += [safe(f"waits for {one['who'] or 'nobody'}: {one['text']}", "yellow") for one in task["waiting"]]
    if task["gates"]:
        parts += [Text(), _gates(task["gates"])]
    if task["runs"]:
        parts += [
            Text(),
            runs_table(task["runs"], now, width, is_of_task=True),
            safe(_in_all(task["runs"]), "dim"),
        ]
    if task["returns"]:
        said = ", ".join(_cause(one) for one in task["returns"])
        parts += [Text(), safe(f"sent back {len(task['returns'])} times: {said}", "dim")]
    key = screen.plain(task["key"], 60)
    last = f"; orch logs {key} shows the newest run" if task["runs"] else ""
    return Group(*parts, Text(), safe(f"orch explain {key} says since when and what would help{last}", "dim"))


def _gates(gates: Any) -> Table:
    return screen.table(("=gate", "", "", "what holds, what is missing"), map(_gate, gates))


def _gate(gate: Json) -> tuple[str | Text, ...]:
    name = in_language(GATES[gate["gate"]], Language.EN) if gate["gate"] in GATES else ""
    lines = [safe(f"✓ {one['text']}") for one in gate["held"]]
    lines += [safe(f"✗ {one['text']}", "yellow") for one in gate["missing"]]
    state = safe(gate["state"], STATE_STYLES.get(gate["state"], "red"))
    return safe(gate["gate"], "bold", 20), name, state, Text("\n").join(lines)


def _in_all(runs: Any) -> str:
    turns, cost = sum(one["turns"] for one in runs), screen.cost_in_all(runs)
    tokens = sum(one["input_tokens"] + one["output_tokens"] for one in runs)
    runs_said = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return f"{runs_said} in all, {turns} turns, {count(tokens)} tokens, {cost}"


def _cause(code: str) -> str:
    return in_language(CAUSES[code], Language.EN) if code in CAUSES else code
