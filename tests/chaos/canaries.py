"""Secrets of ours that must turn up nowhere, and a search for them in every form in which one might turn up."""

import base64
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from orchestrator.store.payload import unpacked

LEAST_CHARS = 16
YOUNG, SELDOM = 20, 25
"""Looks at a command line: who is new may still become another program, who is old seldom does."""
_SPLITTERS = re.compile(rb"""[\s"'+,\\]+|\\n|\x1b\[[0-9;]*m""")


@dataclass(frozen=True, slots=True)
class Canary:
    """One secret, by the name of what it belongs to."""

    name: str
    value: str

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """As it is, and as it is after what people and libraries do to text."""
        raw = self.value.encode()
        half = len(raw) // 2
        yield "plain", raw
        yield "first half", raw[:half]
        yield "second half", raw[half:]
        yield "backwards", raw[::-1]
        yield "hex", raw.hex().encode()
        yield "HEX", raw.hex().upper().encode()
        yield "url", "".join(f"%{byte:02X}" for byte in raw).encode()
        for safe in ("", "/"):
            if quote(self.value, safe=safe) != self.value:
                yield f"quoted but {safe!r}", quote(self.value, safe=safe).encode()
        if json.dumps(self.value)[1:-1] != self.value:
            yield "json", json.dumps(self.value)[1:-1].encode()
        for shift in range(3):
            yield f"base64 at {shift}", _base64(raw, shift)
            yield f"base64url at {shift}", _base64(raw, shift).replace(b"+", b"-").replace(b"/", b"_")


def _base64(raw: bytes, shift: int) -> bytes:
    """What is the same whatever stands before and after it."""
    whole = base64.b64encode(bytes(shift) + raw)
    return whole[-(-shift * 8 // 6) : len(whole) - 4]


@dataclass(slots=True)
class Search:
    """Where it looked, how much that was, and what it found."""

    canaries: tuple[Canary, ...]
    places: dict[str, int] = field(default_factory=dict)
    """Bytes by the kind of place."""
    found: set[str] = field(default_factory=set)
    _signs: list[tuple[str, str, bytes]] = field(init=False)
    """Every form of each canary, made once."""

    def __post_init__(self) -> None:
        self._signs = [(one.name, form, sign) for one in self.canaries for form, sign in one.forms()]

    def look(self, kind: str, where: str, text: bytes) -> None:
        self.places[kind] = self.places.get(kind, 0) + len(text)
        joined = _SPLITTERS.sub(b"", text)
        for name, form, sign in self._signs:
            if sign in text or sign in joined:
                self.found.add(f"{name} ({form}) in {kind}: {where}")

    def files(self, kind: str, root: Path, *, but: Iterable[Path] = ()) -> None:
        """Every file below, and the names of all."""
        but = frozenset(but)
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder, name)
                if path in but or path.is_symlink() or not path.is_file():
                    continue
                self.look(kind, str(path), os.fsencode(path) + b"\n" + path.read_bytes())

    def objects(self, kind: str, git_dir: Path) -> None:
        """Git keeps what it has deflated, so a search of its files would see nothing."""
        command = ["git", f"--git-dir={git_dir}", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
        environ = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        environ |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        done = subprocess.run(command, env=environ, capture_output=True, check=True, timeout=60)
        self.look(kind, str(git_dir), done.stdout)

    def database(self, path: Path) -> None:
        """Its bytes, its log's, and every value, inflated where it is deflated."""
        for one in path.parent.glob(path.name + "*"):
            self.look("database", one.name, one.read_bytes())
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                for row in connection.execute(f"SELECT * FROM {table}"):
                    for value in row:
                        self.look("values", table, _as_bytes(value))

    def said(self) -> str:
        looked = ", ".join(f"{size:,} bytes of {kind}" for kind, size in self.places.items())
        return f"{len(self.found)} hits of {len(self.canaries)} canaries in {looked}"


def _as_bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        return str(value).encode()
    with suppress(zlib.error):
        return unpacked(value)
    return value


@dataclass(slots=True)
class Watch:
    """Command lines and, of others than ourselves, nothing else: what every user of a machine may read."""

    seen: dict[bytes, int] = field(default_factory=dict)
    rounds: int = 0

    @contextmanager
    def watching(self) -> Iterator["Watch"]:
        """In a process-wide thread; it looks as often as it can."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,))
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join(30)

    def _watch(self, over: threading.Event) -> None:
        looks: dict[str, int] = {}
        while not over.wait(0.002):
            self.rounds += 1
            looks = {pid: looks.get(pid, 0) + 1 for pid in _processes()}
            for pid, count in looks.items():
                if count <= YOUNG or count % SELDOM == 0:
                    self._read(pid)

    def _read(self, pid: str) -> None:
        """Without pathlib and buffers: it is done some hundred thousand times."""
        with suppress(OSError):
            handle = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY)
            try:
                line = b"".join(iter(lambda: os.read(handle, 1 << 16), b""))
            finally:
                os.close(handle)
            self.seen[line] = self.seen.get(line, 0) + 1


def _processes() -> list[str]:
    return [entry.name for entry in os.scandir("/proc") if entry.name.isdigit()]


_NOSY = r"""#!{python} -IS
import glob, json, os, re, subprocess, sys

if "--version" in sys.argv:
    print("2.1.330 (nosy)")
    raise SystemExit(0)
text = json.loads(sys.stdin.buffer.readline())["message"]["content"][0]["text"]
key, role, run = re.match(r"Task: (\S+) \| Role: (\S+) \| Run: (\S+)", text).groups()
DOCUMENTS, VERDICTS = json.loads({documents!r}), json.loads({verdicts!r})


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(100_000)
    except OSError as error:
        return str(error).encode()


def peek(pid):
    # What a tool finds of whoever started it.
    found = [read(f"/proc/{{pid}}/{{name}}") for name in ("environ", "cmdline", "status")]
    for number in range(10):
        try:
            handle = os.open(f"/proc/{{pid}}/fd/{{number}}", os.O_RDONLY | os.O_NONBLOCK)
            found.append(os.read(handle, 100_000))
            os.close(handle)
        except OSError as error:
            found.append(str(error).encode())
    return found


def memory(pid):
    # Open to everybody of the same uid where there is no sandbox: read only where one has to forbid it.
    found = []
    try:
        with open(f"/proc/{{pid}}/maps") as maps, open(f"/proc/{{pid}}/mem", "rb", buffering=0) as file:
            for line in maps:
                span, rights = line.split()[:2]
                begin, end = (int(part, 16) for part in span.split("-"))
                if rights.startswith("rw"):
                    file.seek(begin)
                    found.append(file.read(min(end - begin, 1_000_000)))
    except OSError as error:
        found.append(b"MEMORY " + str(error).encode())
    return found


secret = os.read(3, 4096)  # as the CLI does, before any tool of it runs
seen = [json.dumps(dict(os.environ)).encode(), " ".join(sys.argv).encode()]
seen += [*peek("self"), *peek(os.getppid())]
seen += memory(os.getppid()) if {is_sandboxed} else []
seen += [read(path) for path in sorted(glob.glob(os.path.expanduser("~") + "/../*")) if os.path.isfile(path)]
seen += [read(path) for path in sorted(glob.glob(".git/**", recursive=True)) if os.path.isfile(path)]
report = b"\n".join(seen)


def emit(kind, **fields):
    print(json.dumps({{"type": kind, **fields, "session_id": run}}), flush=True)


emit("system", subtype="init", claude_code_version="2.1.330", model="nosy", cwd=os.getcwd())
block = {{"type": "text", "text": report.decode(errors="replace")}}
emit("assistant", message={{"id": "m", "role": "assistant", "model": "nosy", "content": [block]}})
sys.stderr.write(report.decode(errors="replace"))
names = {{"key": key, "title": key, "code": f"src/{{key}}.py", "test": f"tests/{{key}}.py", "module": "m"}}
paths = []
for path, body in DOCUMENTS.get(role, {{}}).items():
    paths.append(path.format(**names))
    os.makedirs(os.path.dirname(paths[-1]), exist_ok=True)
    with open(paths[-1], "wb") as file:
        file.write(body.format(**names).encode() + b"\n" + (report if paths[-1].endswith("py") else b""))
if paths:
    with open(f"seen-{{role}}.txt", "wb") as file:
        file.write(report)
    subprocess.run(["git", "add", "-f", "--", *paths, f"seen-{{role}}.txt"], check=True)
    subprocess.run(["git", "commit", "-q", "-m", f"{{key}}: {{role}}"], check=True)
used = {{"nosy": {{"inputTokens": 10, "outputTokens": 1, "costUSD": 0.01}}}}
answer = {{"structured_output": VERDICTS[role]}} if role in VERDICTS else {{}}
emit("result", subtype="success", is_error=False, terminal_reason="completed", num_turns=1, total_cost_usd=0.01,
     modelUsage=used, permission_denials=[], result="Done.", stop_reason="end_turn", **answer)
"""


def write_nosy(path: Path, documents: object, verdicts: object, *, is_sandboxed: bool) -> Path:
    """An agent that looks at all it may see, says it, and commits it."""
    text = _NOSY.format(
        python=sys.executable,
        documents=json.dumps(documents),
        verdicts=json.dumps(verdicts),
        is_sandboxed=is_sandboxed,
    )
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path
