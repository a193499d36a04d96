"""A scripted `claude`: takes the real one's flags, really writes and commits, prints records of the same shape.

It needs no account and no network. Start it through a wrapper made by `wrapper`. Of a `--json-schema` the
required names and the words of the top level are checked. Not played: permissions, turn and budget caps, control
requests.

It is started for each run of each test and lives for a moment, so it does without what takes longer to load than
that: pathlib, uuid, datetime, dataclasses.
"""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from orchestrator.sim.flags import Flags, read_flags
from orchestrator.sim.script import (
    TOLD_IN_THE_TASK,
    Answer,
    Assignment,
    Read,
    Say,
    Scenario,
    ScenarioName,
    Tool,
    read_assignment,
    step_at,
    steps,
    tool_arguments,
    tool_id,
)
from orchestrator.sim.tools import leave_a_daemon_behind, perform

VERSION = "2.1.330 (scripted stand-in)"
KNOWN = frozenset(
    {
        *TOLD_IN_THE_TASK,
        ScenarioName.WORK,
        ScenarioName.SLOW,
        ScenarioName.LONG_TOOL,
        ScenarioName.LIMIT,
        ScenarioName.FAIL,
        ScenarioName.HANG,
        ScenarioName.CRASH,
        ScenarioName.FORK_DAEMON,
    }
)
MAX_STDIN_BYTES = 10 * 1024 * 1024
MAX_HANG_S = 3600
CRASH_EXIT_CODE = 7
MAX_STRUCTURED_ATTEMPTS = 5
LIMIT_RESETS_AFTER_S = 3600
MODELS = {"opus": "claude-opus-5-5", "sonnet": "claude-sonnet-5-5", "haiku": "claude-haiku-5-5"}
USD_PER_INPUT_TOKEN = 2e-6
USD_PER_OUTPUT_TOKEN = 1e-5
SESSIONS = ".claude/projects/scripted"
"""Below HOME."""
_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def fault_in(flags: Flags) -> str:
    """Why the real CLI would not start with these flags; empty when it would."""
    if not flags.print or flags.output_format != "stream-json" or flags.input_format != "stream-json":
        return "error: the scripted stand-in needs -p with --input-format and --output-format stream-json"
    if not flags.verbose:
        return "Error: When using --print, --output-format=stream-json requires --verbose"
    if flags.session_id and not re.fullmatch(_UUID, flags.session_id, re.IGNORECASE):
        return "Error: Invalid session ID. Must be a valid UUID."
    if flags.resume and flags.session_id and not flags.fork_session:
        return (
            "Error: --session-id can only be used with --continue or --resume if --fork-session is also specified."
        )
    if not claim_session(flags.session_id, os.environ.get("HOME", "")):
        return f"Error: Session ID {flags.session_id} is already in use."
    return ""


def knows_session(session_id: str, home: str) -> bool:
    return os.path.exists(f"{home}/{SESSIONS}/{session_id}.jsonl")


def claim_session(session_id: str, home: str) -> bool:
    """False when this HOME has seen the session. Without a usable HOME nothing is remembered."""
    if not (session_id and home):
        return True
    try:
        os.makedirs(f"{home}/{SESSIONS}", exist_ok=True)
        open(f"{home}/{SESSIONS}/{session_id}.jsonl", "x").close()
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def new_id() -> str:
    """A random UUID (version 4)."""
    digits = os.urandom(16).hex()
    return "-".join((digits[:8], digits[8:12], f"4{digits[13:16]}", f"a{digits[17:20]}", digits[20:]))


class Session:
    """One process: prints records and keeps the sums that the result record reports."""

    def __init__(
        self, session_id: str, model: str, delay_s: float = 0.0, schema: Mapping[str, Any] | None = None
    ) -> None:
        self.session_id = session_id or new_id()
        self.model = model
        self.delay_s = delay_s
        self.schema = schema
        self.cwd = os.getcwd()
        self.turns = self.input_tokens = self.output_tokens = 0

    def emit(self, kind: str, **fields: object) -> None:
        record = {"type": kind, **fields, "session_id": self.session_id, "uuid": new_id()}
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def assistant(self, step: int, block: Mapping[str, object]) -> None:
        message = {
            "id": f"msg_{step:020d}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [block],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(2000 + 500 * step, 1),
        }
        self.emit("assistant", message=message, parent_tool_use_id=None, timestamp=_timestamp())

    def tool_result(self, call_id: str, text: str, *, is_error: bool) -> None:
        block = {"type": "tool_result", "tool_use_id": call_id, "content": text, "is_error": is_error}
        message = {"role": "user", "content": [block]}
        decided = {"id": call_id, "permission_decision": {"decision": "accept", "source": "config"}}
        self.emit(
            "user",
            message=message,
            parent_tool_use_id=None,
            timestamp=_timestamp(),
            tool_use_result=text,
            tool_result_meta=[decided],
        )

    def count(self, step: int, said: str) -> None:
        self.turns += 1
        self.input_tokens += 2000 + 500 * step
        self.output_tokens += 20 + len(said) // 4

    def result(self, subtype: str, reason: str, *, is_error: bool, **fields: object) -> None:
        cost = self.input_tokens * USD_PER_INPUT_TOKEN + self.output_tokens * USD_PER_OUTPUT_TOKEN
        used = {"inputTokens": self.input_tokens, "outputTokens": self.output_tokens, "costUSD": cost}
        by_model = {self.model: used} if self.turns else {}
        self.emit(
            "result",
            subtype=subtype,
            is_error=is_error,
            terminal_reason=reason,
            num_turns=max(self.turns, 1),
            total_cost_usd=cost,
            usage=self._usage(self.input_tokens, self.output_tokens),
            modelUsage=by_model,
            model_usage_since_last_result=by_model,
            permission_denials=[],
            duration_ms=0,
            duration_api_ms=0,
            result_index=0,
            **{
                "stop_reason": "end_turn",
                **({"api_error_status": None} if subtype == "success" else {}),
                **fields,
            },
        )

    def unknown(self, errors: list[str]) -> None:
        """As recorded: no turn, no reason, no usage."""
        nothing: dict[str, object] = {"num_turns": 0, "total_cost_usd": 0, "modelUsage": {}}
        fields = {"subtype": "error_during_execution", "terminal_reason": None, "errors": errors}
        self.emit("result", is_error=True, **fields, **nothing)

    def _usage(self, input_tokens: int, output_tokens: int) -> dict[str, int]:
        cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        return {"input_tokens": input_tokens, **cached, "output_tokens": output_tokens}


def _timestamp() -> str:
    """The scripted agent plays another program, so it looks at the clock itself."""
    at_ms = time.time_ns() // 1_000_000
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at_ms // 1000))}.{at_ms % 1000:03}Z"


def tool_names(flags: Flags) -> list[str]:
    named = [name for text in flags.tools for name in text.replace(",", " ").split()]
    return sorted({name for name in named if name.isalpha()})


def begin(session: Session, flags: Flags) -> None:
    by_key = {"ANTHROPIC_API_KEY", "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR"} & os.environ.keys()
    session.emit(
        "system",
        subtype="init",
        cwd=session.cwd,
        tools=tool_names(flags),
        mcp_servers=[],
        model=session.model,
        permissionMode=flags.permission_mode,
        slash_commands=[],
        apiKeySource="ANTHROPIC_API_KEY" if by_key else "none",
        claude_code_version=VERSION,
        agents=[],
        skills=[],
        plugins=[],
        capabilities=[],
    )


def work(session: Session, assignment: Assignment, scenario: ScenarioName) -> int:
    """Goes through the script; ends with a result record and the exit code that belongs to it."""
    results: list[str] = []
    while True:
        time.sleep(session.delay_s)
        number = len(results)
        step = step_at(number, steps(assignment, scenario, session.cwd, results))
        if isinstance(step, Answer):
            if session.schema is not None:
                return answer(session, assignment, number, step)
            step = Say(json.dumps(step.output, ensure_ascii=False))
        if isinstance(step, Say):
            session.assistant(number, {"type": "text", "text": step.text})
            session.count(number, step.text)
            session.result("success", "completed", is_error=False, result=step.text)
            return 0
        results.append(use_tool(session, assignment, number, step))


def answer(session: Session, assignment: Assignment, number: int, step: Answer) -> int:
    """The structured output: taken at once when it fits, refused a few times and then given up when not."""
    fault = misfit(session.schema or {}, step.output)
    name, arguments = tool_arguments(step)
    for attempt in range(number, number + (MAX_STRUCTURED_ATTEMPTS if fault else 1)):
        call_id = tool_id(assignment, attempt)
        session.assistant(attempt, {"type": "tool_use", "id": call_id, "name": name, "input": arguments})
        session.count(attempt, json.dumps(arguments))
        session.tool_result(call_id, fault or "Structured output provided successfully", is_error=bool(fault))
    if not fault:
        fields = {"result": "", "structured_output": step.output, "stop_reason": "tool_use"}
        session.result("success", "completed", is_error=False, **fields)
        return 0
    given_up = f"Failed to provide valid structured output after {MAX_STRUCTURED_ATTEMPTS} attempts"
    reason = "structured_output_retry_exhausted"
    session.result("error_max_structured_output_retries", reason, is_error=True, errors=[f"{given_up}: {fault}"])
    return 1


def misfit(schema: Mapping[str, Any], output: Mapping[str, Any]) -> str:
    """Why the output is not of the schema, as far as its top level tells; empty when it is."""
    missing = [name for name in schema.get("required", []) if name not in output]
    words = {name: part.get("enum") for name, part in schema.get("properties", {}).items()}
    strange = [
        name for name, allowed in words.items() if allowed and name in output and output[name] not in allowed
    ]
    faults = [f"root: must have required property '{name}'" for name in missing]
    faults += [f"/{name}: must be equal to one of the allowed values" for name in strange]
    return f"Output does not match required schema: {', '.join(faults)}" if faults else ""


def use_tool(session: Session, assignment: Assignment, number: int, step: Tool) -> str:
    if isinstance(step, Read):
        session.assistant(number, {"type": "text", "text": step.text})
    name, arguments = tool_arguments(step)
    call_id = tool_id(assignment, number)
    session.assistant(number, {"type": "tool_use", "id": call_id, "name": name, "input": arguments})
    session.count(number, json.dumps(arguments))
    text, is_error = perform(step, session.cwd)
    session.tool_result(call_id, text, is_error=is_error)
    return text


def api_error(session: Session, status: int, kind: str, error: str, text: str) -> None:
    """An API error as the real CLI reports it: subtype `success`, yet `is_error`, and exit code 1."""
    session.model, block = "<synthetic>", {"type": "text", "text": text}
    message = {"model": session.model, "role": "assistant", "type": "message", "content": [block]}
    fields = {"api_error_status": status, "api_error_type": kind, "api_error": error}
    session.emit("assistant", message=message, parent_tool_use_id=None, is_api_error_message=True, **fields)
    ended = {**fields, "result": text, "stop_reason": "stop_sequence"}
    session.result("success", "api_error", is_error=True, **ended)


def usage_limit(session: Session) -> None:
    resets_at = int(time.time()) + LIMIT_RESETS_AFTER_S  # noqa: TID251 - the stand-in's own clock
    info = {"status": "rejected", "resetsAt": resets_at, "rateLimitType": "five_hour", "isUsingOverage": False}
    session.emit("rate_limit_event", rate_limit_info=info)
    api_error(session, 429, "rate_limit_error", "usage_limit_reached", "You've hit your 5-hour limit")


def hang() -> None:
    """Only SIGKILL ends it (or an hour, should a test forget it)."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(MAX_HANG_S)


def play(session: Session, prompt: str, scenario: ScenarioName) -> int:
    """One prompt; the exit code it earns."""
    assignment = read_assignment(prompt)
    if assignment is None or scenario is ScenarioName.FAIL:
        kind, text = "invalid_request_error", "API Error: 400 this request is refused by the script"
        api_error(session, 400, kind, kind, text)
        return 1
    match scenario:
        case ScenarioName.LIMIT:
            usage_limit(session)
            return 1
        case ScenarioName.CRASH:
            return CRASH_EXIT_CODE
        case ScenarioName.HANG:
            hang()
        case ScenarioName.FORK_DAEMON:
            leave_a_daemon_behind()
        case _:
            pass
    return work(session, assignment, scenario)


def prompts() -> Iterator[str]:
    """The user messages on stdin, until it is closed; other lines are passed over."""
    while line := sys.stdin.buffer.readline(MAX_STDIN_BYTES):
        try:
            record = json.loads(line)
            content = record["message"]["content"] if record["type"] == "user" else None
        except (ValueError, RecursionError, KeyError, TypeError):
            continue
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            yield "\n".join(str(block.get("text", "")) for block in content if isinstance(block, dict))


def note_start(ledger: str, session_id: str) -> None:
    """One line per start, appended in one write: the witness of how often a run was started."""
    if ledger:
        line = f"{session_id or '-'} {os.getpid()}\n"
        handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, line.encode())
        os.close(handle)


def terminated(*_: object) -> NoReturn:
    """SIGTERM: exit code 143 and no result record, as measured; a running tool is killed on the way out."""
    raise SystemExit(128 + signal.SIGTERM)


def main(argv: list[str] | None = None) -> int:
    flags = read_flags(sys.argv[1:] if argv is None else argv)
    if flags.version:
        print(VERSION)
        return 0
    note_start(flags.ledger, flags.session_id)
    signal.signal(signal.SIGTERM, terminated)
    # Whoever was started in a shell's background has inherited to ignore it; the real CLI listens all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if fault := fault_in(flags):
        print(fault, file=sys.stderr)
        return 1
    scenario = Scenario.parse(flags.scenario, KNOWN)
    model = MODELS.get(flags.model, flags.model)
    if flags.resume and not knows_session(flags.resume, os.environ.get("HOME", "")):
        session = Session(flags.session_id, flags.model)
        errors = [f"No conversation found with session ID: {flags.resume}"]
        session.unknown(errors)
        return 1
    session = Session(flags.session_id, model, scenario.delay_s, flags.json_schema)
    exit_code = 0  # of a closed stdin: the real one, too, ends well without a word
    try:
        for prompt in prompts():
            begin(session, flags)
            exit_code = play(session, prompt, scenario.name)
    except KeyboardInterrupt:
        errors = ["interrupted"]
        session.result("error_during_execution", "aborted_tools", is_error=True, errors=errors)
        return 0
    return exit_code


if __name__ == "__main__":
    raise SystemExit(main())
