"""Makes stored decisions again, to see that each is what its basis leads to."""

from dataclasses import replace
from enum import StrEnum

from orchestrator.qg.verdict import Item, items
from orchestrator.store import canonical
from orchestrator.store.decisions import Basis, Stored, config_digest, decoded, decoded_basis, decoded_verdicts
from orchestrator.workflow.decide import decide
from orchestrator.workflow.decision import Decision
from orchestrator.workflow.pipeline import VERSION


class Same(StrEnum):
    """How a decision came out that was made again."""

    BYTES = "bytes"
    MEANING = "meaning"
    """Equal, but written when a decision had fewer fields, or when gates told less of what they hold."""
    OLDER = "older"
    """Made by the rules of an older version, which said something else."""
    NO = "no"


def compared(stored: Stored) -> tuple[Same, str]:
    """The decision of the stored basis against the stored one; the text says what differs."""
    try:
        basis = decoded_basis(stored.basis)
        again = decide(basis.project, basis.task, basis.facts)
        decision, verdicts = canonical.encode(again), canonical.encode(again.verdicts)
        if (decision, verdicts) == (stored.decision, stored.verdicts):
            return Same.BYTES, ""
        old = decoded(stored.decision)
        if decoded_verdicts(stored.verdicts) == old.verdicts:
            if canonical.encode(old) == decision:
                return Same.MEANING, ""
            if _is_by_older_rules(stored, basis):
                return (Same.MEANING, "") if _ruled(old) == _ruled(again) else (Same.OLDER, "")
    except Exception as error:  # noqa: BLE001 - whatever a spoiled row breaks, it is that row's difference
        return Same.NO, f"cannot be made again ({type(error).__name__})"
    return Same.NO, "verdicts differ" if decision == stored.decision else "decision differs"


def _is_by_older_rules(stored: Stored, basis: Basis) -> bool:
    """Its digest is the one that an older version gave to this very configuration."""
    return any(stored.config_digest == config_digest(basis.project, version) for version in range(1, VERSION))


def _ruled(decision: Decision) -> tuple[Decision, tuple[tuple[str, str, tuple[Item, ...]], ...]]:
    """What was decided and what kept each gate closed, without what the gates held."""
    gates = tuple((gate, type(verdict).__name__, items(verdict)) for gate, verdict in decision.verdicts)
    return replace(decision, verdicts=()), gates
