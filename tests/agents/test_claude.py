"""What the CLI is told, and what its records mean: every recording, judged by hand beforehand."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import claude, supervise, verdict
from orchestrator.agents.claude import Transcript
from orchestrator.agents.rundir import ExitRecord
from orchestrator.agents.verdict import NoVerdict
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import Outcome, RoleVerdict, RunLimits, RunResult, VerdictWord

RECORDINGS = Path(__file__).parents[1] / "fixtures" / "claude"

EXPECTED: dict[str, tuple[Outcome, str]] = {
    "error__400": (Outcome.FAILED, "invalid_request_error"),
    "error__401": (Outcome.CRASHED, "signal_9"),  # ended by hand in the middle of its retries
    "error__404_model": (Outcome.FAILED, "not_found_error"),
    "error__429": (Outcome.UNAVAILABLE, "rate_limit_error"),
    "error__429_limit": (Outcome.UNAVAILABLE, "rate_limit_error"),
    "error__529_exhausted": (Outcome.UNAVAILABLE, "overloaded_error"),
    "error__api_unreachable": (Outcome.UNAVAILABLE, "connection_failed"),
    "error__bad_flag": (Outcome.CRASHED, "no_result"),
    "error__max_budget": (Outcome.BUDGET, "budget_exhausted"),
    "error__max_turns": (Outcome.TURN_CAP, "max_turns"),
    "error__missing_auth": (Outcome.FAILED, "authentication_failed"),
    "error__resume_unknown": (Outcome.CRASHED, "not_begun"),
    "error__schema_retries": (Outcome.FAILED, "no_verdict"),
    "error__session_id_in_use": (Outcome.CRASHED, "no_result"),
    "error__stream_dropped": (Outcome.SUCCEEDED, ""),  # dropped, tried again, came through
    "error__usage_limit_oauth": (Outcome.USAGE_LIMIT, "usage_limit_reached"),
    "injection__at_file": (Outcome.SUCCEEDED, ""),
    "injection__leading_slash": (Outcome.FAILED, "no_turns"),
    "resume__1_killed": (Outcome.CRASHED, "signal_9"),
    "resume__2_resumed": (Outcome.SUCCEEDED, ""),
    "signal__control_interrupt": (Outcome.FAILED, "aborted_tools"),
    "signal__sigint_in_tool": (Outcome.FAILED, "aborted_tools"),
    "signal__sigkill_in_tool": (Outcome.CRASHED, "signal_9"),
    "signal__sigterm_in_tool": (Outcome.CRASHED, "no_result"),
    "success": (Outcome.SUCCEEDED, ""),
    "success__after_two_529": (Outcome.SUCCEEDED, ""),
    "success__cli_2_1_197": (Outcome.SUCCEEDED, ""),
    "success__fallback_model": (Outcome.UNAVAILABLE, "overloaded_error"),  # the fallback was overloaded too
    "success__permissions_denied": (Outcome.SUCCEEDED, ""),  # with the denials listed
    "success__sandboxed_schema_stdin": (Outcome.SUCCEEDED, ""),
    "success__schema": (Outcome.SUCCEEDED, ""),
    "success__schema_absent": (Outcome.FAILED, "no_verdict"),
    "success__two_results_background_task": (Outcome.SUCCEEDED, ""),
}


def any_word(output: object) -> RoleVerdict:
    """The recordings were made with a schema of their own."""
    if output is None:
        raise NoVerdict("none")
    return RoleVerdict(VerdictWord.APPROVED, str(output))


def judge(name: str, why: str = supervise.EXITED, piece_bytes: int = 1 << 20) -> RunResult:
    transcript, raw = Transcript(), (RECORDINGS / f"{name}.jsonl").read_bytes()
    for start in range(0, len(raw), piece_bytes):
        transcript.feed(raw[start : start + piece_bytes])
    meta = json.loads((RECORDINGS / f"{name}.meta.json").read_text())
    ended = ExitRecord(why, meta["exit_code"])
    return claude.classify(transcript, ended, meta["stderr"] or "", any_word if "schema" in name else None)


def judge_records(*records: dict[str, Any], code: int = 0) -> RunResult:
    transcript = Transcript()
    transcript.feed(b"".join(json.dumps(record).encode() + b"\n" for record in records))
    return claude.classify(transcript, ExitRecord(supervise.EXITED, code))


GREEN: dict[str, Any] = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "terminal_reason": "completed",
    "num_turns": 1,
}


def test_every_recording_has_a_judgement_and_every_judgement_a_recording() -> None:
    assert {path.name.removesuffix(".jsonl") for path in RECORDINGS.glob("*.jsonl")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_recording_is_classified_as_the_contract_says(name: str) -> None:
    result = judge(name)
    assert (result.outcome, result.reason) == EXPECTED[name]


@pytest.mark.parametrize("name", ["success", "success__two_results_background_task", "error__max_turns"])
def test_the_cut_of_the_stream_does_not_matter(name: str) -> None:
    assert judge(name, piece_bytes=7) == judge(name)


def test_the_success_rule_needs_each_of_its_parts() -> None:
    assert judge_records(GREEN).outcome is Outcome.SUCCEEDED
    spoiled = [
        judge_records(GREEN, code=1),
        judge_records(GREEN | {"is_error": True}),
        judge_records({key: value for key, value in GREEN.items() if key != "is_error"}),
        judge_records(GREEN | {"terminal_reason": None}),
        judge_records(GREEN | {"terminal_reason": "hook_stopped"}),
        judge_records(GREEN | {"num_turns": 0}),
        judge_records(GREEN, GREEN | {"is_error": True}),
    ]
    assert all(result.outcome is Outcome.FAILED for result in spoiled)


def test_an_earlier_failed_result_is_overruled_by_the_last() -> None:
    assert judge_records(GREEN | {"is_error": True}, GREEN).outcome is Outcome.SUCCEEDED


def test_prose_about_a_usage_limit_is_no_usage_limit() -> None:
    said = GREEN | {"result": "You've hit your limit. usage_limit_reached", "is_error": True}
    assert judge_records(said, code=1).outcome is Outcome.FAILED
    assert judge_records(GREEN | {"result": "You've hit your limit"}).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("why", "outcome"),
    [
        (supervise.TIMED_OUT, Outcome.TIMED_OUT),
        (supervise.CANCELLED, Outcome.CANCELLED),
        (supervise.STALLED, Outcome.STALLED),
        (supervise.LOG_FULL, Outcome.FAILED),
        (supervise.MEMORY_FULL, Outcome.FAILED),
    ],
)
def test_what_the_shim_did_outweighs_what_the_stream_says(why: str, outcome: Outcome) -> None:
    assert judge("success", why=why).outcome is outcome


def test_usage_model_and_version_are_read() -> None:
    result = judge("success")
    assert (result.usage.turns, result.usage.input_tokens, result.usage.output_tokens) == (3, 300, 60)
    assert result.usage.cost_usd == pytest.approx(0.0024)
    assert (result.cli_version, result.model) == ("2.1.330", "claude-opus-5-5")


def test_two_results_in_one_process_are_counted_once() -> None:
    usage = judge("success__two_results_background_task").usage
    assert (usage.turns, usage.input_tokens) == (3, 300)
    assert usage.cost_usd == pytest.approx(0.0024)


def test_a_run_without_a_result_still_has_its_live_numbers() -> None:
    assert judge("signal__sigterm_in_tool").usage.turns == 1


@pytest.mark.parametrize(
    "name", ["success__schema", "success__sandboxed_schema_stdin", "success__schema_absent", "success"]
)
@pytest.mark.parametrize("role", [Role.REVIEWER, Role.TESTER])
def test_a_good_ending_without_a_verdict_of_ours_is_none(name: str, role: Role) -> None:
    transcript = Transcript()
    transcript.feed((RECORDINGS / f"{name}.jsonl").read_bytes())
    ended = ExitRecord(supervise.EXITED, 0)
    result = claude.classify(transcript, ended, "", verdict.reader(role, Language.EN))
    assert (result.outcome, result.reason, result.verdict) == (Outcome.FAILED, "no_verdict", None)
    assert result.detail.isprintable()
    assert result.detail


REVIEW: dict[str, Any] = {"verdict": "approved", "summary": "Good.", "findings": []}


def reviewed(*records: dict[str, Any], code: int = 0) -> RunResult:
    transcript = Transcript()
    transcript.feed(b"".join(json.dumps(record).encode() + b"\n" for record in records))
    read = verdict.reader(Role.REVIEWER, Language.EN)
    return claude.classify(transcript, ExitRecord(supervise.EXITED, code), "", read)


def test_the_recorded_ending_with_a_verdict_of_ours_is_that_verdict() -> None:
    lines = (RECORDINGS / "success__schema.jsonl").read_text().splitlines()
    result = reviewed(*map(json.loads, lines[:-1]), json.loads(lines[-1]) | {"structured_output": REVIEW})
    assert result.outcome is Outcome.SUCCEEDED
    assert result.verdict == RoleVerdict(VerdictWord.APPROVED, "**Approved**\n\n> Good.\n")


def test_only_a_run_that_ended_well_has_a_verdict() -> None:
    given = GREEN | {"structured_output": REVIEW}
    assert reviewed(given).verdict is not None
    spoiled = [
        reviewed(given, code=1),
        reviewed(given | {"is_error": True}),
        reviewed(given | {"terminal_reason": "max_turns"}),
        reviewed(given | {"num_turns": 0}),
        reviewed(given, GREEN),  # the last result counts, and it has none
        reviewed(GREEN | {"result": json.dumps(REVIEW)}),  # said in words
        reviewed(GREEN | {"structured_output": json.dumps(REVIEW)}),  # a text of JSON is no structure
    ]
    assert {(result.outcome, result.verdict) for result in spoiled} == {(Outcome.FAILED, None)}


def test_denied_tools_are_listed() -> None:
    assert judge("success__permissions_denied").denials == ("Write", "Bash")


def test_the_reset_of_the_usage_limit_is_kept() -> None:
    transcript = Transcript()
    transcript.feed((RECORDINGS / "error__usage_limit_oauth.jsonl").read_bytes())
    assert transcript.usage_limit_resets_at == 1795347811


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff\xfe\n",
        b"not json\n",
        b"[1, 2]\n",
        b'"text"\n',
        b"[" * 100_000 + b"\n",
        b'{"type": 5}\n',
        b'{"type": "assistant", "message": "text"}\n',
        b'{"type": "assistant", "message": {"id": [], "usage": {"output_tokens": "many"}}}\n',
        b'{"type": "result", "modelUsage": [], "total_cost_usd": "much", "permission_denials": 7}\n',
        b'{"type": "from_the_future"}\n',
        b"\n\n",
    ],
)
def test_junk_between_records_changes_nothing(junk: bytes) -> None:
    transcript = Transcript()
    transcript.feed(junk + json.dumps(GREEN).encode() + b"\n")
    assert claude.classify(transcript, ExitRecord(supervise.EXITED, 0)).outcome is Outcome.SUCCEEDED


def test_a_result_of_wrong_types_is_a_failure_and_no_error() -> None:
    odd = {"type": "result", "errors": {}, "permission_denials": [3, {"tool_name": 4}], "result": []}
    result = judge_records(odd)
    assert (result.outcome, result.reason, result.denials) == (Outcome.FAILED, "unknown", ("", ""))


def test_an_endless_line_costs_bounded_memory_and_the_next_record_counts() -> None:
    transcript = Transcript()
    for _ in range(40):
        transcript.feed(b"x" * 1_000_000)
        assert len(transcript._rest) <= claude._LINE_MAX_BYTES
    transcript.feed(b"\n" + json.dumps(GREEN).encode() + b"\n")
    assert transcript.result == GREEN


def test_the_end_of_a_line_that_is_too_long_is_no_record() -> None:
    """An agent that prints could else forge its own result."""
    transcript, line = Transcript(), json.dumps(GREEN).encode() + b"\n"
    transcript.feed(b"x" * (claude._LINE_MAX_BYTES + 1))
    transcript.feed(line)
    assert transcript.result is None
    transcript.feed(line)
    assert transcript.result == GREEN
    whole = Transcript()
    whole.feed(b"x" * (claude._LINE_MAX_BYTES + 1) + b"\n" + line)
    assert whole.result == GREEN


def test_a_half_written_last_line_waits_for_its_rest() -> None:
    transcript, line = Transcript(), json.dumps(GREEN).encode() + b"\n"
    transcript.feed(line[:20])
    assert transcript.result is None
    transcript.feed(line[20:])
    assert transcript.result == GREEN


def test_the_detail_is_one_bounded_line_without_control_characters() -> None:
    transcript = Transcript()
    noisy = "\x1b[31mred\x1b[0m\r\nnext \x9b31m" + "y" * 5000
    detail = claude.classify(transcript, ExitRecord(supervise.EXITED, 1), noisy).detail
    assert len(detail) <= 1000
    assert detail.isprintable()


def test_the_command_is_the_canonical_launch() -> None:
    limits = RunLimits(timeout_s=1, max_turns=60, max_budget_usd=5)
    assert claude.argv(
        "/opt/claude", "61f5cf0c-1556-4498-a782-ec9aaa8e1c8c", Path("/r/role.md"), limits, "sonnet", "{}"
    ) == [
        "/opt/claude",
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
        "--session-id",
        "61f5cf0c-1556-4498-a782-ec9aaa8e1c8c",
        "--setting-sources",
        "",
        "--strict-mcp-config",
        "--disable-slash-commands",
        "--tools",
        "Bash,Read,Write,Edit,Glob,Grep",
        "--permission-mode",
        "dontAsk",
        "--permission-prompts",
        "none",
        "--allowedTools",
        "Bash Read(./**) Edit(./**) Write(./**)",
        "--append-system-prompt-file",
        "/r/role.md",
        "--max-turns",
        "60",
        "--max-budget-usd",
        "5",
        "--model",
        "sonnet",
        "--json-schema",
        "{}",
    ]


def test_the_prompt_record_is_one_line_that_the_cli_takes_as_it_is() -> None:
    raw = claude.user_message("/clear @/etc/passwd\nsecond line \u2028 \ud800")
    assert raw.count(b"\n") == 1
    assert raw.endswith(b"\n")
    record = json.loads(raw)
    assert record["client_composed"] is True
    assert record["message"]["content"][0]["text"].startswith("/clear @/etc/passwd\nsecond")


API_ERROR: dict[str, Any] = {
    "type": "result",
    "subtype": "success",
    "is_error": True,
    "terminal_reason": "api_error",
    "num_turns": 1,
}


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (None, Outcome.UNAVAILABLE, "api_error"),
        (400, Outcome.FAILED, "api_error"),
        (401, Outcome.FAILED, "authentication_failed"),
        (403, Outcome.FAILED, "authentication_failed"),
        (404, Outcome.FAILED, "api_error"),
        (408, Outcome.UNAVAILABLE, "api_error"),
        (413, Outcome.FAILED, "api_error"),
        (429, Outcome.UNAVAILABLE, "api_error"),
        (499, Outcome.FAILED, "api_error"),
        (500, Outcome.UNAVAILABLE, "api_error"),
        (529, Outcome.UNAVAILABLE, "api_error"),
        ("503", Outcome.FAILED, "api_error"),
    ],
)
def test_the_status_of_the_api_says_whether_it_passes_by_itself(
    status: object, outcome: Outcome, reason: str
) -> None:
    result = judge_records(API_ERROR | {"api_error_status": status}, code=1)
    assert (result.outcome, result.reason) == (outcome, reason)


def test_a_usage_limit_tells_when_it_ends() -> None:
    assert judge("error__usage_limit_oauth").resets_at == datetime.fromtimestamp(1795347811, UTC)


def limited(status: str, told: object) -> RunResult:
    event = {"type": "rate_limit_event", "rate_limit_info": {"status": status, "resetsAt": told}}
    return judge_records(event, API_ERROR | {"api_error": "usage_limit_reached", "api_error_status": 429}, code=1)


@pytest.mark.parametrize("told", [None, "soon", 1e300, -1e300, True, {}])
def test_what_is_no_time_is_no_reset(told: object) -> None:
    assert (limited("rejected", told).outcome, limited("rejected", told).resets_at) == (Outcome.USAGE_LIMIT, None)


def test_a_limit_that_only_warned_is_no_reset() -> None:
    assert limited("rejected", 1795347811).resets_at is not None
    assert limited("allowed_warning", 1795347811).resets_at is None


def used(cost: float, tokens: int) -> dict[str, Any]:
    return {"claude": {"inputTokens": tokens, "outputTokens": tokens, "costUSD": cost}}


def test_a_resumed_session_counts_only_what_this_process_used() -> None:
    key = "model_usage_since_last_result"
    first = GREEN | {"total_cost_usd": 3.0, "modelUsage": used(3.0, 30), key: used(1.0, 10)}
    last = GREEN | {"total_cost_usd": 3.5, "modelUsage": used(3.5, 35), key: used(0.5, 5)}
    usage = judge_records(first, last).usage
    assert (usage.input_tokens, usage.output_tokens) == (15, 15)
    assert usage.cost_usd == pytest.approx(1.5)


def test_a_session_that_cannot_be_resumed_is_no_fault_of_the_work() -> None:
    result = judge("error__resume_unknown")
    assert (result.outcome, result.reason) == (Outcome.CRASHED, "not_begun")
    assert "No conversation found" in result.detail
