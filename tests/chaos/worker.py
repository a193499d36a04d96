"""An agent that lives from 50 ms to 20 s, does its role's work, and keeps a ledger of its own life.

It stands in for the CLI: bare Python that starts at once, since hundreds of them live and die in one test.
The ledger is the oracle: one line appended in one write, `WORD MONOTONIC_NS PID RUN KEY ROLE`.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from orchestrator.domain.roles import Language, Role
from orchestrator.sim import writings

SHORTEST_S, LONGEST_S = 0.05, 20.0
_SKEW = 4
"""The lifetime is spread evenly over its logarithm to this power: half are below 75 ms, every tenth above 2 s."""

_SCRIPT = r"""#!{python} -IS
import json, os, re, sys, time, zlib

LEDGER, SEED, SHORTEST, LONGEST, SKEW = {ledger!r}, {seed!r}, {shortest!r}, {longest!r}, {skew!r}
DOCUMENTS, VERDICTS = json.loads({documents!r}), json.loads({verdicts!r})
if "--version" in sys.argv:
    print("2.1.330 (worker)")
    raise SystemExit(0)
text = json.loads(sys.stdin.buffer.readline())["message"]["content"][0]["text"]
key, role, run = re.match(r"Task: (\S+) \| Role: (\S+) \| Run: (\S+)", text).groups()


def note(word):
    line = f"{{word}} {{time.monotonic_ns()}} {{os.getpid()}} {{run}} {{key}} {{role}}\n"
    handle = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, line.encode())
    os.close(handle)


def emit(kind, **fields):
    print(json.dumps({{"type": kind, **fields, "session_id": run}}), flush=True)


def live():
    draw = zlib.crc32(f"{{SEED}}/{{run}}".encode()) / 2**32
    end = time.monotonic() + SHORTEST * (LONGEST / SHORTEST) ** (draw**SKEW)
    while (left := end - time.monotonic()) > 0:
        note("alive")
        time.sleep(min(left, 0.05))


def work():
    names = {{"key": key, "title": key, "code": f"src/{{key}}.py", "test": f"tests/{{key}}.py", "module": "m"}}
    paths = []
    for path, body in DOCUMENTS.get(role, {{}}).items():
        paths.append(path.format(**names))
        os.makedirs(os.path.dirname(paths[-1]), exist_ok=True)
        with open(paths[-1], "w") as file:
            file.write(body.format(**names) + f"\nRun {{run}}\n")
    if paths:
        import subprocess
        subprocess.run(["git", "add", "--", *paths], check=True)
        subprocess.run(["git", "commit", "-q", "-m", f"{{key}}: {{role}}"], check=True)


note("start")
emit("system", subtype="init", claude_code_version="2.1.330", model="worker", cwd=os.getcwd())
live()
work()
note("end")
used = {{"worker": {{"inputTokens": 10, "outputTokens": 1, "costUSD": 0.01}}}}
answer = {{"structured_output": VERDICTS[role]}} if role in VERDICTS else {{}}
emit("result", subtype="success", is_error=False, terminal_reason="completed", num_turns=1, total_cost_usd=0.01,
     modelUsage=used, permission_denials=[], result="Done.", stop_reason="end_turn", **answer)
"""


def write_worker(
    path: Path, ledger: Path, *, seed: int = 0, shortest_s: float = SHORTEST_S, longest_s: float = LONGEST_S
) -> Path:
    """An executable for ORCH_CLAUDE_BIN."""
    text = _SCRIPT.format(
        python=sys.executable,
        ledger=str(ledger),
        seed=seed,
        shortest=shortest_s,
        longest=max(longest_s, shortest_s),
        skew=_SKEW,
        documents=json.dumps(documents()),
        verdicts=json.dumps(VERDICTS),
    )
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


VERDICTS = {
    Role.REVIEWER: {"verdict": "approved", "summary": "It is as asked.", "findings": []},
    Role.TESTER: {
        "verdict": "passed",
        "summary": "It works.",
        "checks": [{"criterion": "It works", "result": "passed", "detail": "Seen."}],
    },
}


def documents() -> dict[str, dict[str, str]]:
    """Templates of what each role writes, by the template of the path."""
    found = {
        role: {f"tasks/{{key}}/{name.value.upper()}.md": writings.TEXTS[name][Language.RU] for name in names}
        for role, names in writings.DOCUMENTS.items()
    }
    found[Role.ARCHITECT]["tasks/{key}/DEV_TASK.md"] += writings.READY[Language.RU]
    found[Role.DEVELOPER]["src/{key}.py"] = "DONE = True"
    return {role.value: files for role, files in found.items()}


@dataclass(frozen=True, slots=True)
class Life:
    """What one process of an agent said of itself. `until_ns`: it was surely alive up to then."""

    run: str
    key: str
    pid: int
    from_ns: int
    until_ns: int
    is_finished: bool


def lives(ledger: Path) -> list[Life]:
    """Every process that ever began, in the order of their beginnings."""
    found: dict[tuple[str, int], Life] = {}
    for word, at, pid, run, key, _role in _lines(ledger):
        known = found.get((run, int(pid)))
        begin = known.from_ns if known else int(at)
        found[run, int(pid)] = Life(run, key, int(pid), begin, int(at), word == "end")
    return sorted(found.values(), key=lambda life: life.from_ns)


def overlaps(found: list[Life]) -> list[str]:
    """Pairs of lives of one task that were there at the same time, whichever runs they belonged to."""
    of_task: dict[str, list[Life]] = {}
    for life in found:
        of_task.setdefault(life.key, []).append(life)
    return [f"{key}: {one.run} and {two.run}" for key, own in of_task.items() for one, two in _meeting(own)]


def _meeting(own: list[Life]) -> Iterator[tuple[Life, Life]]:
    """In the order of their beginnings, whoever begins before the longest of those before it has ended."""
    last = own[0]
    for _, life in pairwise(own):
        if life.from_ns < last.until_ns:
            yield last, life
        last = max(last, life, key=lambda one: one.until_ns)


def _lines(ledger: Path) -> Iterator[list[str]]:
    if ledger.exists():
        yield from (line.split() for line in ledger.read_text(encoding="utf-8").splitlines())
