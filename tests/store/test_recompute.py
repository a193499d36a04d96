"""Stored decisions are made again; whatever was changed in a row is found."""

from dataclasses import replace

import pytest

from green import GREEN, NOW, PROJECT, TASK
from orchestrator.domain.model import Stage
from orchestrator.store import canonical
from orchestrator.store.decisions import Basis, Stored
from orchestrator.store.recompute import Same, compared
from orchestrator.workflow.decide import decide

DECISION = decide(PROJECT, TASK, GREEN)
ROW = Stored(
    1,
    TASK.id,
    NOW,
    canonical.encode(Basis(PROJECT, TASK, GREEN)),
    canonical.encode(DECISION),
    canonical.encode(DECISION.verdicts),
)


def test_a_decision_comes_out_byte_for_byte() -> None:
    assert compared(ROW) == (Same.BYTES, "")


def test_one_written_before_a_field_was_added_is_compared_by_its_meaning() -> None:
    basis = Basis(PROJECT, replace(TASK, stage=Stage.DONE), GREEN)
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
