"""What a token of a model costs is learned from runs that told, and what could not be true is not."""

import json
import math
from pathlib import Path

import pytest

from orchestrator.agents import supervise
from orchestrator.agents.claude_code import ClaudeReading
from orchestrator.agents.rates import _MODELS, _MOST_USD, Rates, weighed
from orchestrator.agents.rundir import ExitRecord
from support import FIXTURES

RECORDED = (FIXTURES / "claude" / "success.jsonl").read_bytes().splitlines(keepends=True)
MODEL, COST_USD = "claude-opus-5-5", 0.0024
CLEAN, KILLED = ExitRecord(supervise.EXITED, 0), ExitRecord(supervise.CANCELLED, -9)


def read(rates: Rates, lines: list[bytes]) -> ClaudeReading:
    reading = ClaudeReading(rates=rates)
    for line in lines:
        reading.feed(line)
    return reading


def without_result() -> list[bytes]:
    return [line for line in RECORDED if b'"type":"result"' not in line]


def test_a_token_weighs_what_it_costs_beside_one_that_is_read() -> None:
    assert weighed(100, 0, 0, 0) == 100
    assert weighed(0, 100, 0, 0) == 125
    assert weighed(0, 0, 100, 0) == 10
    assert weighed(0, 0, 0, 100) == 500


def test_the_first_run_of_a_model_has_no_estimate_and_the_next_one_has() -> None:
    rates = Rates()
    first = read(rates, without_result())
    assert (first.usage.turns, first.usage.cost_usd) == (3, 0.0)
    assert first.conclude(KILLED, "").usage.cost_usd == 0.0
    assert read(rates, RECORDED).conclude(CLEAN, "").usage.cost_usd == pytest.approx(COST_USD)
    later = read(rates, without_result())
    assert later.usage.cost_usd == pytest.approx(COST_USD)
    assert later.conclude(KILLED, "").usage.cost_usd == pytest.approx(COST_USD)


def test_an_estimate_grows_with_each_turn_until_the_result_takes_its_place() -> None:
    rates = Rates()
    rates.learn(MODEL, 1.0, 100_000)
    reading, costs = ClaudeReading(rates=rates), []
    for line in RECORDED:
        reading.feed(line)
        costs.append(reading.usage.cost_usd)
    assert costs[0] == 0.0
    assert costs == sorted(costs[:-1]) + costs[-1:], "it never shrinks, but where the result tells the truth"
    assert len(set(costs)) == 5  # before the first turn, after each of three, and the result
    assert costs[-1] == pytest.approx(COST_USD)


def test_what_a_result_told_holds_until_the_next_result() -> None:
    name = "success__two_results_background_task.jsonl"
    lines = (FIXTURES / "claude" / name).read_bytes().splitlines(keepends=True)
    ends = [number for number, line in enumerate(lines) if b'"type":"result"' in line]
    rates = Rates()
    rates.learn(MODEL, 1.0, 10_000)
    told = read(rates, lines[: ends[0] + 1]).usage
    between = read(rates, lines[: ends[1]]).usage
    assert between.turns > told.turns
    assert between.cost_usd == told.cost_usd < read(rates, lines).usage.cost_usd


def test_nothing_is_learned_of_a_run_without_a_result() -> None:
    rates = Rates()
    rates.learn("m", _MOST_USD, 1.0)
    lines = [
        b'{"type":"system","subtype":"init","model":"m"}\n',
        b'{"type":"assistant","message":{"id":"1","usage":{"input_tokens":900000000000}}}\n',
    ]
    assert read(rates, lines).conclude(KILLED, "").usage.cost_usd == 1e6
    assert rates.of("m") == _MOST_USD


def test_records_that_look_unusual_are_weighed_alike() -> None:
    rates = Rates()
    rates.learn(MODEL, 1.0, 100_000)
    unusual = [json.dumps(json.loads(line), indent=None).encode() + b"\n" for line in without_result()]
    assert unusual != without_result()
    assert read(rates, unusual).usage == read(rates, without_result()).usage


def test_a_rate_is_of_its_model_alone_and_the_newest_counts() -> None:
    rates = Rates()
    rates.learn("one", 1.0, 10_000)
    rates.learn("other", 2.0, 10_000)
    rates.learn("one", 3.0, 10_000)
    assert (rates.of("one"), rates.of("other"), rates.of("third")) == (0.0003, 0.0002, 0.0)


@pytest.mark.parametrize(
    ("model", "cost_usd", "tokens"),
    [
        ("", 1.0, 1e6),
        ("m", 0.0, 1e6),
        ("m", 1.0, 0.0),
        ("m", 1.0, 1.0),
        ("m", -1.0, 1e6),
        ("m", math.inf, 1e6),
        ("m", math.nan, 1e6),
        ("m", 1.0, math.inf),
    ],
)
def test_what_can_be_no_rate_is_not_learned(model: str, cost_usd: float, tokens: float) -> None:
    rates = Rates()
    rates.learn("m", 1.0, 1e5)
    rates.learn(model, cost_usd, tokens)
    assert rates.of("m") == 1e-5
    assert rates.of("") == 0.0


def test_a_later_process_knows_what_an_earlier_one_learned(tmp_path: Path) -> None:
    Rates(tmp_path / "rates").learn(MODEL, 1.0, 100_000)
    assert Rates(tmp_path / "rates").of(MODEL) == 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["rates"], "nothing half-written is left"


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"{",
        b"\xff",
        b"[1]",
        b"[" * 100_000,
        b'{"m": "much"}',
        b'{"m": 1}',
        b'{"m": -0.0001}',
        b'{"m": NaN}',
        b'{"m": Infinity}',
        b'{"m": 0.5}',
        b'{"m": 0.0001, "pad": "' + b"x" * 70_000 + b'"}',
    ],
)
def test_a_file_of_no_rates_is_none_and_is_written_anew(tmp_path: Path, kept: bytes) -> None:
    path = tmp_path / "rates"
    path.write_bytes(kept)
    rates = Rates(path)
    assert rates.of("m") == 0.0
    rates.learn("m", 1.0, 10_000)
    assert Rates(path).of("m") == 0.0001


def test_a_rate_that_is_nearly_the_known_one_is_not_written_again(tmp_path: Path) -> None:
    rates = Rates(tmp_path / "rates")
    rates.learn("m", 1.0, 10_000)
    (tmp_path / "rates").unlink()
    for cost_usd in (1.0, 1.04, 0.96):
        rates.learn("m", cost_usd, 10_000)
    assert not (tmp_path / "rates").exists()
    rates.learn("m", 1.06, 10_000)
    assert Rates(tmp_path / "rates").of("m") == pytest.approx(0.000106)


def test_a_file_that_cannot_be_written_costs_the_estimates_of_later_processes_alone(tmp_path: Path) -> None:
    rates = Rates(tmp_path / "missing" / "rates")
    rates.learn("m", 1.0, 10_000)
    assert rates.of("m") == 0.0001


def test_so_many_models_are_kept_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "rates"
    for number in range(_MODELS + 5):
        Rates(path).learn(f"m{number}", 1.0, 10_000)
    assert len(json.loads(path.read_text())) == _MODELS
    assert (Rates(path).of("m4"), Rates(path).of("m5")) == (0.0, 0.0001)


def test_what_was_seen_again_is_not_the_oldest() -> None:
    rates = Rates()
    for model, cost_usd in (("first", 1.0), ("second", 1.0), ("first", 2.0)):
        rates.learn(model, cost_usd, 10_000)
    for number in range(_MODELS - 1):
        rates.learn(f"m{number}", 1.0, 10_000)
    assert (rates.of("first"), rates.of("second")) == (0.0002, 0.0)


def test_no_made_up_number_of_tokens_breaks_a_run() -> None:
    rates = Rates()
    rates.learn("m", _MOST_USD, 1.0)
    init = b'{"type":"system","subtype":"init","model":"m"}\n'
    for number in (b"1e308", b"9" * 400, b"-5", b"1" + b"0" * 18):
        usage = b'{"input_tokens":%b,"output_tokens":%b}' % (number, number)
        lines = [b'{"type":"assistant","message":{"id":"%d","usage":%b}}\n' % (turn, usage) for turn in range(3)]
        result = b'{"type":"result","total_cost_usd":%b,"modelUsage":{"m":{"inputTokens":%b}}}\n' % (
            number,
            number,
        )
        for ending in ([], [result]):
            used = read(rates, [init, *lines, *ending]).usage
            assert 0 <= used.input_tokens + used.output_tokens < 2**63
            assert 0 <= used.cost_usd <= 1e6
