"""A bare repository in memory, for worlds that live some milliseconds. Object ids are git's own.

It answers the commands that the simulator gives, and no others. test_memory_git.py holds it to the real git.
"""

import hashlib
import re
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.sim.gitea import NO_SHA, BareGit

_WHO = re.compile(r"(.*) <(.*)> (\d+) \+0000")
Files = Mapping[str, str]
"""Paths and the ids of their blobs."""


@dataclass(frozen=True, slots=True)
class Commit:
    files: Files
    parents: tuple[str, ...]
    who: str
    message: str


@dataclass(slots=True)
class Objects:
    """Never changes what it has, so all repositories may share one."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    trees: dict[str, Files] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def blob(self, data: bytes) -> str:
        ident = _ident("blob", data)
        self.blobs[ident] = data
        return ident

    def tree(self, files: Files) -> str:
        folders: dict[str, dict[str, str]] = {}
        rows: list[tuple[bytes, bytes]] = []
        for path, blob in files.items():
            top, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(top, {})[rest] = blob
            else:
                rows.append((top.encode(), b"100644 " + top.encode() + b"\0" + bytes.fromhex(blob)))
        for name, inside in folders.items():
            row = b"40000 " + name.encode() + b"\0" + bytes.fromhex(self.tree(inside))
            rows.append((name.encode() + b"/", row))
        ident = _ident("tree", b"".join(row for _, row in sorted(rows)))
        self.trees[ident] = dict(files)
        return ident

    def commit(self, made: Commit) -> str:
        lines = [f"tree {self.tree(made.files)}", *(f"parent {one}" for one in made.parents)]
        text = "\n".join([*lines, f"author {made.who}", f"committer {made.who}", "", made.message])
        ident = _ident("commit", text.encode())
        self.commits[ident] = made
        return ident

    def ancestry(self, start: str) -> Iterator[str]:
        """The commit itself, then those before it, nearest first."""
        seen, ahead = {start}, deque([start])
        while ahead:
            here = ahead.popleft()
            yield here
            for parent in self.commits[here].parents:
                if parent not in seen:
                    seen.add(parent)
                    ahead.append(parent)

    def merge_base(self, one: str, two: str) -> str | None:
        known = set(self.ancestry(one))
        return next((sha for sha in self.ancestry(two) if sha in known), None)


def _ident(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


def changed(old: Files, new: Files) -> list[str]:
    return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))


@dataclass(frozen=True)
class MemoryGit(BareGit):
    """In place of `sim.gitea.BareGit`: a `Repo` takes either."""

    path: Path = Path("/nonexistent")
    objects: Objects = field(default_factory=Objects)
    heads: dict[str, str] = field(default_factory=dict)

    # what the simulator asks by name

    def commit_of(self, ref: str) -> str | None:
        for name in (f"refs/heads/{ref}", f"refs/tags/{ref}"):
            if name in self.heads:
                return self.heads[name]
        return ref if ref in self.objects.commits else None

    def branch(self, name: str) -> str | None:
        return self.heads.get(f"refs/heads/{name}")

    def refs(self, under: str = "refs/") -> dict[str, str]:
        return {name: self.heads[name] for name in sorted(self.heads) if name.startswith(under)}

    def tree(self, commit: str, path: str) -> list[tuple[str, str, str, int, str]]:
        files, folder = self.objects.commits[commit].files, path.endswith("/") or not path
        rows: dict[str, tuple[str, str, str, int, str]] = {}
        for name, blob in files.items():
            if folder and name.startswith(path):
                top, slash, _ = name.removeprefix(path).partition("/")
                shown = path + top
            elif name == path or name.startswith(path + "/"):
                shown, slash = path, name[len(path) :]
            else:
                continue
            if slash:
                inside = {k.removeprefix(shown + "/"): v for k, v in files.items() if k.startswith(shown + "/")}
                rows[shown] = ("040000", "tree", self.objects.tree(inside), 0, shown)
            else:
                rows[shown] = ("100644", "blob", blob, len(self.objects.blobs[blob]), shown)
        return [rows[name] for name in sorted(rows)]

    def blob(self, commit: str, path: str) -> bytes | None:
        ident = self.objects.commits[commit].files.get(path)
        return None if ident is None else self.objects.blobs[ident]

    def patch(self, base: str, head: str) -> bytes:
        """Two are alike when git's are: the ids of a file before and after stand in a patch."""
        start = self.commit_of(base)
        parted = self.objects.merge_base(start, head) if start else None
        if parted is None:
            return b""
        old, new = self.objects.commits[parted].files, self.objects.commits[head].files
        return "".join(f"{path} {old.get(path)} {new.get(path)}\n" for path in changed(old, new)).encode()

    def merged_tree(self, ours: str, theirs: str) -> str | None:
        """File by file: what both changed, each in its way, is a conflict."""
        parted = self.objects.merge_base(ours, theirs)
        base = self.objects.commits[parted].files if parted else {}
        left, right = self.objects.commits[ours].files, self.objects.commits[theirs].files
        merged = dict(left)
        for path in changed(base, right):
            if left.get(path) not in {base.get(path), right.get(path)}:
                return None
            merged.pop(path, None)
            if path in right:
                merged[path] = right[path]
        return self.objects.tree(merged)

    def log(self, revisions: str, limit: int) -> list[str]:
        old, dots, new = revisions.rpartition("..")
        known = set(self.objects.ancestry(old)) if dots else set()
        return [sha for sha in self.objects.ancestry(new) if sha not in known][:limit]

    # what it says to git itself

    def attempt(self, *argv: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        commands: dict[str, Callable[[list[str], bytes], str | None]] = {
            "update-ref": self._update_ref,
            "rev-parse": self._parent,
            "cat-file": lambda words, _: self.objects.blobs[words[1]].decode(),
            "rev-list": lambda words, _: f"{len(self.log(words[-2], 10_000))}\n",
            "log": self._shown,
            "diff-tree": self._changed,
            "merge-base": lambda words, _: f"{self.objects.merge_base(words[-2], words[-1]) or ''}\n",
            "fast-import": self._import,
            "hash-object": self._write_commit,
            "check-ref-format": lambda _words, _: "",
        }
        said = commands[argv[0]](list(argv[1:]), stdin)
        return subprocess.CompletedProcess(argv, said is None, (said or "").encode(), b"")

    def _update_ref(self, words: list[str], _: bytes) -> str | None:
        if words[0] == "-d":
            self.heads.pop(words[1], None)
            return ""
        if len(words) == 3 and self.heads.get(words[0], NO_SHA) != words[2]:
            return None
        self.heads[words[0]] = words[1]
        return ""

    def _parent(self, words: list[str], _: bytes) -> str | None:
        parents = self.objects.commits[self.heads[words[0].removesuffix("^")]].parents
        return parents[0] + "\n" if parents else None

    def _shown(self, words: list[str], _: bytes) -> str:
        sha = words[-2]
        one = self.objects.commits[sha]
        name, email, seconds = _who(one.who)
        at = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
        return f"{sha}\0{name}\0{email}\0{name}\0{email}\0{at}\0{one.message}\n"

    def _changed(self, words: list[str], _: bytes) -> str:
        one = self.objects.commits[words[-1]]
        before = self.objects.commits[one.parents[0]].files if one.parents else {}
        if len(one.parents) > 1:
            return ""
        kind = {path: "A" if path not in before else "M" for path in one.files} | {
            path: "D" for path in before if path not in one.files
        }
        return "".join(f"{kind[path]}\0{path}\0" for path in changed(before, one.files))

    def _import(self, _: list[str], stdin: bytes) -> str:
        stream = _Stream(stdin)
        ref = stream.line().removeprefix("commit ")
        who, message = stream.line().removeprefix("committer "), stream.data()
        parents, files = (), dict[str, str]()
        while line := stream.line():
            if line.startswith("from "):
                parents = (line.removeprefix("from "),)
                files = dict(self.objects.commits[parents[0]].files)
            else:
                name = line.removeprefix("M 100644 inline ").strip('"').replace('\\"', '"').replace("\\\\", "\\")
                files[name] = self.objects.blob(stream.data())
        self.heads[ref] = self.objects.commit(Commit(files, parents, who, message.decode()))
        return ""

    def _write_commit(self, _: list[str], stdin: bytes) -> str:
        head, _, message = stdin.decode().partition("\n\n")
        rows = [line.partition(" ")[::2] for line in head.splitlines()]
        files = next(self.objects.trees[value] for key, value in rows if key == "tree")
        who = next(value for key, value in rows if key == "committer")
        parents = tuple(value for key, value in rows if key == "parent")
        return self.objects.commit(Commit(files, parents, who, message)) + "\n"


def _who(text: str) -> tuple[str, str, int]:
    found = _WHO.fullmatch(text)
    assert found, text
    return found[1], found[2], int(found[3])


class _Stream:
    """What `git fast-import` reads."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0

    def line(self) -> str:
        """The next one that is not empty; "" at the end."""
        while self._at < len(self._text):
            end = self._text.index(b"\n", self._at)
            found, self._at = self._text[self._at : end], end + 1
            if found:
                return found.decode()
        return ""

    def data(self) -> bytes:
        size = int(self.line().removeprefix("data "))
        found = self._text[self._at : self._at + size]
        self._at += size
        return found
