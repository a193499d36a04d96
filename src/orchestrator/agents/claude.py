"""Claude Code CLI: its command line, its prompt record, and what its stream of records says. Pure."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from orchestrator.agents import supervise
from orchestrator.agents.rates import Rates, weighed
from orchestrator.agents.rundir import ExitRecord
from orchestrator.agents.verdict import NoVerdict
from orchestrator.domain.run import Outcome, RoleVerdict, RunLimits, RunResult, Usage

TOOLS = "Bash,Read,Write,Edit,Glob,Grep"
ALLOWED_TOOLS = "Bash Read(./**) Edit(./**) Write(./**)"

_LINE_MAX_BYTES = 8 * 1024 * 1024
_DETAIL_MAX_CHARS = 1000
_DENIALS_MAX = 50
_COST_SLACK_USD = 1e-5
_UNPRINTED = frozenset(range(0x20)) | frozenset(range(0x7F, 0xA0))

Record = dict[str, Any]


NO_VERDICT = "no_verdict"
"""A role that owes a verdict gave none that counts."""
AUTHENTICATION = "authentication_failed"
NOT_BEGUN = "not_begun"
"""It ended before its first turn, as when the session that it should resume is not there."""


def argv(
    binary: str,
    session_id: str,
    role_file: Path,
    limits: RunLimits,
    model: str | None = None,
    verdict_schema: str | None = None,
) -> list[str]:
    """The canonical headless launch. No text from outside stands in it; the prompt comes by stdin."""
    return [
        binary,
        "-p",
        *("--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
        *("--session-id", session_id),
        # The checkout's own settings, hooks and servers would run commands and could redirect the key.
        *("--setting-sources", "", "--strict-mcp-config", "--disable-slash-commands"),
        *("--tools", TOOLS, "--permission-mode", "dontAsk", "--permission-prompts", "none"),
        *("--allowedTools", ALLOWED_TOOLS),
        *("--append-system-prompt-file", str(role_file)),
        *("--max-turns", str(limits.max_turns), "--max-budget-usd", f"{limits.max_budget_usd:g}"),
        *(("--model", model) if model else ()),
        *(("--json-schema", verdict_schema) if verdict_schema else ()),
    ]


def resuming(session_id: str) -> list[str]:
    """It goes on under a new id: so the CLI itself refuses a launch that is done twice, and the old one stays."""
    return ["--resume", session_id, "--fork-session"]


def user_message(text: str) -> bytes:
    """`client_composed`: the CLI takes the text as it is and neither runs its slashes nor inlines its @files."""
    content = [{"type": "text", "text": text}]
    record = {"type": "user", "client_composed": True, "message": {"role": "user", "content": content}}
    return json.dumps(record).encode() + b"\n"


def plain(text: str, limit: int = _DETAIL_MAX_CHARS) -> str:
    """One bounded line without control characters: fit for a terminal, a log and a table."""
    cut = text.strip()[-limit * 4 :]
    return " ".join("".join(" " if ord(c) in _UNPRINTED else c for c in cut).split())[-limit:]


_SYNTHETIC = "<synthetic>"
_MOST_TOKENS = 10**12
"""A number beyond is none; the database could not hold it."""
_MOST_COST_USD = 1e6
"""Beyond, sums of costs would end as infinite."""
_Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST_TOKENS)]


class _Spent(msgspec.Struct):
    input_tokens: _Count = 0
    cache_creation_input_tokens: _Count = 0
    cache_read_input_tokens: _Count = 0
    output_tokens: _Count = 0


class _Numbers(msgspec.Struct):
    usage: _Spent
    id: str = ""
    model: str = ""


class _AssistantRecord(msgspec.Struct):
    message: _Numbers


_numbers_of = msgspec.json.Decoder(_AssistantRecord).decode


@dataclass(slots=True)
class Transcript:
    """Reads the record stream piece by piece, however it is cut. Memory is bounded by one line. Until a result
    tells the cost, `usage` has it as `rates` let it be estimated.
    """

    rates: Rates | None = None
    usage: Usage = field(default_factory=Usage)
    result: Record | None = None
    cli_version: str = ""
    model: str = ""
    usage_limit_resets_at: float | None = None
    api_fault: str = ""
    """The class that the CLI gives to an error of the API, in its own code."""
    _before: Usage | None = None
    _rest: bytes = b""
    _skipping: bool = False
    _message: str = ""
    _new: tuple[int, int, int] = (0, 0, 0)
    """Turns, tokens read and tokens written that `usage` does not have yet."""
    _weighed: float = 0.0
    """Tokens of all turns."""

    def feed(self, piece: bytes) -> None:
        for line in self._lines(piece):
            # Tool results are the bulk of a log and nothing in them counts.
            if line.startswith(b'{"type":"user"'):
                continue
            if line.startswith(b'{"type":"assistant"') and self._has_counted(line):
                continue
            if (record := _decode(line)) is not None:
                self._take(record)
        self._sum_up()

    def _lines(self, piece: bytes) -> list[bytes]:
        """Those that are whole now; without one that is too long, of which we may be in the middle."""
        *lines, rest = (self._rest + piece).split(b"\n")
        if self._skipping and lines:
            del lines[0]
            self._skipping = False
        if len(rest) > _LINE_MAX_BYTES or self._skipping:
            self._skipping, rest = True, b""
        self._rest = rest
        return [line for line in lines if len(line) <= _LINE_MAX_BYTES]

    def _take(self, record: Record) -> None:
        match record.get("type"):
            case "system" if record.get("subtype") == "init":
                self.cli_version = _text(record.get("claude_code_version"))
                self.model = _text(record.get("model"))
            case "assistant":
                self._count(_mapping(record.get("message")))
                self.api_fault = _text(record.get("error")) if record.get("is_api_error_message") else ""
            case "rate_limit_event":
                self._limit(_mapping(record.get("rate_limit_info")))
            case "result":
                self._sum_up()
                self.result = record
                self._settle(record)
            case _:  # some of the many other types, or one that came with a newer CLI
                return

    def _has_counted(self, line: bytes) -> bool:
        """The numbers alone, read without the rest: ten times as quick. False for what does not look as usual."""
        try:
            message = _numbers_of(line).message
        except msgspec.MsgspecError:
            return False
        if message.model == _SYNTHETIC:
            return False  # an error of the API is told by one of these, in fields that are not read here
        self._add(message.id[:200], message.model, message.usage)
        return True

    def _count(self, message: Record) -> None:
        given = _mapping(message.get("usage"))
        spent = _Spent(*(_count_of(given.get(name)) for name in _Spent.__struct_fields__))
        self._add(_text(message.get("id")), message.get("model"), spent)

    def _add(self, identity: str, model: object, spent: _Spent) -> None:
        """One message comes as several records, one per content block, each with the same numbers."""
        if identity == self._message or model == _SYNTHETIC:
            return
        self._message = identity
        read, to_cache, from_cache, written = msgspec.structs.astuple(spent)
        turns, all_read, all_written = self._new
        self._new = (turns + 1, all_read + read + to_cache + from_cache, all_written + written)
        self._weighed += weighed(read, to_cache, from_cache, written)

    def _sum_up(self) -> None:
        """Once for all that came together."""
        turns, read, written = self._new
        if turns:
            self._new, known = (0, 0, 0), self.usage
            self.usage = Usage(
                turns=known.turns + turns,
                input_tokens=known.input_tokens + read,
                output_tokens=known.output_tokens + written,
                cost_usd=known.cost_usd if self.result else self._estimate(),
            )

    def _estimate(self) -> float:
        estimate = self._weighed * self.rates.of(self.model) if self.rates else 0.0
        return min(estimate, _MOST_COST_USD)

    def teach(self) -> None:
        """What the whole run cost, for those that are still to tell."""
        if self.rates and self.result:
            self.rates.learn(self.model, self.usage.cost_usd, self._weighed)

    def _settle(self, record: Record) -> None:
        """The totals of a session that was resumed hold what it used before; the first result tells how much."""
        if self._before is None:
            since = record.get("model_usage_since_last_result")
            self._before = _used_before(record, _mapping(since)) if isinstance(since, dict) else Usage()
        whole, before = (
            _totals(_mapping(record.get("modelUsage")), _number(record.get("total_cost_usd"))),
            self._before,
        )
        self.usage = replace(
            self.usage,
            input_tokens=max(0, whole.input_tokens - before.input_tokens),
            output_tokens=max(0, whole.output_tokens - before.output_tokens),
            cost_usd=min(max(0.0, whole.cost_usd - before.cost_usd), _MOST_COST_USD),
        )

    def _limit(self, info: Record) -> None:
        if info.get("status") == "rejected":
            self.usage_limit_resets_at = _number(info.get("resetsAt")) or None


def _decode(line: bytes) -> Record | None:
    """None for what is no record: a line we cannot read must not end a run that goes on."""
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return record if isinstance(record, dict) else None


def _mapping(value: Any) -> Record:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _number(value: Any) -> float:
    """0.0 for what is none, and for one that nothing could hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _moment(seconds: float | None) -> datetime | None:
    """None for what is no time that anybody could mean."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _count_of(value: Any) -> int:
    return int(min(max(0.0, _number(value)), _MOST_TOKENS))


def _totals(by_model: Record, cost_usd: float) -> Usage:
    """Exact, where the live numbers were partial."""
    models = [_mapping(entry) for entry in by_model.values()]
    keys = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    return Usage(
        input_tokens=sum(_count_of(model.get(key)) for model in models for key in keys),
        output_tokens=sum(_count_of(model.get("outputTokens")) for model in models),
        cost_usd=cost_usd,
    )


def _used_before(result: Record, since: Record) -> Usage:
    """By the session, before this process."""
    cost = sum(_number(_mapping(entry).get("costUSD")) for entry in since.values())
    whole = _totals(_mapping(result.get("modelUsage")), _number(result.get("total_cost_usd")))
    own = _totals(since, cost)
    return Usage(
        input_tokens=max(0, whole.input_tokens - own.input_tokens),
        output_tokens=max(0, whole.output_tokens - own.output_tokens),
        # Sums of fractions differ in their last digits; below a thousandth of a cent is nothing.
        cost_usd=before if (before := whole.cost_usd - own.cost_usd) > _COST_SLACK_USD else 0.0,
    )


def classify(
    transcript: Transcript,
    ended: ExitRecord,
    stderr: str = "",
    verdict_of: Callable[[object], RoleVerdict] | None = None,
) -> RunResult:
    """The outcome by structure only: exit record, exit code, last result record. Never by the model's prose.

    `succeeded` means that the CLI did and, with `verdict_of`, that its structured output is a verdict; whether
    the work is there is for whoever looks at the commit.
    """
    outcome, reason = _outcome(transcript, ended)
    result = transcript.result or {}
    found = RunResult(
        outcome=outcome,
        exit_code=ended.code,
        reason=reason,
        detail="" if outcome is Outcome.SUCCEEDED else _detail(result, stderr),
        usage=transcript.usage,
        denials=_denials(result),
        cli_version=transcript.cli_version,
        model=transcript.model,
        resets_at=_moment(transcript.usage_limit_resets_at) if outcome is Outcome.USAGE_LIMIT else None,
    )
    return _judged(found, result, verdict_of) if verdict_of and outcome is Outcome.SUCCEEDED else found


def _judged(found: RunResult, result: Record, verdict_of: Callable[[object], RoleVerdict]) -> RunResult:
    """The CLI ends well when the model answered in words only; then nothing was decided."""
    try:
        return replace(found, verdict=verdict_of(result.get("structured_output")))
    except NoVerdict as fault:
        return replace(found, outcome=Outcome.FAILED, reason=NO_VERDICT, detail=plain(str(fault)))


_BY_SHIM = {
    supervise.TIMED_OUT: Outcome.TIMED_OUT,
    supervise.CANCELLED: Outcome.CANCELLED,
    supervise.STALLED: Outcome.STALLED,
    supervise.LOG_FULL: Outcome.FAILED,
    supervise.DISK_FULL: Outcome.FAILED,
    supervise.MEMORY_FULL: Outcome.FAILED,
}
_NOT_US = (401, 403)
_COME_AGAIN = (408, 409, 425, 429)
_SERVERS_FAULT = 500
_BY_TERMINAL_REASON = {"max_turns": Outcome.TURN_CAP, "budget_exhausted": Outcome.BUDGET}


def _outcome(transcript: Transcript, ended: ExitRecord) -> tuple[Outcome, str]:
    if ended.why in _BY_SHIM:
        return _BY_SHIM[ended.why], ended.why
    result = transcript.result
    if result is None:
        return Outcome.CRASHED, _crash(ended)
    if result.get("is_error") is not False or ended.code != 0:
        return _failed(transcript, result)
    return _completed(result)


def _failed(transcript: Transcript, result: Record) -> tuple[Outcome, str]:
    terminal = _text(result.get("terminal_reason"))
    if result.get("api_error") == "usage_limit_reached":
        return Outcome.USAGE_LIMIT, "usage_limit_reached"
    if terminal == "api_error":
        return _api_fault(transcript, result)
    if result.get("subtype") == "error_during_execution" and not transcript.usage.turns and not terminal:
        return Outcome.CRASHED, NOT_BEGUN
    return _BY_TERMINAL_REASON.get(terminal, Outcome.FAILED), _failure(result, terminal)


def _api_fault(transcript: Transcript, result: Record) -> tuple[Outcome, str]:
    """Who we are is for a person to mend; what the API could not do now, it may do later; a request that it
    refuses, it refuses again. Without a status there was no answer at all.
    """
    status, reason = result.get("api_error_status"), _failure(result, "api_error")
    if transcript.api_fault == AUTHENTICATION or status in _NOT_US:
        return Outcome.FAILED, AUTHENTICATION
    if status is None or status in _COME_AGAIN or (isinstance(status, int) and status >= _SERVERS_FAULT):
        return Outcome.UNAVAILABLE, reason
    return Outcome.FAILED, reason


def _completed(result: Record) -> tuple[Outcome, str]:
    """Exit code 0 and no error is not enough: a prompt taken for a command ends like that, without a turn."""
    if _count_of(result.get("num_turns")) == 0:
        return Outcome.FAILED, "no_turns"
    if (terminal := _text(result.get("terminal_reason"))) != "completed":
        return Outcome.FAILED, _failure(result, terminal)
    return Outcome.SUCCEEDED, ""


def _crash(ended: ExitRecord) -> str:
    return f"signal_{-ended.code}" if ended.code is not None and ended.code < 0 else "no_result"


def _failure(result: Record, terminal: str) -> str:
    """The most telling code that the record has."""
    if terminal == "structured_output_retry_exhausted":
        return NO_VERDICT
    named = (_text(result.get(key)) for key in ("api_error", "api_error_type"))
    return next((name for name in named if name), "") or terminal or _text(result.get("subtype")) or "unknown"


def _detail(result: Record, stderr: str) -> str:
    errors = result.get("errors")
    listed = "; ".join(str(error) for error in errors[:5]) if isinstance(errors, list) else ""
    said = result.get("result")
    return plain(listed or (said if isinstance(said, str) else "") or stderr)


def _denials(result: Record) -> tuple[str, ...]:
    listed = result.get("permission_denials")
    entries = listed[:_DENIALS_MAX] if isinstance(listed, list) else []
    return tuple(plain(_text(_mapping(entry).get("tool_name")), 100) for entry in entries)
