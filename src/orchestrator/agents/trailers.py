"""An agent's commit as it is published: its tree and dates, our names, and which run made it. Pure."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.agents.prompt import clean

MESSAGE_MAX_CHARS = 20_000
_DATE = re.compile(rb"> (-?\d{1,15}) ([+-]\d{4})$")
_OURS = re.compile(r"[ \t]*orch-[a-z-]*[ \t]*:", re.IGNORECASE)
_TRAILER = re.compile(r"[A-Za-z0-9-]+: \S")


@dataclass(frozen=True, slots=True)
class Signature:
    """Whose commits they are. Every value is one line of ours."""

    name: str
    email: str
    trailers: tuple[tuple[str, str], ...]


def parents_of(raw: bytes) -> list[str]:
    return [value.decode() for name, value in _headers(raw) if name == b"parent"]


def signed(raw: bytes, now: Mapping[str, str], by: Signature) -> bytes:
    """The same for the same input, so that doing it again makes the same commit. `now` are new names of parents.

    All other headers go: a signature would not fit any more, an encoding is not needed.
    """
    headers = _headers(raw)
    kept = [b"tree " + _first(headers, b"tree")]
    kept += [f"parent {now.get(parent, parent)}".encode() for parent in parents_of(raw)]
    kept += [_person(role, headers, by) for role in (b"author", b"committer")]
    return b"\n".join(kept) + b"\n\n" + _message(raw.partition(b"\n\n")[2], by.trailers)


def name_of(raw: bytes, like: str) -> str:
    """The name that git gives a commit with this content; `like` is any name of the same repository."""
    digest = hashlib.sha256 if len(like) == 64 else hashlib.sha1
    return digest(b"commit %d\0" % len(raw) + raw).hexdigest()


def _headers(raw: bytes) -> list[tuple[bytes, bytes]]:
    lines = raw.partition(b"\n\n")[0].split(b"\n")
    split = (line.partition(b" ") for line in lines if not line.startswith(b" "))
    return [(name, value) for name, _, value in split]


def _first(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    return next((value for name, value in headers if name == wanted), b"")


def _person(role: bytes, headers: Sequence[tuple[bytes, bytes]], by: Signature) -> bytes:
    date = _DATE.search(_first(headers, role))
    when = date[1] + b" " + date[2] if date else b"0 +0000"
    return role + f" {by.name} <{by.email}> ".encode() + when


def _message(raw: bytes, trailers: Sequence[tuple[str, str]]) -> bytes:
    text = clean(raw.decode(errors="replace").replace("\r", ""))[0][:MESSAGE_MAX_CHARS]
    lines = [line.rstrip() for line in _without_ours(text)]
    body = "\n".join(lines).strip() or "(no message)"
    last = body.rpartition("\n\n")[2].split("\n")
    is_joined = "\n\n" in body and all(_TRAILER.match(line) for line in last)
    return (body + ("\n" if is_joined else "\n\n") + "".join(f"{k}: {v}\n" for k, v in trailers)).encode()


def _without_ours(text: str) -> list[str]:
    """Without the lines that say what only we say, and what they are continued with."""
    kept: list[str] = []
    is_ours = False
    for line in text.split("\n"):
        is_ours = bool(_OURS.match(line)) or (is_ours and line[:1] in {" ", "\t"})
        if not is_ours:
            kept.append(line)
    return kept
