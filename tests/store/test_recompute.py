"""Stored decisions are made again; whatever was changed in a row is found."""

import json
from dataclasses import replace
from typing import Any

import pytest

from green import CHECK, GREEN, NOW, PROJECT, PULL, RUNS, TASK, run
from orchestrator.domain.model import Stage, Switches
from orchestrator.domain.run import VerdictWord
from orchestrator.store import canonical
from orchestrator.store.decisions import Basis, Stored, config_digest, decoded
from orchestrator.store.recompute import Same, compared
from orchestrator.workflow.decide import decide
from orchestrator.workflow.pipeline import VERSION

DECISION = decide(PROJECT, TASK, GREEN)
ROW = Stored(
    1,
    TASK.id,
    NOW,
    canonical.encode(Basis(PROJECT, TASK, GREEN)),
    canonical.encode(DECISION),
    canonical.encode(DECISION.verdicts),
    config_digest(PROJECT),
)
WAITS = replace(GREEN, checks=(CHECK,))


def test_a_decision_comes_out_byte_for_byte() -> None:
    assert compared(ROW) == (Same.BYTES, "")


def test_one_written_before_a_field_was_added_is_compared_by_its_meaning() -> None:
    basis = Basis(PROJECT, replace(TASK, stage=Stage.DONE, switches=Switches()), GREEN)
    row = replace(ROW, basis=canonical.encode(basis), verdicts="[]")
    assert compared(replace(row, decision='{"type":"Decision","stage":"done"}')) == (Same.MEANING, "")
    assert compared(replace(row, decision='{"type":"Decision","stage":"ready"}'))[0] is Same.NO


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (replace(ROW, decision=ROW.decision.replace('"ready"', '"testing"')), "decision differs"),
        (replace(ROW, decision=ROW.decision.replace('"merge"', '"merged"', 1)), "decision differs"),
        (replace(ROW, verdicts=ROW.verdicts.replace("approved", "approver", 1)), "verdicts differ"),
        (replace(ROW, verdicts="[]"), "verdicts differ"),
        (replace(ROW, basis=ROW.basis.replace('"success"', '"failure"', 1)), "decision differs"),
        (replace(ROW, basis=canonical.encode(Basis(None, TASK, GREEN))), "decision differs"),
        (replace(ROW, basis="{"), "cannot be made again (DecodeError)"),
        (replace(ROW, basis="[]"), "cannot be made again (AttributeError)"),
        (replace(ROW, basis='{"type":"Stage"}'), "cannot be made again (KeyError)"),
        (replace(ROW, decision='{"type":"Decision"}'), "cannot be made again (TypeError)"),
    ],
)
def test_a_changed_row_is_found(row: Stored, what: str) -> None:
    assert row != ROW
    assert compared(row) == (Same.NO, what)


def test_a_decision_of_another_stage_differs_though_nothing_was_changed() -> None:
    basis = Basis(PROJECT, replace(TASK, stage=Stage.DONE), GREEN)
    assert compared(replace(ROW, basis=canonical.encode(basis)))[0] is Same.NO


def as_before(text: str) -> str:
    """As a version wrote it that told nothing of what closed gates hold, and of QG-3 only the pull request."""

    def without(value: Any) -> Any:
        if isinstance(value, list):
            return [without(one) for one in value if not (isinstance(one, dict) and one.get("code") in NEW_ITEMS)]
        if not isinstance(value, dict):
            return value
        is_closed = value.get("type") in {"Waiting", "Failed", "Unknown"}
        return {name: without(one) for name, one in value.items() if not (is_closed and name == "held")}

    return json.dumps(without(json.loads(text)), separators=(",", ":"), ensure_ascii=False)


NEW_ITEMS = {"changes_made", "paths_untouched"}


def closed_row(version: int) -> Stored:
    """A decision with a closed gate, in the old form, said to be by that version."""
    decision = decide(PROJECT, TASK, WAITS)
    assert [one.held for _, one in decision.verdicts][-1]
    return replace(
        ROW,
        basis=canonical.encode(Basis(PROJECT, TASK, WAITS)),
        decision=as_before(canonical.encode(decision)),
        verdicts=as_before(canonical.encode(decision.verdicts)),
        config_digest=config_digest(PROJECT, version),
    )


def test_a_decision_of_an_older_version_is_the_same_when_it_says_the_same_of_less() -> None:
    old = closed_row(VERSION - 1)
    assert decoded(old.decision).verdicts[-1][1].held == ()
    assert compared(old) == (Same.MEANING, "")
    assert compared(closed_row(VERSION)) == (Same.NO, "decision differs")


def test_facts_that_were_stored_before_reviews_had_comments_and_links_lead_to_the_same() -> None:
    old = ROW.basis.replace(',"comment_count":0,"comments":"","url":""', "")
    assert old != ROW.basis
    assert compared(replace(ROW, basis=old)) == (Same.BYTES, "")


def test_a_task_that_was_sent_back_without_a_link_was_so_by_older_rules() -> None:
    failed = replace(GREEN, runs=(*RUNS[:4], run(Stage.TESTING, word=VerdictWord.FAILED)))
    decision = decide(PROJECT, TASK, failed)
    (back,) = decision.returns
    assert [one.url for one in back.feedback] == [PULL.url]
    unlinked = replace(back, feedback=tuple(replace(one, url="") for one in back.feedback))
    row = replace(
        ROW,
        basis=canonical.encode(Basis(PROJECT, TASK, failed)),
        decision=canonical.encode(replace(decision, returns=(unlinked,))),
        verdicts=canonical.encode(decision.verdicts),
    )
    assert compared(replace(row, config_digest=config_digest(PROJECT, VERSION - 1))) == (Same.OLDER, "")
    assert compared(row) == (Same.NO, "decision differs")


def test_a_decision_that_older_rules_made_otherwise_is_no_damage() -> None:
    old = closed_row(VERSION - 1)
    otherwise = replace(old, decision=old.decision.replace("check_missing", "no_such_check"))
    verdicts = old.verdicts.replace("check_missing", "no_such_check")
    assert compared(replace(otherwise, verdicts=verdicts)) == (Same.OLDER, "")
    assert compared(otherwise) == (Same.NO, "decision differs")  # its own verdicts do not say so
    assert compared(replace(old, config_digest="0" * 64)) == (Same.NO, "decision differs")
    assert compared(replace(old, basis="{"))[0] is Same.NO
