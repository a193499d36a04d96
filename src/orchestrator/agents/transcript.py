"""The CLI's log as entries that people read: pure, bounded in every part, and hostile text made harmless.

A reader may stop after any record and go on at its `end`: in another process, or after a lost connection.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import msgspec

from orchestrator.words.folds import Folded, fold
from orchestrator.words.marks import clean

LINE_MAX_BYTES = 8 * 1024 * 1024
TEXT_MAX_CHARS = 8000
PART_MAX_CHARS = 4000
"""Of one field of a tool's input, and of its output."""
_FIELDS_MAX = 12
_BLOCKS_MAX = 40
_NAMES_MAX = 200
_LINE_CHARS = 240
_TELLING = ("command", "file_path", "path", "pattern", "url", "query", "description", "prompt")
"""Fields of a tool's input that say in one line what is done, the best first."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A record's bytes: from `offset` up to `end`, where the next one begins. `at`: when, if it says so."""

    offset: int
    end: int
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What the agent says."""

    kind: ClassVar[Literal["message"]] = "message"
    place: Place
    text: Folded


@dataclass(frozen=True, slots=True)
class Thinking:
    """What the agent thinks; empty where the model keeps it to itself."""

    kind: ClassVar[Literal["thinking"]] = "thinking"
    place: Place
    text: Folded


@dataclass(frozen=True, slots=True)
class Told:
    """What the CLI itself tells the agent."""

    kind: ClassVar[Literal["told"]] = "told"
    place: Place
    text: Folded


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`summary` is one line; `fields` the whole input, each field by itself."""

    kind: ClassVar[Literal["call"]] = "call"
    place: Place
    ident: str
    name: str
    summary: str
    fields: tuple[tuple[str, Folded], ...]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """`name` is empty when the call lies before what was read."""

    kind: ClassVar[Literal["result"]] = "result"
    place: Place
    ident: str
    name: str
    text: Folded
    is_error: bool


@dataclass(frozen=True, slots=True)
class Denial:
    """A tool that the agent wanted and did not get."""

    kind: ClassVar[Literal["denial"]] = "denial"
    place: Place
    name: str
    text: Folded


@dataclass(frozen=True, slots=True)
class Retry:
    """The CLI asks the model's API again after `delay_s`. Without a status there was no answer."""

    kind: ClassVar[Literal["retry"]] = "retry"
    place: Place
    attempt: int
    attempts: int
    delay_s: float
    status: int | None
    code: str


@dataclass(frozen=True, slots=True)
class ApiFault:
    """The model's API refused, and the CLI gave up asking."""

    kind: ClassVar[Literal["fault"]] = "fault"
    place: Place
    code: str
    status: int | None
    text: Folded


@dataclass(frozen=True, slots=True)
class Limit:
    """What the account's usage window says: `status` is "rejected" when it is used up."""

    kind: ClassVar[Literal["limit"]] = "limit"
    place: Place
    status: str
    window: str
    resets_at: datetime | None


@dataclass(frozen=True, slots=True)
class Start:
    """The CLI is up. More than one in a log: something woke the agent again."""

    kind: ClassVar[Literal["start"]] = "start"
    place: Place
    session: str
    model: str
    cli_version: str
    tools: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class End:
    """The CLI's own account of how it went. `is_error` counts: a fault of the API has the subtype "success"."""

    kind: ClassVar[Literal["end"]] = "end"
    place: Place
    is_error: bool
    subtype: str
    reason: str
    turns: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    seconds: float
    denials: int
    text: Folded
    output: Folded
    """The structured output, as JSON."""


@dataclass(frozen=True, slots=True)
class Note:
    """A record of another kind, as it is."""

    kind: ClassVar[Literal["note"]] = "note"
    place: Place
    name: str
    text: Folded


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no record: `size` bytes."""

    kind: ClassVar[Literal["unreadable"]] = "unreadable"
    place: Place
    size: int
    text: Folded


Entry = (
    Message
    | Thinking
    | Told
    | ToolCall
    | ToolResult
    | Denial
    | Retry
    | ApiFault
    | Limit
    | Start
    | End
    | Note
    | Unreadable
)


@dataclass(slots=True)
class Transcript:
    """Reads a log piece by piece, however it is cut. `offset` is where the first piece begins; `is_within` says
    that this may be the middle of a line, which is then left out.
    """

    offset: int = 0
    """Where the next unread record begins."""
    is_within: bool = False
    _rest: bytearray = field(default_factory=bytearray)
    _too_long: int = 0
    """Bytes of an endless line that were let go already."""
    _names: dict[str, str] = field(default_factory=dict)

    def feed(self, piece: bytes) -> list[Entry]:
        """The entries of each line that is whole by now. The rest waits for the next piece."""
        return [entry for line, place in self._lines(piece) for entry in self._entries(line, place)]

    def finish(self) -> list[Entry]:
        """What is left when nothing more will come: the half line of a process that was killed."""
        return self.feed(b"\n") if self._rest or self._too_long else []

    def _lines(self, piece: bytes) -> Iterator[tuple[bytes, Place]]:
        *ends, rest = piece.split(b"\n")
        for end in ends:
            line, size = bytes(self._rest) + end, self._too_long + len(self._rest) + len(end)
            self._rest.clear()
            self._too_long = 0
            place = Place(offset=self.offset, end=self.offset + size + 1)
            self.offset = place.end
            if self.is_within:
                self.is_within = False
            elif size > LINE_MAX_BYTES:
                yield b"\0", place  # no record; what it was is told by its size
            elif line.strip():
                yield line, place
        self._rest += rest
        if len(self._rest) > LINE_MAX_BYTES:
            self._too_long += len(self._rest)
            self._rest.clear()

    def _entries(self, line: bytes, place: Place) -> list[Entry]:
        record = _decoded(line)
        if record is None:
            text = line[: PART_MAX_CHARS * 4].decode(errors="replace") if line != b"\0" else ""
            return [Unreadable(place, place.end - place.offset - 1, fold(text, PART_MAX_CHARS))]
        at = _time(record.get("timestamp"))
        place = Place(offset=place.offset, end=place.end, at=at) if at else place
        match record.get("type"):
            case "assistant" if record.get("is_api_error_message") is True:
                return [_fault(record, place)]
            case "assistant":
                return self._of_blocks(record, place, self._said)
            case "user":
                return self._of_blocks(record, place, self._answered)
            case _:
                return [_of_cli(record, place)]

    def _of_blocks(
        self, record: Record, place: Place, entry: Callable[[Record, Place], Entry | None]
    ) -> list[Entry]:
        content = _mapping(record.get("message")).get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        blocks = content[:_BLOCKS_MAX] if isinstance(content, list) else []
        found = [entry(_mapping(block), place) or _note(_mapping(block), place) for block in blocks]
        return found or [_note(record, place)]

    def _said(self, block: Record, place: Place) -> Entry | None:
        match block.get("type"):
            case "text":
                return Message(place, fold(_text(block.get("text")), TEXT_MAX_CHARS))
            case "thinking":
                return Thinking(place, fold(_text(block.get("thinking")), TEXT_MAX_CHARS))
            case "redacted_thinking":
                return Thinking(place, Folded(""))
            case "tool_use":
                return self._called(block, place)
            case _:
                return None

    def _called(self, block: Record, place: Place) -> ToolCall:
        given, ident, name = block.get("input"), _line(block.get("id")), _line(block.get("name"))
        fields = _mapping(given) if isinstance(given, dict) else {"": given}
        if len(self._names) >= _NAMES_MAX:
            self._names.clear()
        self._names[ident] = name
        shown = tuple((clean(key, 60), _shown(fields[key])) for key in list(fields)[:_FIELDS_MAX])
        telling = next((text for key in _TELLING if isinstance(text := fields.get(key), str)), "")
        return ToolCall(place, ident, name, clean(telling, _LINE_CHARS), shown)

    def _answered(self, block: Record, place: Place) -> Entry | None:
        match block.get("type"):
            case "text":
                return Told(place, fold(_text(block.get("text")), TEXT_MAX_CHARS))
            case "tool_result":
                ident = _line(block.get("tool_use_id"))
                text = fold(_output(block.get("content")), PART_MAX_CHARS)
                name = self._names.pop(ident, "")
                return ToolResult(place, ident, name, text, is_error=block.get("is_error") is True)
            case _:
                return None


def _of_cli(record: Record, place: Place) -> Entry:
    match record.get("type"), record.get("subtype"):
        case "system", "init":
            return _start(record, place)
        case "system", "permission_denied":
            text = fold(_text(record.get("message")), PART_MAX_CHARS)
            return Denial(place, _line(record.get("tool_name")), text)
        case "system", "api_retry":
            return _retry(record, place)
        case "rate_limit_event", _:
            return _limit(_mapping(record.get("rate_limit_info")), place)
        case "result", _:
            return _end(record, place)
        case _:
            return _note(record, place)


def _start(record: Record, place: Place) -> Start:
    tools = record.get("tools")
    return Start(
        place,
        session=_line(record.get("session_id")),
        model=_line(record.get("model")),
        cli_version=_line(record.get("claude_code_version")),
        tools=tuple(_line(tool) for tool in tools[:_BLOCKS_MAX]) if isinstance(tools, list) else (),
    )


def _retry(record: Record, place: Place) -> Retry:
    return Retry(
        place,
        attempt=_count(record.get("attempt")),
        attempts=_count(record.get("max_retries")),
        delay_s=_number(record.get("retry_delay_ms")) / 1000,
        status=_status(record.get("error_status")),
        code=_line(record.get("error")),
    )


def _fault(record: Record, place: Place) -> ApiFault:
    content = _mapping(record.get("message")).get("content")
    code = record.get("api_error") or record.get("api_error_type") or record.get("error")
    status = _status(record.get("api_error_status"))
    return ApiFault(place, _line(code), status, fold(_output(content), PART_MAX_CHARS))


def _limit(info: Record, place: Place) -> Limit:
    resets_at = _moment(info.get("resetsAt"))
    return Limit(place, _line(info.get("status")), _line(info.get("rateLimitType")), resets_at)


def _end(record: Record, place: Place) -> End:
    usage, output, denials = _usage(record), record.get("structured_output"), record.get("permission_denials")
    said, errors = record.get("result"), record.get("errors")
    if not isinstance(said, str):
        said = "\n".join(map(_text, errors[:_BLOCKS_MAX])) if isinstance(errors, list) else ""
    return End(
        place,
        is_error=record.get("is_error") is not False,
        subtype=_line(record.get("subtype")),
        reason=_line(record.get("terminal_reason")),
        turns=_count(record.get("num_turns")),
        input_tokens=usage[0],
        output_tokens=usage[1],
        cost_usd=max(0.0, _number(record.get("total_cost_usd"))),
        seconds=max(0.0, _number(record.get("duration_ms"))) / 1000,
        denials=len(denials) if isinstance(denials, list) else 0,
        text=fold(said, TEXT_MAX_CHARS),
        output=Folded("") if output is None else _shown(output),
    )


def _usage(record: Record) -> tuple[int, int]:
    """Read and written. Of each model: the flat numbers of the record are of its last call alone."""
    models = [_mapping(one) for one in _mapping(record.get("modelUsage")).values()]
    read = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    return (
        sum(_count(model.get(key)) for model in models for key in read),
        sum(_count(model.get("outputTokens")) for model in models),
    )


def _note(record: Record, place: Place) -> Note:
    name = "/".join(_line(record[key]) for key in ("type", "subtype") if isinstance(record.get(key), str))
    return Note(place, name, _shown(record))


def _decoded(line: bytes) -> Record | None:
    """The quick way for what is as it should be; the patient one for half characters and broken UTF-8."""
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        record = _patiently(line)
    return record if isinstance(record, dict) else None


def _patiently(line: bytes) -> Any:
    try:
        return json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def _shown(value: Any) -> Folded:
    """A string as the text it is, anything else as JSON."""
    if isinstance(value, str):
        return fold(value, PART_MAX_CHARS)
    try:
        return fold(json.dumps(value, ensure_ascii=False, indent=2), PART_MAX_CHARS)
    except (ValueError, RecursionError):
        return Folded("")


def _output(content: Any) -> str:
    """Text, or blocks of it. Images and the like are named."""
    if isinstance(content, str):
        return content
    blocks = [_mapping(block) for block in content[:_BLOCKS_MAX]] if isinstance(content, list) else []
    return "\n".join(
        _text(block.get("text")) if block.get("type") == "text" else f"[{_line(block.get('type'))}]"
        for block in blocks
    )


def _mapping(value: Any) -> Record:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _line(value: Any) -> str:
    return clean(value, 100) if isinstance(value, str) else ""


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(value) if is_number and math.isfinite(value) else 0.0
    except OverflowError:
        return 0.0


def _count(value: Any) -> int:
    return int(max(0.0, min(_number(value), 1e15)))


def _status(value: Any) -> int | None:
    return _count(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _moment(seconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(_number(seconds), UTC) if _number(seconds) > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def _time(text: Any) -> datetime | None:
    """Of a record that gives one with a zone."""
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) and len(text) <= 40 else None
        return at.astimezone(UTC) if at and at.tzinfo else None
    except (ValueError, OverflowError):
        return None
